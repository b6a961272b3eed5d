"""The space of plans: the values that each dimension may take, fixed or default (docs/model-placement.md, "The
space").
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hardplace.errors import BadInput
from hardplace.plans.plan import ContextExchange, PipelineSchedule, Plan
from hardplace.plans.plan_problems import problems
from hardplace.workload.types import OperatorKind, Recompute, Workload

HEADROOM = 0.05  # of a device's memory that plans keep free unless asked otherwise (judged; its interval is wider)
NUMERICS = (
    *(
        "precision",
        "fp8_recipe",
        "fp8_gather",
        "optimizer",
        "gradient",
        "offload",
        "offload_layers",
        "overlap",
        "flash",
    ),
    *("fragmentation", "reserve_bytes"),
)
WAYS = (
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
MODULES_AGAIN = "recompute_modules"  # held to one list, of the plans that recompute selectively
LONG_SEQUENCE = 16384  # tokens from which context parallelism is searched
_CONTEXTS = (1, 2, 4, 8, 16)
SEARCHED = (
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


_FOLDED = {"virtual": 2, "recompute_layers": 0, "offload_layers": 0}  # of V-shaped schedules


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

    @property
    def schedules(self) -> tuple[PipelineSchedule, ...]:
        """Return the schedules of pipelines: those asked for, else all but the V-shaped ones."""
        return self.of("schedule", [one for one in PipelineSchedule if not one.folds])

    @property
    def eases(self) -> bool:
        """Return whether selective recompute drops something beside scores that are kept: modules are held."""
        return any(self.of(MODULES_AGAIN, ()))

    def bases(self) -> list[Plan]:
        """Return plans of degree 1 for every combination of what changes numerics or is usually fixed."""
        whole = Plan(global_batch=self.global_batch)
        names = (*NUMERICS, *WAYS, MODULES_AGAIN)
        choices = [self.of(name, (getattr(whole, name),)) for name in names]
        return [replace(whole, **dict(zip(names, chosen, strict=True))) for chosen in itertools.product(*choices)]


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


def contexts_of(space: PlanSpace, shape: ModelDims) -> tuple[int, ...]:
    """Return the context-parallel degrees of a space."""
    return space.of("context", _CONTEXTS if shape.sequence >= LONG_SEQUENCE else (1,))


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
    if set(space.of("context_exchange", ())) == {ContextExchange.ALL_TO_ALL} and max(contexts_of(space, shape)) == 1:
        raise BadInput("fixed", "context_exchange=all-to-all", "a context of 2 or more with it, such as context=2")
    if space.eases:
        listed = ",".join("+".join(one) for one in space.fixed[MODULES_AGAIN])
        if len(space.fixed[MODULES_AGAIN]) > 1:
            raise BadInput("fixed", f"{MODULES_AGAIN}={listed}", "one list, its modules joined by +")
        if not space.allows("recompute", Recompute.SELECTIVE):
            kinds = ",".join(space.fixed["recompute"])
            raise BadInput("fixed", f"{MODULES_AGAIN}={listed}", f"recompute selective with it, not {kinds}")
    if all(one.folds for one in space.schedules):
        for name, needed in _FOLDED.items():
            if needed not in (values := space.fixed.get(name, (needed,))):
                listed = ",".join(map(str, values))
                raise BadInput("fixed", f"{name}={listed}", f"{needed} with schedule {space.schedules[0]}")
    for name in ("virtual", "recompute_layers", "offload_layers"):
        if (values := space.fixed.get(name, ())) and min(values) > shape.layers:
            listed = ",".join(map(str, values))
            raise BadInput("fixed", f"{name}={listed}", f"at most the model's {shape.layers} layers")
    if contradiction := _contradiction(space):
        name, value, expected = contradiction.split(": ", 2)
        raise BadInput("fixed", f"{name}={value}", expected.removeprefix("expected "))


def _contradiction(space: PlanSpace) -> str:
    """Return the first problem of what is held of numerics, ways to run and ZeRO where all plans have one; else ""."""
    first = ""
    for base, zero in itertools.product(space.bases(), space.of("zero", (0, 1, 2, 3))):
        found = next(problems(replace(base, recompute_modules=(), zero=zero)), "")
        if not found:
            return ""
        first = first or found
    return first


def no_degrees(space: PlanSpace, devices: int) -> BadInput:
    """Return the error where no plan has the degrees asked for."""
    if space.within is not None:
        return BadInput(
            "devices",
            devices,
            f"a number on which {space.within.title} runs some plan with {space.global_batch:,} samples, or fewer "
            f"dimensions held",
        )
    if space.fixed:
        names = ", ".join(f"{name}={','.join(map(str, values))}" for name, values in space.fixed.items())
        expected = (
            f"degrees that multiply to the {devices:,} devices, and data x micro_batch that divides the batch of "
            f"{space.global_batch:,} samples"
        )
        if all(one.folds for one in space.schedules):
            expected += (
                "; with a V-shaped schedule pipeline 2 or more, a model without branches, two of its layers for each "
                "stage but the first, and for dualpipe-v twice as many micro-batches as stages"
            )
        return BadInput("fixed", names, expected)
    return BadInput(
        "batch",
        space.global_batch,
        f"a multiple of devices / (tensor x pipeline): no data-parallel degree of {devices:,} devices divides it",
    )
