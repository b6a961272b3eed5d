"""The trainers that a plan can be exported to: one table of what each is, where it runs and who checks our files."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hardplace.errors import BadInput, unknown
from hardplace.exports.architecture import Architecture


class Target(StrEnum):
    """A trainer."""

    MEGATRON = "megatron"
    MEGATRON_BRIDGE = "megatron-bridge"
    TORCHTITAN = "torchtitan"
    DEEPSPEED = "deepspeed"
    ACCELERATE = "accelerate"
    MAXTEXT = "maxtext"


def target_of(name: str, option: str) -> Target:
    """Return a target by its name; BadInput for one that is none. option: what a message names."""
    try:
        return Target(name)
    except ValueError:
        raise BadInput(f"{option}: {unknown('target', name, Target)}") from None


_UNPARSED = "written from its documentation, not parsed"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerInfo:
    """What a trainer is. version: for which the files are written. checked: what read them in our tests. vendors: of
    devices that it runs on. families: model types that its files describe; () it trains a model of the user's own."""

    title: str
    version: str
    checked: str
    vendors: tuple[str, ...]
    families: tuple[str, ...] = ()


_GPUS = ("NVIDIA", "AMD")
_MEGATRON_MODELS = (
    "llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen3_moe", "deepseek_v3", "gpt2", "opt", "bert", "t5",
)  # fmt: skip
TRAINERS: dict[Target, TrainerInfo] = {
    Target.MEGATRON: TrainerInfo(
        title="Megatron-LM",
        version="megatron-core 0.17.1",
        checked="its argument parser",
        vendors=_GPUS,
        families=_MEGATRON_MODELS,
    ),
    Target.MEGATRON_BRIDGE: TrainerInfo(
        title="Megatron-Bridge",
        version="0.3.1",
        checked=_UNPARSED,
        vendors=_GPUS,
        families=tuple(one for one in _MEGATRON_MODELS if one not in ("bert", "t5")),
    ),
    Target.TORCHTITAN: TrainerInfo(
        title="torchtitan",
        version="0.3.0 (job.py) and 0.2.2 (job.toml)",
        checked="its configuration classes and device meshes",
        vendors=_GPUS,
        families=("llama", "qwen3", "qwen3_moe", "deepseek_v3"),
    ),
    Target.DEEPSPEED: TrainerInfo(
        title="DeepSpeed",
        version="0.19.8",
        checked="its DeepSpeedConfig",
        vendors=(*_GPUS, "Intel"),
    ),
    Target.ACCELERATE: TrainerInfo(
        title="Accelerate with FSDP2",
        version="1.15.0",
        checked="its configuration file and plugin classes",
        vendors=_GPUS,
    ),
    Target.MAXTEXT: TrainerInfo(
        title="MaxText",
        version="0.2.5",
        checked="its pyconfig",
        vendors=("Google", "NVIDIA"),
        families=("llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe", "deepseek_v3", "gpt2"),
    ),
}


def refused(target: Target, vendor: str, architecture: Architecture | None) -> str:
    """Return why a trainer cannot take a model or a device at all; empty: it can."""
    info = TRAINERS[target]
    if vendor not in info.vendors:
        return f"device: of {vendor}: expected one that {info.title} runs on, of {' or '.join(info.vendors)}"
    if not info.families:
        return ""
    known = ", ".join(info.families)
    if architecture is None:
        return f"model: nothing says its config: expected one of the families {known}, with its config.json"
    if architecture.family not in info.families:
        return f"model: {architecture.family}: expected a family that {info.title} builds: {known}"
    if architecture.embedding_width not in (0, architecture.hidden):
        width = architecture.embedding_width
        return f"model: embeddings of {width}: expected the hidden size, {architecture.hidden}, in {info.title}"
    return ""
