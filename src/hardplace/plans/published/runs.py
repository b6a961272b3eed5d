"""Published training runs: a row of the table as a shape and a plan on a node, or why it is not modelled."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hardplace.cost.layers.software import ON_ARRAYS
from hardplace.hardware.catalogue import device as device_named
from hardplace.hardware.device import Node
from hardplace.plans.plan import MODULES, Format, OptimizerKind, Plan
from hardplace.plans.plan_problems import problems
from hardplace.plans.published.nodes import DEVICES, node_of_run, slices_of
from hardplace.plans.published.releases import TITANS, is_nemo_1
from hardplace.plans.published.remat import sharding_of_mesh
from hardplace.plans.published.row_shapes import shape_of_row
from hardplace.plans.published.rows import STATED, NotModelled, some_in, whole_in
from hardplace.plans.published.spellings import canonical, device_spelled
from hardplace.plans.published.ways import OLD, modules_of, ways_of
from hardplace.units import GIB
from hardplace.workload.decoder import DecoderShape
from hardplace.workload.types import Recompute

_CORES = {"Trainium1-chip": 2}  # that a source counts as devices of a tensor-parallel group; of one chip they are one
_OF_A_DEVICE = re.compile(r"maxtext|tpu-recipes")  # sources whose batch is a device's
_NUMBERED = re.compile(r"(\d+)")
_SELECTIVE = re.compile(r"selective\(([^:)]*)\)")
_SOME_LAYERS = re.compile(r"full\((\d+)/\d+ layers\)")  # of a stage
_DIVIDED = re.compile(r"divided over (\d+) only")  # states of ZeRO over a group smaller than the replicas
# ZeRO of sources that do not say it in the row: GLM-130B's report; 1.3B on 32 GB with 16 GB used leaves no other;
# NeMo's recipes have distributed_fused_adam on any GPU.
_SHARDS = ((re.compile(r"2210\.02414|tr3m|NeMo"), 1),)
_SHORT_GRADIENTS = re.compile(r"bf16 (?:moments and )?main gradients")
_HFU = re.compile(r"HFU[ =]([0-9.]+) ?%")
_MOST_OF_ALL = 1.2  # of the FLOPs without recompute, from which a policy is nearer to full recompute (4/3) than to none


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRun:
    """A published run, ready to be estimated.

    Attributes:
        shape: Sizes of the decoder.
        plan: The plan.
        device: Name of the device in the catalogue.
        node: Node of the catalogue, with the row's fabric at its rate.
        open: Columns (micro_batch, recompute, vpp) that the source leaves out and that estimates settle.
    """

    shape: DecoderShape
    plan: Plan
    device: str
    node: Node
    open: tuple[str, ...] = ()


def run_of(row: Mapping[str, str]) -> PublishedRun:
    """Return the run of a row.

    Raises:
        NotModelled: With the reason.
    """
    row = spelled(row)
    if row["device"] not in DEVICES:
        names = {device: name for name, (device, _) in reversed(DEVICES.items())}
        names |= {name.lower(): name for name in DEVICES}
        near = difflib.get_close_matches(row["device"].lower(), names, n=1)
        hint = f"; the nearest is {names[near[0]]}" if near else ""
        raise NotModelled(f"device {row['device']}: no device of the catalogue with a node{hint}")
    if _format(row["precision"]) is None:
        raise NotModelled(f"precision {row['precision']}: no GEMM model")
    if not row["hidden"].strip():
        raise NotModelled("shape: not given")
    if not row["global_batch"].strip():
        raise NotModelled("global_batch: not given")
    plan = _plan(row)
    shape = shape_of_row(row)
    for contradiction in _contradictions(row, plan, shape):
        raise NotModelled(contradiction)
    for problem in problems(plan):
        raise NotModelled(problem)
    if plan.devices != whole_in(row, "devices"):
        raise NotModelled(
            f"degrees multiply to {plan.devices}, not to the {whole_in(row, 'devices')} devices of the row"
        )
    device, name = DEVICES[row["device"]]
    return PublishedRun(
        shape=shape,
        plan=plan,
        device=device,
        node=node_of_run(row, name, plan.devices),
        open=tuple(one for one in ("micro_batch", "recompute", "vpp") if _is_open(one, row, plan)),
    )


def spelled(row: Mapping[str, str]) -> dict[str, str]:
    """Return a row with its words as they are read (`spellings`); doing it again changes nothing."""
    name = device_spelled(row["device"], DEVICES, lambda chip: device_named(chip).memory_bytes / GIB)
    return canonical(row) | {"device": name}


def _is_open(column: str, row: Mapping[str, str], plan: Plan) -> bool:
    """Return whether a blank cell leaves something open: virtual stages only in a pipeline of Megatron Core whose
    schedule is not stated, micro-batches not in a pipeline of torchtitan, which has a default."""
    if row[column].strip():
        return False
    if column == "vpp":
        return plan.pipeline > 1 and plan.software == "megatron-core" and not row.get("schedule", "").strip()
    return column != "micro_batch" or plan.pipeline == 1 or plan.software not in TITANS


def _contradictions(row: Mapping[str, str], plan: Plan, shape: DecoderShape) -> Iterator[str]:
    """Yield what a row's own columns say that cannot be together."""
    stated = {name: row.get(name, "").strip() for name in STATED}
    if stated["recompute_modules"] and plan.recompute is not Recompute.SELECTIVE:
        yield f"recompute_modules: {stated['recompute_modules']}: expected recompute selective, not {plan.recompute}"
    said = _SELECTIVE.match(row["recompute"].strip())
    names = re.findall(r"\w+", said[1]) if said else []
    unknown = [name for name in names if name not in (*MODULES, "custom")]
    if unknown and (unknown != names or not plan.recompute_modules):
        yield f"recompute: {row['recompute']!r}: {unknown[0]}: expected some of {', '.join(MODULES)}"
    if stated["dispatcher"] and shape.experts is None:
        yield f"dispatcher: {stated['dispatcher']}: expected a mixture of experts (moe)"
    if 0 < shape.ffn < plan.tensor:
        yield f"ffn: {shape.ffn}: expected at least tp, {plan.tensor}"
    if plan.expert > 1 and shape.experts is None:
        yield f"ep: {plan.expert}: expected 1 without experts (moe)"
    if plan.tensor == 1 and plan.tensor_overlap and stated["tp_overlap"]:
        yield f"tp_overlap: {stated['tp_overlap']}: expected tp 2 or more with it"
    if plan.backend and not plan.flash:
        yield f"backend: {plan.backend}: expected flash_attention 1 with it"


