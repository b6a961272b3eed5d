"""A model that does not fit: which stage of the nearest plan is short of how many bytes, and what would mend it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hardplace.errors import BadInput
from hardplace.hardware.device import Device, Node
from hardplace.plans.estimate import PlanEstimate
from hardplace.plans.placement.divisions import Inventory
from hardplace.plans.placement.search import PlacementResult, PlanSearch
from hardplace.plans.placement.space import PlanSpace
from hardplace.plans.plan import OptimizerKind, PipelineSchedule, Plan
from hardplace.workload.types import Recompute, Workload

REMEDIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """A change that makes the model fit, and the step it then takes."""

    what: str
    step_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Short:
    """No plan fits: of those that hold least, the nearest, its stage (from 0) that is short, by how many bytes, and the
    cheapest changes that would mend it: first those that cost no device."""

    nearest: Plan
    stage: int
    short_bytes: float
    considered: int
    remedies: tuple[Remedy, ...]


def placed_or_short(
    workload: Workload, inventory: Inventory, space: PlanSpace, search: PlanSearch | None = None
) -> PlacementResult | Short:
    """Return the best plans, or what is short and what would mend it. Raises BadInput as `PlanSearch.run` does."""
    search = search or PlanSearch(workload, inventory, space)
    found = search.run()
    if found is not None:
        return found
    nearest = min(lightest(search), key=lambda one: max(_over_bytes(one)))
    over = _over_bytes(nearest)
    return Short(
        nearest=nearest.plan,
        stage=over.index(max(over)),
        short_bytes=max(over),
        considered=search.considered,
        remedies=tuple(_remedies(workload, inventory, space)),
    )


def _over_bytes(one: PlanEstimate) -> list[float]:
    """Return by how many bytes each stage exceeds its device."""
    return [room.total_bytes - held for room, held in zip(one.memory, one.memory_bytes, strict=True)]


def lightest(search: PlanSearch) -> Iterator[PlanEstimate]:
    """Yield, for each way to divide the model, an estimate of its plan that holds least: all recomputed, sharded as far
    as it goes, one micro-batch after the other, stages as even as they go."""
    for plan, chains, fleet in search.divided.divisions():
        kind = Recompute.FULL if Recompute.FULL in chains else Recompute.NONE
        one = replace(plan, recompute=kind, schedule=PipelineSchedule.ONE_F_ONE_B)
        try:
            yield search.divided.estimated(one, chains[kind], fleet)
        except BadInput:
            continue


def _remedies(workload: Workload, inventory: Inventory, space: PlanSpace) -> Iterator[Remedy]:
    count = 0
    for what, fixed, more in _changes(inventory, space):
        wider = replace(space, fixed={**space.fixed, **fixed})
        try:
            found = PlanSearch(workload, more, wider, most=1).run()
        except BadInput:
            continue
        if found is not None:
            count += 1
            yield Remedy(what=what, step_s=found.best[0].step_s)
        if count == REMEDIES:
            return


def _changes(inventory: Inventory, space: PlanSpace) -> Iterator[tuple[str, Mapping[str, Any], Inventory]]:
    for what, fixed in (
        ("gradients in bf16", {"gradient": ("bf16",)}),
        ("8-bit optimizer states", {"optimizer": (OptimizerKind.ADAMW_8BIT,)}),
        (
            "gradients in bf16 and 8-bit optimizer states",
            {"gradient": ("bf16",), "optimizer": (OptimizerKind.ADAMW_8BIT,)},
        ),
        ("optimizer states in host memory", {"offload": (True,)}),
    ):
        if not any(name in space.fixed for name in fixed):
            yield what, fixed, inventory
    for degree in (2, 4):
        if "context" not in space.fixed:
            yield f"context {degree}", {"context": (degree,)}, inventory
    for times in (2, 4, 8, 16, 32):
        more: list[tuple[Device, Node, int]] = [(chip, node, times * count) for chip, node, count in inventory]
        yield f"{sum(count for _, _, count in more):,} devices", {}, more
