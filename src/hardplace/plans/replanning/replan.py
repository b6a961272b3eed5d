"""Search of the best plan to go on with when devices or links of a running plan change (docs/model-replan.md).

Read `replan` first: plans come in rising order of seconds (`plans.replanning.variants`), each is charged the pause of
moving to it, and the loop ends when no later one can do more work over the horizon.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from hardplace.answers import Answer
from hardplace.certificate import Certificate
from hardplace.errors import BadInput
from hardplace.hardware.device import Node
from hardplace.ndtypes import Ints
from hardplace.plans.estimate import PlanEstimate
from hardplace.plans.fleet import PlanDevice, even_cluster
from hardplace.plans.infeasible import PlanInfeasible
from hardplace.plans.memory import state_bytes, weight_bytes
from hardplace.plans.plan import Plan
from hardplace.plans.replanning.devices import AvailableDevices
from hardplace.plans.replanning.mapping import GONE, standing
from hardplace.plans.replanning.moves import StateMoves, moves
from hardplace.plans.replanning.state import ModelState, spread_of
from hardplace.plans.replanning.variants import RisingPlans
from hardplace.workload.types import Recompute, Workload

RESTART_S = 60.0  # docs/model-replan.md, "Pause"
STORE_BYTES_PER_S = 125e6  # of a device; docs/model-replan.md, "Pause"
BEST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of the devices.

    Attributes:
        devices: Devices at hand; those left of the running plan come before new ones.
        lost: Ranks of the running plan that are lost.
        node: The node, with its links as they are now.
        horizon_s: Seconds until the next change.
        restart_s: Seconds of a stop without any transfer.
        store_bytes_per_s: Rate at which a device reads checkpoints, in bytes a second.
    """

    devices: int
    lost: frozenset[int]
    node: Node
    horizon_s: float
    restart_s: float = RESTART_S
    store_bytes_per_s: float = STORE_BYTES_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplanOption:
    """A plan to go on with.

    Attributes:
        estimate: Seconds and memory of the plan.
        moves: Bytes that move.
        transfer_s: Seconds of transfers between devices.
        read_s: Seconds of reading checkpoints.
        pause_s: Seconds from the stop of the running plan to the first step of this one.
        samples_per_s: Throughput while it runs.
        effective_samples_per_s: Mean throughput over the horizon, with the pause.
        spares: Devices at hand that it leaves idle.
    """

    estimate: PlanEstimate
    moves: StateMoves
    transfer_s: float
    read_s: float
    pause_s: float
    samples_per_s: float
    effective_samples_per_s: float
    spares: int


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ReplanResult(Answer):
    """The plans to go on with, most work first; the first is the best of its space.

    Attributes:
        options: The plans.
        running: The old plan on its old devices.
        reread_bytes: All state, which the store must give if hosts keep no snapshot of the checkpoint; 0 where nothing
            is lost for good.
        reread_s: Seconds of that.
        uneven: Best plan whose batch is only near the running one, where it is faster.
        considered: Number of plans.
        priced: Number of plans priced.
        at_hand: Devices at hand.
        horizon_s: Seconds until the next change.
        bound_samples_per_s: Upper bound on the mean throughput of every plan over the horizon.
    """

    options: tuple[ReplanOption, ...]
    running: PlanEstimate
    reread_bytes: float
    reread_s: float
    uneven: PlanEstimate | None
    considered: int
    priced: int
    at_hand: int
    horizon_s: float
    bound_samples_per_s: float

    ROWS: ClassVar[str] = "options"

    @property
    def certificate(self) -> Certificate:
        """Return the proof that no plan of the space does more work over the horizon."""
        return Certificate(
            score=self.options[0].effective_samples_per_s,
            bound=self.bound_samples_per_s,
            unit="samples/s in the mean of the horizon",
            stop="optimal",
            considered=self.considered,
        )