def _format(text: str) -> Format | None:
    known = {"bf16": Format.BF16, "fp16": Format.FP16, "fp8": Format.FP8, "nvfp4": Format.FP4, "fp32": Format.FP32}
    return next((found for name, found in known.items() if text.startswith(name)), None)


def _plan(row: Mapping[str, str]) -> Plan:
    """Return the row's plan. What a source leaves out: ZeRO 1 on H100 and later (Megatron's distributed optimizer), 0
    before; the fastest micro-batch, and the least recompute of the software's usual policies, that fit (`settled`);
    context and expert degrees 1. Gradients are reduced in fp32, in 16 bit for fp16, pure bf16, fms-fsdp (its policy
    bfSixteen), InternEvo (hybrid_zero_optim reduces in the parameters' type), PaddleNLP (amp_master_grad is off unless
    told), XLA (what a product in bf16 gives) and
    NVIDIA's own runs (their recipes of NeMo and Megatron-Bridge turn grad_reduce_in_fp32 off); DeepSpeed keeps the
    16-bit ones beside. "selective" is what the software means by it (`modules_of`); Neuron's blank cells are selective,
    with attention that is no kernel yet (its scripts of these layouts, before July 2024). Memory lost and
    reserved: as the software's. MaxText gives the batch of a device, and divides the residual stream among the ranks of
    a tensor-parallel group (base.yml, activation_embed), as sequence parallelism does, and Neuron's scripts turn it on,
    unless the row says that they did not; of others, Habana's too, the row says.
    """
    old = row["device"].startswith(OLD)
    context = some_in(row, "cp", 1)
    tensor = max(1, some_in(row, "tp") // _CORES.get(row["device"], 1))
    inside = tensor * some_in(row, "pp") * context
    data = some_in(row, "dp", max(1, whole_in(row, "devices") // inside))
    says = f"{row['source']} {row.get('software', '')}"
    usual = next((zero for pattern, zero in _SHARDS if pattern.search(says)), 0 if old else 1)
    sharded, meshed = row["zero_stage/fsdp"].strip(), None
    if sharded == "see note":
        meshed = sharding_of_mesh(row, data * context)
    zero, shard = meshed or _zero(sharded, usual, data * context, slices_of(row))
    if zero == 3 and row["zero_stage/fsdp"].startswith("FSDP") and some_in(row, "pp") > 1:
        # In torch's pipelines FSDP2 keeps what it gathered (reshard_after_forward: torchtitan's, AutoModel's default)
        # and reduces whole gradients after the last micro-batch (pipelining/stage.py, set_requires_gradient_sync).
        zero = 1
    recompute = row["recompute"].strip()
    some = _SOME_LAYERS.match(recompute)
    kind = _kind(recompute)
    if kind is Recompute.SELECTIVE and _hardware_share(row) >= _MOST_OF_ALL:
        kind = Recompute.FULL
    ways = ways_of(row)
    stack = ways["software"]
    if stack == "neuron" and not recompute:
        kind = Recompute.SELECTIVE
    nvidia = re.search(r"NVIDIA|NeMo|Megatron-MoE|training_results", says)
    short = row["precision"] == "fp16" or _pure(row, stack) or (stack == "megatron-core" and nvidia)
    short = short or bool(_SHORT_GRADIENTS.search(row.get("note", "")))
    short = short or stack in ("xla", ON_ARRAYS, "paddle") or re.search("fms-fsdp|InternEvo", row["source"])
    if not zero and not row.get("fp8_gather", "").strip():
        ways.pop("fp8_gather", None)  # the software's way, where there is something to gather
    folds = "schedule" in ways and ways["schedule"].folds  # stages of a V have two chunks
    return Plan(
        global_batch=whole_in(row, "global_batch"),
        tensor=tensor,
        sequence=tensor > 1 and bool(whole_in(row, "sp", int(stack in (ON_ARRAYS, "neuron")))),
        pipeline=whole_in(row, "pp"),
        virtual=max(1, whole_in(row, "vpp", 2 if folds else 1)),
        data=data,
        context=context,
        expert=whole_in(row, "ep", 1),
        zero=zero,
        shard=shard,
        micro_batch=_micro_batch(row, stack, tensor * context, data),
        recompute=kind,
        recompute_layers=int(some[1]) if some else 0,
        precision=_format(row["precision"]) or Format.BF16,
        optimizer=_optimizer(row, stack, zero),
        gradient="bf16" if short else "bf16+fp32" if stack == "megatron-deepspeed" else "fp32",
        flash=row["flash_attention"].strip() not in (("0", "") if stack == "neuron" else ("0",)),
        recompute_modules=modules_of(row, stack) if kind is Recompute.SELECTIVE else (),
        **ways,
    )


def _micro_batch(row: Mapping[str, str], software: str, group: int, data: int) -> int:
    """Return a row's samples of a pass on the ranks of a tensor- and context-parallel group: MaxText's batch is of a
    device, and may be a part of a sequence; torchtitan's pipelines have as many micro-batches as stages unless told
    (pipeline_parallel_microbatches)."""
    if not row["micro_batch"].strip() and some_in(row, "pp", 1) > 1 and software in TITANS:
        return max(1, whole_in(row, "global_batch") // data // some_in(row, "pp", 1))
    if not _OF_A_DEVICE.search(row["source"]):
        return some_in(row, "micro_batch", 1)
    each = float(row["micro_batch"].strip() or 1.0 / group) * group
    if each < 1.0 or each != int(each):
        said = f"micro_batch: {row['micro_batch'].strip()} of a device times tp and cp {group}"
        raise NotModelled(f"{said}: expected whole sequences")
    return int(each)


def _kind(text: str) -> Recompute:
    """Return the kind of recompute that a cell begins with; none where it is empty."""
    kind = next((one for one in Recompute if text.startswith(one.value)), None)
    if kind is None and text:
        raise NotModelled(f"recompute: {text!r}: expected none, full, full(N/M layers), selective, selective(MODULES)")
    return kind or Recompute.NONE


def _hardware_share(row: Mapping[str, str]) -> float:
    """Return a row's hardware utilisation over its model utilisation; 1 where it does not say both."""
    said = _HFU.search(row.get("note", ""))
    return float(said[1]) / float(row["mfu"]) if said and row.get("mfu", "").strip() else 1.0


def _optimizer(row: Mapping[str, str], software: str, zero: int) -> OptimizerKind:
    if "Muon" in row.get("note", ""):
        return OptimizerKind.MUON
    recipe = "Megatron-Bridge" in row["source"] and re.search("DeepSeek|Moonlight", row.get("model", ""))
    if recipe or "bf16 moments" in row.get("note", ""):
        return OptimizerKind.ADAMW_BF16_MOMENTS  # its recipes' use_precision_aware_optimizer with exp_avg_dtype bf16
    if software == "megatron-core" and is_nemo_1(row) and zero < 3 and row["precision"] not in ("fp16", "fp32"):
        return OptimizerKind.ADAMW_REMAINDERS
    return OptimizerKind.ADAMW_BF16 if _pure(row, software) else OptimizerKind.ADAMW


def _pure(row: Mapping[str, str], software: str) -> bool:
    """Return whether weights, gradients and moments are all in 16 bit: stated, or AutoModel's, which casts its models
    to bf16 (cast_model_to_dtype) and gives them to torch.optim.Adam."""
    return row["precision"].endswith("(pure)") or software == "automodel"


def _zero(text: str, default: int, replicas: int, slices: int) -> tuple[int, int]:
    if text == "FSDP over ICI, DP over DCN":
        return 3, replicas // slices if slices > 1 else 0
    if not text:
        return default, 0
    if text[0].isdigit() and "MiCS" not in text:
        some = _DIVIDED.search(text)
        return int(text[0]), int(some[1]) if some and int(some[1]) < replicas else 0
    if text == "FSDP(3)" or text == "FSDP":
        return 3, 0
    if "in node" in text:
        return 3, 8 if replicas % 8 == 0 else 0
    numbers = _NUMBERED.findall(text)
    if "MiCS" in text:
        return 3, int(numbers[-1])
    if text.startswith("FSDP") and "ICI" not in text and numbers:
        size = int(numbers[0])
        return 3, size if size < replicas else 0
    raise NotModelled(f"zero_stage/fsdp: {text!r}: not a plan of this model")
