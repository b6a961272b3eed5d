"""Which trainer a file is of, and the plan that it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from hardplace.errors import BadInput
from hardplace.exports.architecture import Architecture, parse_config
from hardplace.exports.importers.accelerate import from_accelerate
from hardplace.exports.importers.deepspeed import from_deepspeed
from hardplace.exports.importers.found import Answers, ImportedPlan
from hardplace.exports.importers.megatron import from_megatron
from hardplace.exports.importers.torchtitan import from_torchtitan
from hardplace.exports.targets import Target
from hardplace.workload.load import catalogue, published_config

_IMPORTERS: dict[Target, Callable[[Path, Answers], ImportedPlan]] = {
    Target.MEGATRON: from_megatron,
    Target.TORCHTITAN: from_torchtitan,
    Target.DEEPSPEED: from_deepspeed,
    Target.ACCELERATE: from_accelerate,
}
_BY_SUFFIX = {
    ".toml": Target.TORCHTITAN,
    ".py": Target.TORCHTITAN,
    ".json": Target.DEEPSPEED,
    ".yaml": Target.ACCELERATE,
    ".yml": Target.ACCELERATE,
}


def trainer_of(path: Path) -> Target:
    """Return the trainer that a file is of by its name: TOML or Python, JSON, YAML; anything else are flags."""
    return _BY_SUFFIX.get(path.suffix, Target.MEGATRON)


def imported_plan(path: Path, target: Target, answers: Answers) -> ImportedPlan:
    """Return the plan of a trainer's file. Raises BadInput, one line, for what is none, and for what it leaves open."""
    if target not in _IMPORTERS:
        raise BadInput(f"{path}: {target}: expected a file of {', '.join(_IMPORTERS)}")
    return _IMPORTERS[target](path, answers)


def model_of_sizes(sizes: Mapping[str, int]) -> str:
    """Return the one model of the catalogue of these sizes (layers, hidden, heads, ... by the name of an architecture's
    field); "" where there is none, or several."""
    found = []
    for name in catalogue():
        config = published_config(name)
        try:
            one = parse_config(config, name) if config and sizes else None
        except BadInput:  # no transformer that exports describe
            continue
        if one is not None and all(_agrees(one, field, size) for field, size in sizes.items()):
            found.append(name)
    return found[0] if len(found) == 1 else ""


def contradictions(found: ImportedPlan, one: Architecture | None, sequence: int) -> Iterator[tuple[str, int, int]]:
    """Yield what a file says otherwise than the model that it is said to train: field, value, the model's.

    Layers are not among them. A vocabulary may be padded, to a multiple of 128 x tensor as Megatron-LM does; models of
    the catalogue are, for a tensor degree of 8.
    """
    for name, size in found.sizes.items():
        if one is None or name == "layers" or _agrees(one, name, size):
            continue
        its = (one.experts.count if one.experts else 0) if name == "experts" else getattr(one, name)
        if name != "vocab" or abs(its - size) >= 128 * max(8, found.plan.tensor):
            yield name, size, its
    if found.sequence not in (0, sequence):
        yield "sequence", found.sequence, sequence


def _agrees(one: Architecture, field: str, size: int) -> bool:
    if field == "experts":
        return (one.experts.count if one.experts else 0) == size
    if field == "vocab":  # Megatron-LM's null tokenizer adds one
        return one.vocab in (size, size + 1)
    return bool(getattr(one, field) == size)
