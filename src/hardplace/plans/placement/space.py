"""The space of plans: the values that each dimension may take, fixed or default (docs/model-placement.md, "The
space").
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, get_args, get_type_hints

from hardplace.cost.collectives import Ring, parts
from hardplace.errors import BadInput, unknown
from hardplace.plans.fleet import Fleet
from hardplace.plans.plan import INSIDE_OUT, ContextExchange, Dimension, PipelineSchedule, Plan
from hardplace.plans.plan_problems import expected_of
from hardplace.plans.timing import groups_of, replicas_of
from hardplace.workload.types import OperatorKind, Recompute, Workload

HEADROOM = 0.05  # of a device's memory that plans keep free unless asked for less: what memory's 80 % interval takes
LONG_SEQUENCE = 16384  # tokens from which context parallelism is searched
MICRO_BATCHES = (1, 2, 4, 8, 16)  # samples
_CONTEXTS = (1, 2, 4, 8, 16)
_NUMERICS = (
    *("precision", "optimizer", "gradient", "offload", "offload_layers", "overlap", "flash"),
    *("fragmentation", "reserve_bytes"),
)
_WAYS = (
    "software",
    "backend",
    "dispatcher",
    "graphs",
    "tensor_overlap",
    "expert_overlap",
    "fused_experts",
    "fused_loss",
    "anchor",
)  # how a plan is run
_SEARCHED = (
    "tensor",
    "sequence",
    "pipeline",
    "virtual",
    "data",
    "context",
    "context_exchange",
    "expert",
    "zero",
    "shard",
    "micro_batch",
    "schedule",
    "order",
    "recompute",
    "recompute_layers",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFilter:
    """A restriction of the space, such as to the plans that a trainer runs.

    Attributes:
        title: Whose plans they are, in words.
        allows: Whether a plan, before its stages are cut, is one of them.
    """

    title: str
    allows: Callable[[Plan], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSpace:
    """A space of plans: what is not fixed is searched, or has its usual value.

    Attributes:
        global_batch: Samples of one optimizer step.
        fixed: Values that a dimension is held to, by its name.
        within: Restriction to some plans; None: all.
        headroom: Share of each device's memory that plans keep free.
    """

    global_batch: int
    fixed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    within: PlanFilter | None = None
    headroom: float = 0.0

    def allows(self, name: str, value: object) -> bool:
        """Return whether a dimension may take a value."""
        return name not in self.fixed or value in self.fixed[name]

    def admits(self, plan: Plan) -> bool:
        """Return whether a plan passes the restriction of the space."""
        return self.within is None or self.within.allows(plan)

    def of(self, name: str, usual: Sequence[Any]) -> tuple[Any, ...]:
        """Return the values of a dimension: the fixed ones, else the usual ones."""
        return tuple(self.fixed.get(name, usual))

    def bases(self) -> list[Plan]:
        """Return plans of degree 1 for every combination of what changes numerics or is usually fixed."""
        whole = Plan(global_batch=self.global_batch)
        names = (*_NUMERICS, *_WAYS)
        choices = [self.of(name, (getattr(whole, name),)) for name in names]
        return [replace(whole, **dict(zip(names, chosen, strict=True))) for chosen in itertools.product(*choices)]


def fixed(asked: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Return the values that `name=value,value` texts hold dimensions to.

    Raises:
        BadInput: For a name or value that is none.
    """
    kinds = get_type_hints(Plan)
    found: dict[str, tuple[Any, ...]] = {}
    for text in asked:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise BadInput("fixed", text, "NAME=VALUE or NAME=VALUE,VALUE, such as tensor=8 or zero=1,3")
        names = [one for one in (*_SEARCHED, *_NUMERICS, *_WAYS) if one != "anchor"]  # a file's, not a text's
        if name not in names:
            raise unknown("dimension", name, names)
        if name in found:
            raise BadInput("fixed", text, f"each dimension once, with all its values: {name}=VALUE,VALUE")
        kind = Dimension if name == "order" else _kind(kinds[name])
        found[name] = tuple(dict.fromkeys(_value(name, one, kind) for one in values.split(",")))
        for value in found[name]:
            if expected := expected_of(name, value):
                raise BadInput("fixed", f"{name}={value}", expected)
    return found


