"""Audit of one model on one device: every GEMM of a step, and the rules of co-design with what breaking them costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from hardplace.answers import Answer
from hardplace.cost.layers.timer import kernels_s, pass_s
from hardplace.cost.layers.work import AttentionWork, CollectiveWork, GemmWork, LayerWork
from hardplace.errors import BadInput
from hardplace.plans.chain import LayerChain, of_shape, of_workload
from hardplace.plans.plan import Plan
from hardplace.shaping.gemms import GemmRow, gemm_rows
from hardplace.shaping.rule import CodesignRule
from hardplace.shaping.rules import rules
from hardplace.shaping.sources import PricedDevice, ShapeSource
from hardplace.shaping.types import StepConditions
from hardplace.workload.decoder import DecoderShape
from hardplace.workload.sharding import shard
from hardplace.workload.types import OperatorKind, Parallelism, Phase

_DENSE = ("QKV", "attention out", "MLP up", "MLP down")
_GATED = ("QKV", "attention out", "MLP gate and up", "MLP down")
_MOE = ("QKV", "attention out", "router", "experts gate and up", "experts down")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Audit(Answer):
    """The GEMMs of a step, and the rules of co-design.

    Attributes:
        model: Name of the model.
        device: Name of the device.
        title: Full name of the device.
        shape: Shape of the decoder; None: it is none.
        conditions: Conditions in which it runs.
        step_s: Forward and backward of one micro-batch on one rank, without optimizer and traffic between replicas.
        shares: Shares of the step's seconds, by kind of work.
        gemms: The GEMMs, equal ones merged, largest share first.
        rules: The rules; () of what is no decoder.
        notes: What is left out or was taken for the figures.
    """

    model: str
    device: str
    title: str
    shape: DecoderShape | None
    conditions: StepConditions
    step_s: float
    shares: tuple[tuple[str, float], ...]
    gemms: tuple[GemmRow, ...]
    rules: tuple[CodesignRule, ...]
    notes: tuple[str, ...]

    ROWS: ClassVar[str] = "gemms"


def audited(model: ShapeSource, target: PricedDevice, conditions: StepConditions) -> Audit:
    """Return the audit of a model on a device.

    Raises:
        BadInput: Where a degree does not divide the model or a product is too large for the model of GEMMs, and for a
            mixture of experts with tensor without sequence parallelism.
    """
    if model.shape and model.shape.experts and conditions.tensor > 1 and not conditions.sequence:
        needed = (
            f"it with tensor {conditions.tensor}: ranks hold whole experts, and each sends its own part of a sequence"
        )
        raise BadInput("sequence_parallel", "not given", needed)
    plan = Plan(
        global_batch=conditions.micro_batch,
        micro_batch=conditions.micro_batch,
        tensor=conditions.tensor,
        sequence=conditions.sequence,
        flash=conditions.flash,
    )
    if model.shape is not None:
        chain = of_shape(model.shape, plan)
    else:
        assert model.workload is not None
        chain = of_workload(model.workload, plan)
    layers = _counted(chain, model, conditions)
    parts: dict[str, float] = {}
    for layer, times, _ in layers:
        for works in (layer.forward, (*layer.again, *layer.backward)):
            busy = kernels_s(works, target.timer, 1)[:, 0].tolist()
            for work, seconds in zip(works, busy, strict=True):
                parts[_kind(work)] = parts.get(_kind(work), 0.0) + seconds * times
            idle_s = float(pass_s(works, target.timer, 1)[0]) - sum(busy)
            parts["waits for the host"] = parts.get("waits for the host", 0.0) + max(0.0, idle_s) * times
    parts = {name: seconds for name, seconds in parts.items() if seconds > 1e-12}
    step_s = sum(parts.values())
    found = gemm_rows(layers, target.timer, step_s)
    return Audit(
        model=model.name,
        device=target.name,
        title=target.title,
        shape=model.shape,
        conditions=conditions,
        step_s=step_s,
        shares=tuple((name, seconds / step_s) for name, seconds in parts.items()),
        gemms=found,
        rules=rules(model.shape, conditions, target, found) if model.shape is not None else (),
        notes=(*target.notes, *_notes(model, conditions, found)),
    )


def _counted(
    chain: LayerChain, model: ShapeSource, conditions: StepConditions
) -> list[tuple[LayerWork, int, tuple[str, ...]]]:
    """Return the distinct layers, how often each is there, and what their forward products are."""
    modules = _modules(model, conditions)
    found = []
    for layer, often in Counter(chain.whole).items():
        names: tuple[str, ...] = ()
        if model.shape is None:
            products = [one for one in layer.forward if isinstance(one, GemmWork)]
            names = tuple(modules.get((layer.name, one.m, one.n, one.k), f"{layer.name} product") for one in products)
        elif layer.name == "head":
            names = ("logits",)
        else:
            names = _MOE if model.shape.experts else _GATED if model.shape.gated else _DENSE
        found.append((layer, often, names))
    return found


def _modules(model: ShapeSource, conditions: StepConditions) -> dict[tuple[str, int, int, int], str]:
    """Return the modules of a recorded model's forward products by layer and size."""
    found: dict[tuple[str, int, int, int], str] = {}
    if model.shape is not None or model.workload is None:
        return found
    degrees = Parallelism(tensor=conditions.tensor, sequence=conditions.sequence)
    for layer in shard(model.workload, degrees).layers:
        for one in layer.operators:
            if one.kind is OperatorKind.MATMUL and one.phase is Phase.FORWARD:
                _, m, n, k = (size.at(conditions.micro_batch) for size in one.dims)
                found.setdefault((layer.name, m, n, k), f"{layer.name} {one.module}".strip())
    return found


def _kind(work: object) -> str:
    match work:
        case GemmWork():
            return "matrix products"
        case AttentionWork():
            return "attention"
        case CollectiveWork():
            return "tensor-parallel exchange"
    return "norms, chains, losses"


def _notes(model: ShapeSource, conditions: StepConditions, gemms: Sequence[GemmRow]) -> tuple[str, ...]:
    found = []
    if model.shape is None:
        found.append("no decoder of equal layers: products as recorded, and no rules")
    else:
        found.append("Q, K and V are one product, gate and up another, as Megatron-LM runs them")
    if any(row.waves is not None for row in gemms):
        found.append("tiles are the GEMM model's choice, not read from a library")
    if conditions.pipeline > 1:
        found.append("the step is of all pipeline stages added up")
    return tuple(found)