def replan(
    workload: Workload, chip: PlanDevice, running: Plan, before: Node, change: Change
) -> ReplanResult | PlanInfeasible:
    """Return the plans that do most work until the next change, or why none does any.

    The work of a plan is samples/s x (horizon - pause).

    Args:
        workload: The model.
        chip: The device.
        running: The running plan.
        before: Node of the running plan, as it was.
        change: What is at hand now.

    Raises:
        BadInput: For a plan that does not suit the model, or a change that does not suit the plan.
    """
    _check(running, before, change)
    old = AvailableDevices(workload, chip, before, running, running.devices).estimate(running)
    mover = _Mover(workload, old, before, change)
    now = RisingPlans(AvailableDevices(workload, chip, change.node, running, change.devices, mover.room_for))
    least_s, late_s = change.restart_s, math.inf  # no pause is shorter; the shortest of those that were too long
    found: list[ReplanOption] = []
    own = mover.can_stay or now.hand.placed(running.devices) is not None
    if own:  # the running plan as it is, where it runs or on other devices
        option = mover.stay(now.hand.estimate(running)) if mover.can_stay else mover.option(now.hand.estimate(running))
        if option.effective_samples_per_s > 0.0:
            found.append(option)
        else:
            late_s = option.pause_s
    for estimate in now.rising():
        most = _rate(estimate) * (change.horizon_s - least_s)
        enough = found[BEST - 1].effective_samples_per_s if len(found) >= BEST else 0.0
        if most <= enough * change.horizon_s:
            break
        if own and _same(estimate, old):
            continue
        option = mover.option(estimate)
        least_s = mover.least_pause_s(option)
        if option.effective_samples_per_s > 0.0:
            found.append(option)
            found.sort(key=lambda one: (-one.effective_samples_per_s, -one.samples_per_s))
            del found[BEST:]
        else:
            late_s = min(late_s, option.pause_s)
    if not found:
        return _stuck(now, change, least_s, late_s)
    return _answer(found, mover, now, old)


def _rate(estimate: PlanEstimate) -> float:
    return estimate.plan.global_batch / estimate.step_s


def _same(one: PlanEstimate, other: PlanEstimate) -> bool:
    return replace(one.plan, stages=one.stage_layers) == replace(other.plan, stages=other.stage_layers)


def _check(running: Plan, before: Node, change: Change) -> None:
    if running.schedule.folds:
        raise BadInput("schedule", running.schedule, "1f1b, gpipe or zero-bubble: V-shaped ones are not replanned")
    strange = sorted(one for one in change.lost if not 0 <= one < running.devices)
    if strange:
        raise BadInput("lost", strange[0], f"a device of the running plan, 0 to {running.devices - 1}")
    left = running.devices - len(change.lost)
    if change.devices < left:
        raise BadInput("devices", change.devices, f"at least the {left} that are left of the running plan")
    if change.devices < 1:
        raise BadInput("lost", f"all {running.devices} devices", "one or more left, or new devices")
    was, now = before.levels[0].devices, change.node.levels[0].devices
    if before.device != change.node.device or was != now:
        raise BadInput(
            "cluster",
            f"{change.node.name}: {now} {change.node.device} a node",
            f"nodes as the running plan has them, {was} {before.device}",
        )
    if running.kinds:
        raise BadInput(f"kinds: {list(running.kinds)}: expected a plan on devices of one kind")