def fixed_of(held: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Return the values that dimensions are held to, from values by name: {"tensor": (1, 2), "zero": 3}.

    Raises:
        BadInput: For a name or value that is none.
    """

    def text(value: Any) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        return "-".join(map(str, value)) if isinstance(value, tuple | list) else str(value)

    def values(name: str, given: Any) -> Sequence[Any]:
        one = not isinstance(given, tuple | list) or (
            name == "order" and isinstance(given[0], str) and "-" not in given[0]
        )
        return (given,) if one else given

    texts = {name: given for name, given in held.items() if name != "anchor"}
    found = fixed([f"{name}={','.join(text(one) for one in values(name, given))}" for name, given in texts.items()])
    return found | {name: tuple(values(name, given)) for name, given in held.items() if name == "anchor"}


def _kind(hint: Any) -> Any:
    """Return the type of a field, of one that may be None the other one."""
    return next((one for one in get_args(hint) if one is not type(None)), hint)


def _value(name: str, text: str, kind: Any) -> Any:
    if name == "order":
        order = tuple(_value("", one, kind) for one in text.split("-"))
        if sorted(order) != sorted(Dimension):
            raise BadInput("fixed", f"order={text}", "tensor, context, data and pipeline joined by -, inside out")
        return order
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            return kind(text)
        return kind(text)
    except (KeyError, ValueError):
        names = ", ".join(kind) if isinstance(kind, type) and issubclass(kind, StrEnum) else ""
        words = {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, names)
        raise BadInput("fixed", f"{name}={text}", words) from None


def divisors(number: int) -> list[int]:
    """Return the divisors of a number in rising order."""
    small = [one for one in range(1, int(number**0.5) + 1) if number % one == 0]
    return sorted({*small, *(number // one for one in small)})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDims:
    """The sizes of a model that bound its degrees.

    Attributes:
        layers: Layers that are cut into stages.
        sequence: Tokens of a sample.
        heads: Greatest common divisor of the numbers of heads; 0: no attention.
        experts: Experts of the widest mixture; 1: none.
        branches: Whether the layers branch.
    """

    layers: int
    sequence: int
    heads: int
    experts: int
    branches: bool


def shape_of(workload: Workload) -> ModelDims:
    """Return the sizes of a workload; experts are the batch of its widest grouped product, 1 without."""
    counts = {
        operator.dims[0].at(1)
        for layer in workload.layers
        for operator in layer.operators
        if operator.kind is OperatorKind.GROUPED_MATMUL
    }
    heads = [
        operator.dims[1].at(1)
        for layer in workload.layers
        for operator in layer.operators
        if operator.kind is OperatorKind.ATTENTION
    ]
    return ModelDims(
        heads=math.gcd(*heads),
        layers=max(1, len(workload.order) - 2),
        sequence=workload.sequence_length,
        experts=max(counts, default=1),
        branches=any(edge.target != edge.source + 1 for edge in workload.edges),
    )


def check(space: PlanSpace, shape: ModelDims, devices: int) -> None:
    """Check that the model and the devices allow some of the values that each dimension is held to.

    Raises:
        BadInput: If they allow none.
    """
    for name, size, what in (
        ("tensor", shape.heads, "the model's {} heads"),
        ("expert", shape.experts, "the model's {} experts"),
        ("context", shape.sequence, "the sequence of {}"),
        *((name, devices, "the {} devices") for name in ("tensor", "context", "data", "pipeline")),
    ):
        values = space.fixed.get(name, ())
        if values and not any(value >= 1 and size % value == 0 for value in values):
            listed = ",".join(map(str, values))
            raise BadInput("fixed", f"{name}={listed}", f"a divisor of {what.format(f'{size:,}')}")
    for name in ("virtual", "recompute_layers", "offload_layers"):
        if (values := space.fixed.get(name, ())) and min(values) > shape.layers:
            listed = ",".join(map(str, values))
            raise BadInput("fixed", f"{name}={listed}", f"at most the model's {shape.layers} layers")


def rank_degrees(space: PlanSpace, base: Plan, shape: ModelDims, fleet: Fleet) -> Iterator[Plan]:
    """Yield the ways to divide a layer: tensor, sequence, context and how keys travel, expert.

    Tensor parallelism stays within the innermost network level, where every run stays that efficiencies are fitted on,
    unless asked for more.
    """
    devices = fleet.devices
    inner = min(site.cluster.levels[0].devices for site in fleet.sites)
    contexts = _CONTEXTS if shape.sequence >= LONG_SEQUENCE else (1,)
    for tensor in space.of("tensor", [one for one in divisors(devices) if one <= inner]):
        for sequence in space.of("sequence", (False, True)):
            for context in space.of("context", contexts):
                for exchange in space.of("context_exchange", tuple(ContextExchange) if context > 1 else (None,)):
                    for expert in space.of("expert", divisors(shape.experts)):
                        if devices % (tensor * context) or (sequence and tensor == 1) or shape.heads % tensor:
                            continue
                        yield replace(
                            base,
                            tensor=tensor,
                            sequence=sequence,
                            context=context,
                            context_exchange=exchange or ContextExchange.ALL_GATHER,
                            expert=expert,
                        )


def pipelines(space: PlanSpace, ranked: Plan, shape: ModelDims, fleet: Fleet) -> Iterator[Plan]:
    """Yield pipeline and data degrees that use all devices, with the kind of device of each stage and micro-batches."""
    width = ranked.tensor * ranked.context
    for pipeline in space.of("pipeline", divisors(fleet.devices // width)):
        data, left = divmod(fleet.devices, width * pipeline)
        if left or pipeline > shape.layers + 2 or not space.allows("data", data) or ranked.global_batch % data:
            continue
        if width * data % ranked.expert:
            continue
        each = ranked.global_batch // data
        for kinds in _kinds(fleet, width * data, pipeline):
            for micro_batch in space.of("micro_batch", MICRO_BATCHES):
                if each % micro_batch == 0:
                    yield replace(ranked, pipeline=pipeline, data=data, micro_batch=micro_batch, kinds=kinds)


def _kinds(fleet: Fleet, replica: int, pipeline: int) -> Iterator[tuple[str, ...]]:
    if len(fleet.sites) == 1:
        yield ()
        return
    counts = {site.device: site.cluster.devices // replica for site in fleet.sites}
    if sum(counts.values()) != pipeline or any(site.cluster.devices % replica for site in fleet.sites):
        return
    for names in itertools.permutations(counts):
        yield tuple(name for name in names for _ in range(counts[name]))


def orders(space: PlanSpace, plan: Plan, fleet: Fleet) -> list[Plan]:
    """Return a plan with each order of its degrees that puts some process group on other network levels.

    Tensor is innermost unless asked for otherwise.
    """
    seen: dict[object, Plan] = {}
    tensor, *others = INSIDE_OUT
    for order in space.of("order", [(tensor, *rest) for rest in itertools.permutations(others)]):
        one = replace(plan, order=order)
        if not one.order_problem():
            seen.setdefault(_landing(one, fleet), one)
    return list(seen.values())


def _landing(plan: Plan, fleet: Fleet) -> object:
    """Return the levels that each group of ranks meets on."""
    dense, experts = replicas_of(plan)
    hop = Ring(members=2 if plan.pipeline > 1 else 1, stride=plan.stride(Dimension.PIPELINE))
    rings = [*groups_of(plan).values(), dense, experts, hop]
    return tuple(
        tuple((part.members, part.level.name) for part in parts(site.cluster, ring.members, ring.stride))
        for site in fleet.sites
        for ring in rings
    )


def schedules(space: PlanSpace, plan: Plan, shape: ModelDims) -> list[tuple[PipelineSchedule, int]]:
    """Return schedules with their virtual stages: of 1F1B the divisors of a stage's layers, rounded up."""
    if plan.pipeline == 1:
        allowed = space.of("schedule", (PipelineSchedule.ONE_F_ONE_B,))
        return [(allowed[0], 1)] if space.allows("virtual", 1) else []
    each = -(-shape.layers // plan.pipeline)
    chunked = [1] if shape.branches or plan.micro_batches % plan.pipeline else divisors(each)
    found = []
    for schedule in space.of("schedule", tuple(PipelineSchedule)):
        for virtual in space.of("virtual", chunked) if schedule is PipelineSchedule.ONE_F_ONE_B else (1,):
            if space.allows("virtual", virtual) and (virtual == 1 or (chunked != [1] and virtual <= each)):
                found.append((schedule, virtual))
    return found


def recomputes(space: PlanSpace, plan: Plan, shape: ModelDims) -> list[tuple[Recompute, int]]:
    """Return what is recomputed, and of how many of each stage's layers (0: all; of layers whose
    activations wait in host memory all, or none)."""
    usual = tuple(Recompute) if not plan.flash else (Recompute.NONE, Recompute.FULL)
    most = 1 if shape.branches or plan.offload_layers else -(-shape.layers // plan.pipeline)
    found = []
    for kind in space.of("recompute", usual):
        some = space.of("recompute_layers", range(most)) if kind is Recompute.FULL else (0,)
        found += [
            (kind, count)
            for count in some
            if count <= shape.layers and (kind is Recompute.FULL or space.allows("recompute_layers", 0))
        ]
    return found


def shards(space: PlanSpace, plan: Plan, fleet: Fleet) -> list[tuple[int, int]]:
    """Return ZeRO stages with the replicas that they shard over: all, or those within the innermost network level."""
    replicas = plan.replicas
    zeros = (0, 1, 2, 3) if replicas > 1 else (0,)
    inner = min(site.cluster.levels[0].devices for site in fleet.sites) // plan.stride(Dimension.DATA)
    near = (0, inner) if 1 < inner < replicas and replicas % inner == 0 else (0,)
    found = []
    for zero in space.of("zero", zeros):
        if plan.pipeline > 1 and (zero == 3 or (zero == 2 and "zero" not in space.fixed)):
            continue  # not in DeepSpeed or Megatron-LM; ZeRO-2 if asked for
        found += [(zero, shard) for shard in space.of("shard", near) if zero or not shard]
    return [(zero, shard) for zero, shard in found if not shard or replicas % shard == 0]
