"""A model that does not fit: which stage of the nearest plan is short of how many bytes, and the remedies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from hardplace.answers import Remedy
from hardplace.errors import BadInput
from hardplace.hardware.device import Node
from hardplace.plans.chain import LayerChain
from hardplace.plans.estimate import PlanEstimate
from hardplace.plans.fleet import Fleet, PlanDevice
from hardplace.plans.infeasible import PlanInfeasible
from hardplace.plans.memory import least_bytes_per_parameter
from hardplace.plans.pipeline import in_flight
from hardplace.plans.placement.divisions import Inventory
from hardplace.plans.placement.enumeration import eased, recomputes, schedules
from hardplace.plans.placement.result import PlacementResult
from hardplace.plans.placement.search import PlanSearch
from hardplace.plans.placement.space import PlanSpace, no_degrees
from hardplace.plans.plan import OptimizerKind, PipelineSchedule, Plan
from hardplace.workload.types import Recompute, Workload
from hardplace.workload.weights import weights_of_model

REMEDIES = 3
_EASES = (Recompute.NONE, Recompute.SELECTIVE, Recompute.FULL)  # the more is recomputed, the less is kept


def placed_or_short(
    workload: Workload, inventory: Inventory, space: PlanSpace, search: PlanSearch | None = None
) -> PlacementResult | PlanInfeasible:
    """Return the best plans, or what is short with remedies.

    Raises:
        BadInput: As `PlanSearch.run` does.
    """
    search = search or PlanSearch(workload, inventory, space)
    found = search.run()
    if found is not None:
        return found
    # A plan that holds least may fit and yet not be in the space (chunks that its stages have no layers for).
    light = tuple(lightest(search))
    light = tuple(one for one in light if search.space.admits(one.plan)) or light
    headroom = space.headroom

    def over_bytes(one: PlanEstimate) -> float:
        return max(_over_bytes(one, headroom))

    nearest = min(light, key=lambda one: (over_bytes(one) <= 0.0, over_bytes(one)), default=None)
    if nearest is None:
        raise no_degrees(search.space, sum(count for _, _, count in inventory))
    over = _over_bytes(nearest, headroom)
    stage = over.index(max(over))
    return PlanInfeasible(
        what=f"memory of stage {stage} of the nearest plan",
        needed=nearest.memory[stage].total_bytes,
        available=(1.0 - search.space.headroom) * nearest.memory_bytes[stage],
        unit="bytes",
        nearest=nearest.plan,
        stage=stage,
        considered=search.considered,
        remedies=tuple(_remedies(workload, inventory, space)),
    )


def _over_bytes(one: PlanEstimate, headroom: float) -> list[float]:
    """Return by how many bytes each stage exceeds what it may fill of its device."""
    may = [(1.0 - headroom) * held for held in one.memory_bytes]
    return [room.total_bytes - held for room, held in zip(one.memory, may, strict=True)]


def lightest(search: PlanSearch) -> Iterator[PlanEstimate]:
    """Yield, for each way to divide the model, the estimate of its plan that holds least.

    Sharded and recomputed as far as the space allows, the schedule with the fewest micro-batches in flight, stages as
    even as they go.
    """
    space, shape = search.space, search.divided.shape
    for plan, chains, fleet in search.divided.divisions():
        ways = schedules(space, plan, shape)
        kinds = recomputes(space, plan, shape)
        for folds in (False, True):  # a V-shaped one recomputes all layers of a stage, or none
            able = [way for way in ways if way[0].folds == folds]
            eases = [one for one in kinds if not folds or not one[1]]
            if able and eases:
                yield from _lightest(search, plan, able, eases, chains, fleet)


def _lightest(
    search: PlanSearch,
    plan: Plan,
    ways: Sequence[tuple[PipelineSchedule, int]],
    kinds: Sequence[tuple[Recompute, int]],
    chains: Mapping[Recompute, LayerChain],
    fleet: Fleet,
) -> Iterator[PlanEstimate]:
    """Yield the estimate of the plan of these schedules and kinds of recompute that holds least, if there is one."""
    shape = search.divided.shape
    flight = {way: in_flight(0, plan.pipeline, plan.micro_batches, way[1], way[0]) for way in ways}
    schedule, virtual = min(flight, key=lambda way: (flight[way], way[0].apart))  # weight gradients that wait hold more
    recompute, count = max(kinds, key=lambda one: (_EASES.index(one[0]), one[1] or shape.layers))
    one = replace(eased(plan, recompute, min(count, shape.layers)), schedule=schedule, virtual=virtual)
    if not schedule.folds:
        layers = len(search.divided.workload.order)
        if shape.branches and plan.pipeline > 1:
            one = replace(one, assignment=tuple(layer * plan.pipeline // layers for layer in range(layers)))
        elif plan.pipeline > shape.layers:  # embedding and head are stages of their own
            more = plan.pipeline - shape.layers
            one = replace(one, stages=(*(0,) * (more > 1), *(1,) * shape.layers, 0))
    with suppress(BadInput):
        yield search.divided.estimated(one, chains[recompute], fleet)


def _remedies(workload: Workload, inventory: Inventory, space: PlanSpace) -> Iterator[Remedy]:
    count, trained = 0, weights_of_model(workload).trained
    for what, wider, more in _changes(inventory, space):
        try:
            if cannot_hold(trained, more, wider):
                continue
            found = PlanSearch(workload, more, wider, most=1).run()
        except BadInput:
            continue
        except KeyboardInterrupt:  # what is short is known: the remedies found so far go with it
            return
        if found is not None:
            count += 1
            yield Remedy(what=what, step_s=found.best[0].step_s)
        if count == REMEDIES or (found is not None and found.stopped):
            return


def cannot_hold(trained: int, inventory: Inventory, space: PlanSpace) -> bool:
    """Return whether devices hold too little together for gradients and optimizer states, in all plans of a space.

    Sharding divides them among all devices at the most, so no plan fits where their memory together is less.

    Args:
        trained: Trained parameters of the model, each once.
        inventory: Device, node and number, of each kind.
        space: The plans.
    """
    usable_bytes = (1.0 - space.headroom) * sum(count * chip.memory_bytes for chip, _, count in inventory)
    return all(least_bytes_per_parameter(base) * trained > usable_bytes for base in space.bases())


def _changes(inventory: Inventory, space: PlanSpace) -> Iterator[tuple[str, PlanSpace, Inventory]]:
    def held(fixed: Mapping[str, Any]) -> PlanSpace:
        return replace(space, fixed={**space.fixed, **fixed})

    if space.headroom:
        yield "no memory kept free", replace(space, headroom=0.0), inventory
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
            yield what, held(fixed), inventory
    for degree in (2, 4):
        if "context" not in space.fixed:
            yield f"context {degree}", held({"context": (degree,)}), inventory
    for times in (2, 4, 8, 16, 32):
        more: list[tuple[PlanDevice, Node, int]] = [(chip, node, times * count) for chip, node, count in inventory]
        yield f"{sum(count for _, _, count in more):,} devices", space, more
