"""Brute force over what docs/model-replan.md says: every plan of "The space" on the devices at hand, priced by
`estimate_plan`, charged the pause, by nested loops. Random small changes for it, seeded."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from hardplace.errors import BadInput
from hardplace.hardware.catalogue import device, node
from hardplace.hardware.device import Device, Node
from hardplace.plans.chain import of_workload
from hardplace.plans.estimate import PlanEstimate, estimate_plan
from hardplace.plans.fleet import even_cluster, fleet_of
from hardplace.plans.plan import INSIDE_OUT, Dimension, PipelineSchedule, Plan
from hardplace.plans.plan_problems import problems
from hardplace.plans.replanning.mapping import standing
from hardplace.plans.replanning.moves import moves
from hardplace.plans.replanning.replan import Change, ReplanResult, replan
from hardplace.plans.replanning.state import ModelState, spread_of
from hardplace.workload.types import Recompute, Workload
from oracles_plans import divisors, short_model

OPTIONS = 5


@dataclass(frozen=True)
class Event:
    """A running plan and a change."""

    workload: Workload
    chip: Device
    before: Node
    running: Plan
    change: Change


def present(event: Event) -> list[int]:
    """Return how many devices each node still has, old ones first."""
    size = event.before.levels[0].devices or event.running.devices
    if event.running.devices < size:
        size = even_cluster(event.before, event.running.devices).levels[0].devices or size
        size = event.before.levels[0].devices or size
    gained = event.change.devices - (event.running.devices - len(event.change.lost))
    where = [one for one in range(event.running.devices + gained) if one not in event.change.lost]
    nodes = -(-(event.running.devices + gained) // size)
    return [sum(one // size == number for one in where) for number in range(nodes)]


def every_plan(event: Event) -> Iterator[Plan]:
    """Yield every plan on the devices at hand that keeps what the running one fixes, and the running one."""
    running, change = event.running, event.change
    layers, here = len(event.workload.order) - 2, present(event)
    own = running.order
    inner = own[0] is Dimension.TENSOR and (running.context == 1 or own[1] is Dimension.CONTEXT)
    base = replace(running, order=own if inner else INSIDE_OUT, assignment=())
    kinds = {(one, 0) for one in Recompute if not (running.flash and one is Recompute.SELECTIVE)}
    if running.recompute_layers:
        kinds.add((running.recompute, running.recompute_layers))
    ways = {PipelineSchedule.ONE_F_ONE_B, PipelineSchedule.ZERO_BUBBLE, running.schedule}
    seen = set()
    for tensor, pipeline, data in itertools.product(
        {*divisors(event.before.levels[0].devices or change.devices), running.tensor},
        range(1, layers + 1),
        divisors(running.global_batch),
    ):
        width = tensor * running.context
        if width * pipeline * data > change.devices or width * data % running.expert:
            continue
        try:
            each = even_cluster(change.node, width * pipeline * data).levels[0].devices
        except BadInput:
            continue
        if sum(one >= each for one in here) < width * pipeline * data // each:
            continue
        replicas = data * running.context
        for micro, schedule, zero, (recompute, count), stages, virtual, shard in itertools.product(
            (1, 2, 4, 8, 16),
            ways if pipeline > 1 else (PipelineSchedule.ONE_F_ONE_B,),
            (0, 1, 2, 3) if replicas > 1 else (0,),
            kinds,
            {(), running.stages} if pipeline == running.pipeline else {()},
            {*divisors(-(-layers // pipeline)), running.virtual if pipeline == running.pipeline else 1},
            {0, running.shard},
        ):
            if virtual > 1 and (pipeline == 1 or schedule is not PipelineSchedule.ONE_F_ONE_B):
                continue
            if zero == 2 and pipeline > 1 and running.zero != 2:
                continue
            if shard and (not zero or replicas % shard):
                continue
            plan = replace(
                base, tensor=tensor, sequence=tensor > 1 and (running.sequence or running.tensor == 1),
                pipeline=pipeline, data=data, micro_batch=micro, schedule=schedule, zero=zero, recompute=recompute,
                recompute_layers=count, stages=stages, virtual=virtual, shard=shard,
            )  # fmt: skip
            if not any(problems(plan)) and plan not in seen:
                seen.add(plan)
                yield plan


def best(event: Event, most: int) -> list[float] | None:
    """Return the mean samples/s over the horizon of the best five plans that do any work; None for more than `most`
    plans."""
    plans = list(itertools.islice(every_plan(event), most + 1))
    if len(plans) > most:
        return None
    change, running, states = event.change, event.running, ModelState(event.workload)
    old = _estimate(event, running, event.before)
    assert old is not None
    size = event.before.levels[0].devices or running.devices
    levels = even_cluster(event.before, running.devices).levels
    size = levels[0].devices if len(levels) > 1 else size
    gained = change.devices - (running.devices - len(change.lost))
    slots, layers = standing(running.devices, size, change.lost, gained), len(event.workload.order)
    inner, *outer = change.node.levels
    inside = inner.reached_bytes_per_s
    across = min([one.reached_bytes_per_s for one in outer] or [inside])
    found = []

    def rate(one: PlanEstimate) -> float:
        return one.plan.global_batch / one.step_s

    def work(one: PlanEstimate) -> float:
        per_node = even_cluster(change.node, one.devices).levels[0].devices
        moved = moves(states.parts(old.plan, one.plan), spread_of(old, layers), spread_of(one, layers), slots, per_node)
        transfer_s = max(moved.busiest_inside_bytes / inside, moved.busiest_across_bytes / across)
        read_s = moved.checkpoint_bytes / (change.store_bytes_per_s * one.devices)
        pause_s = change.restart_s + transfer_s + read_s
        return rate(one) * max(0.0, 1.0 - pause_s / change.horizon_s)

    now = _estimate(event, running, change.node) if running.devices <= change.devices else None
    if now is not None and not change.lost:
        found.append(rate(now))
    elif now is not None and _room(event, running):
        found.append(work(now))
    same = (old.plan, old.stage_layers)
    for plan in plans:
        one = _estimate(event, plan, change.node)
        if one is None or not one.fits:
            continue
        if found and replace(one.plan, stages=one.stage_layers) == replace(same[0], stages=same[1]):
            continue
        found.append(work(one))
    return sorted((one for one in found if one > 0.0), reverse=True)[:OPTIONS]


def _room(event: Event, plan: Plan) -> bool:
    try:
        each = even_cluster(event.change.node, plan.devices).levels[0].devices
    except BadInput:
        return False
    return sum(one >= each for one in present(event)) >= plan.devices // each


def _estimate(event: Event, plan: Plan, where: Node) -> PlanEstimate | None:
    try:
        fleet = fleet_of([(event.chip, where, plan.devices)], plan)
        return estimate_plan(of_workload(event.workload, plan), plan, fleet)
    except BadInput:
        return None


@dataclass(frozen=True)
class Compared:
    """How many plans were compared, and what is wrong; "": nothing."""

    options: int
    wrong: str


def compared(event: Event, most: int = 10**9) -> Compared | None:
    """Return what is wrong with the answer to a change; None where it has more than `most` plans."""
    expected = best(event, most)
    if expected is None:
        return None
    found = replan(event.workload, event.chip, event.running, event.before, event.change)
    got = [one.effective_samples_per_s for one in found.options] if isinstance(found, ReplanResult) else []
    far = any(abs(one - other) > 1e-9 * other for one, other in zip(got, expected, strict=False))
    wrong = f"samples/s {got}: expected {expected}" if far or len(got) != len(expected) else ""
    return Compared(len(expected), wrong)


def random_event(rng: random.Random) -> Event:
    """Return a small change: devices lost or gained, slower links, a horizon that is long or hardly enough."""
    name, layers, size = (
        rng.choice(("opt-350m", "bert-base", "mixtral-8x7b")),
        rng.choice((1, 2, 3)),
        rng.choice((2, 4)),
    )
    where = node("dgx-a100")
    before = replace(where, levels=(replace(where.levels[0], devices=size), *where.levels[1:]))
    chip, workload = device("a100-80gb-sxm"), short_model(name, layers)
    while True:
        tensor, pipeline, data = rng.choice((1, 1, 2)), rng.randint(1, layers), rng.choice((1, 2, 3, 4))
        if tensor * pipeline * data > 6:
            continue
        micro = rng.choice((1, 1, 2, 3))
        expert = rng.choice([one for one in (1, 2) if tensor * data % one == 0]) if name == "mixtral-8x7b" else 1
        running = Plan(
            global_batch=data * micro * pipeline * rng.choice((1, 2)), tensor=tensor, sequence=tensor > 1,
            pipeline=pipeline, data=data, expert=expert, micro_batch=micro,
            zero=rng.choice((0, 1, 1)) if data > 1 else 0, shard=2 if data == 4 and rng.random() < 0.3 else 0,
        )  # fmt: skip
        running = replace(running, shard=running.shard if running.zero else 0)
        if rng.random() < 0.2 and pipeline == 2 and layers > 2:
            running = replace(running, stages=(1, layers - 1))
        if rng.random() < 0.2 and pipeline > 1 and expert == 1:
            running = replace(running, order=(Dimension.PIPELINE, *INSIDE_OUT[:3]))
        try:
            fleet_of([(chip, before, running.devices)], running)
        except BadInput:
            continue
        if not any(problems(running)):
            break
    lost = frozenset(rng.sample(range(running.devices), rng.randint(0, min(2, running.devices - 1))))
    gained = rng.choice((0, 0, 1, len(lost)))
    share = rng.choice((1.0, 1.0, 0.25))
    levels = tuple(replace(one, bandwidth_bytes_per_s=share * one.bandwidth_bytes_per_s) for one in before.levels)
    restart_s = rng.choice((0.1, 60.0))
    change = Change(
        devices=running.devices - len(lost) + gained,
        lost=lost,
        node=replace(before, levels=levels),
        horizon_s=restart_s + rng.choice((0.3, 3.0, 30.0, 3e4)),
        restart_s=restart_s,
        store_bytes_per_s=rng.choice((125e6, 5e9)),
    )
    if rng.random() < 0.3:
        chip = replace(chip, memory_bytes=rng.choice((6e9, 12e9, 30e9)))
    if rng.random() < 0.3:
        chip = replace(chip, host_bandwidth_bytes_per_s=rng.choice((2e9, 25e9)))
        running = replace(running, offload_layers=rng.choice((1, 2)))
    if rng.random() < 0.3:
        running = replace(running, recompute=Recompute.FULL, recompute_layers=rng.randint(0, layers))
    return Event(workload=workload, chip=chip, before=before, running=running, change=change)