class _Mover:
    """What it takes to go from the running plan to others, on the devices at hand."""

    def __init__(self, workload: Workload, old: PlanEstimate, before: Node, change: Change) -> None:
        self.old, self.change, self.states = old, change, ModelState(workload)
        self.layers = len(workload.order)
        levels = even_cluster(before, old.devices).levels
        size = levels[0].devices if len(levels) > 1 else before.levels[0].devices or old.devices
        gained = change.devices - (old.devices - len(change.lost))
        self._moves: dict[tuple[Plan, tuple[int, ...]], StateMoves] = {}
        self.slots: Ints = standing(old.devices, size, change.lost, gained)
        self.present = (self.slots != GONE).sum(axis=1)
        self.can_stay = not change.lost
        inner, *outer = change.node.levels
        self.inside_bytes_per_s = inner.reached_bytes_per_s
        rates = [one.reached_bytes_per_s for one in outer] or [self.inside_bytes_per_s]
        self.across_bytes_per_s = min(rates)

    def room_for(self, nodes: int, each: int) -> bool:
        """Return whether so many nodes have so many devices."""
        return int((self.present >= each).sum()) >= nodes

    def stay(self, estimate: PlanEstimate) -> ReplanOption:
        """Return the running plan, going on without a stop on the links as they are now."""
        return replace(
            self.option(estimate),
            transfer_s=0.0,
            read_s=0.0,
            pause_s=0.0,
            effective_samples_per_s=self._effective(estimate, 0.0),
        )

    def least_pause_s(self, option: ReplanOption) -> float:
        """Return what no pause is shorter than: what is lost is as much whatever the plan, and read by all devices."""
        read_s = option.moves.checkpoint_bytes / (self.change.store_bytes_per_s * self.change.devices)
        return self.change.restart_s + read_s

    def option(self, estimate: PlanEstimate) -> ReplanOption:
        """Return what moves and the pause of going to a plan."""
        old, new = self.old, estimate
        per_node = even_cluster(self.change.node, new.devices).levels[0].devices
        after = spread_of(new, self.layers)
        plan = replace(new.plan, zero=1 if new.plan.zero == 2 else new.plan.zero, stages=(), global_batch=1)
        key = replace(plan, micro_batch=1, recompute=Recompute.NONE, recompute_layers=0), after.places
        if key not in self._moves:  # plans that divide the state alike
            parts = self.states.parts(old.plan, new.plan)
            self._moves[key] = moves(parts, spread_of(old, self.layers), after, self.slots, per_node)
        moved = self._moves[key]
        transfer_s = max(
            moved.busiest_across_bytes / self.across_bytes_per_s, moved.busiest_inside_bytes / self.inside_bytes_per_s
        )
        read_s = moved.checkpoint_bytes / (self.change.store_bytes_per_s * new.devices)
        pause_s = self.change.restart_s + transfer_s + read_s
        return ReplanOption(
            estimate=new,
            moves=moved,
            transfer_s=transfer_s,
            read_s=read_s,
            pause_s=pause_s,
            samples_per_s=_rate(new),
            effective_samples_per_s=self._effective(new, pause_s),
            spares=self.change.devices - new.devices,
        )

    def _effective(self, estimate: PlanEstimate, pause_s: float) -> float:
        """Return the mean samples/s of the horizon with a pause at its start."""
        return _rate(estimate) * max(0.0, 1.0 - pause_s / self.change.horizon_s)


def _answer(found: list[ReplanOption], mover: _Mover, now: RisingPlans, old: PlanEstimate) -> ReplanResult:
    best = found[0]
    every_bytes = mover.states.total_bytes(weight_bytes(old.plan), state_bytes(old.plan))
    again = best.moves.checkpoint_bytes > 0.0
    uneven = None
    if best.spares:
        limit_s = 1.0 / best.samples_per_s
        uneven = next(now.rising(uneven=True, limit_s=limit_s), None)
    return ReplanResult(
        options=tuple(found),
        running=old,
        reread_bytes=float(every_bytes) if again else 0.0,
        reread_s=every_bytes / (mover.change.store_bytes_per_s * best.estimate.devices) if again else 0.0,
        uneven=uneven,
        considered=now.considered,
        priced=now.hand.priced,
        at_hand=mover.change.devices,
        horizon_s=mover.change.horizon_s,
        bound_samples_per_s=best.effective_samples_per_s,  # the loop ends when no later plan can do more
    )


def _stuck(now: RisingPlans, change: Change, least_s: float, late_s: float) -> PlanInfeasible:
    """Return why no plan does any work: the horizon is over before the pause, or nothing fits."""
    late_s = least_s if change.horizon_s <= least_s else late_s
    if math.isfinite(late_s):
        return PlanInfeasible(
            what="horizon: it is over before any plan goes on, since no pause is shorter",
            needed=late_s,
            available=change.horizon_s,
            unit="s",
            remedy="a longer horizon",
        )
    short = now.nearest()
    if short is None:
        return PlanInfeasible(
            what=f"plans on {change.devices} devices with the context and expert degrees of the running plan",
            needed=1.0,
            available=0.0,
            unit="plans",
            remedy="a new plan from `place`, which searches these degrees too",
        )
    nearest, stage, short_bytes = short
    held = now.hand.chip.memory_bytes
    return PlanInfeasible(
        what=f"memory of stage {stage} of the nearest plan",
        needed=held + short_bytes,
        available=held,
        unit="bytes",
        remedy="more devices",
        nearest=nearest,
        stage=stage,
    )
