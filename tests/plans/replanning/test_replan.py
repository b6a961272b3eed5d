"""Plans to go on with: exact over their space, and sane when devices, links and horizon change."""

import itertools
import random
from dataclasses import replace

import pytest

from hardplace.cost.gpu.datasheet import gpu
from hardplace.errors import BadInput
from hardplace.hardware.catalogue import node
from hardplace.hardware.device import Node
from hardplace.plans.chain import of_workload
from hardplace.plans.infeasible import PlanInfeasible
from hardplace.plans.placement.enumeration import MICRO_BATCHES
from hardplace.plans.plan import PipelineSchedule, Plan
from hardplace.plans.plan_problems import problems
from hardplace.plans.replanning.devices import AvailableDevices
from hardplace.plans.replanning.mapping import standing
from hardplace.plans.replanning.moves import moves
from hardplace.plans.replanning.replan import Change, ReplanResult, replan
from hardplace.plans.replanning.state import ModelState, spread_of
from hardplace.plans.replanning.variants import RisingPlans
from hardplace.workload.load import load
from hardplace.workload.types import Recompute
from hardplace.workload.weights import weights_of
from oracles_plans import short_model, with_shared

CHIP, NODE = gpu("a100-80gb-sxm"), node("dgx-a100")
SMALL = load("opt-350m")
RUNNING = Plan(global_batch=12, tensor=2, sequence=True, pipeline=2, data=2, zero=1)
HOUR = 3600.0


def change(devices: int, *lost: int, hours: float = 4.0, where: Node = NODE, restart_s: float = 60.0) -> Change:
    return Change(devices=devices, lost=frozenset(lost), node=where, horizon_s=hours * HOUR, restart_s=restart_s)


def variants(running: Plan, devices: int, where: Node = NODE) -> RisingPlans:
    return RisingPlans(AvailableDevices(SMALL, CHIP, where, running, devices))


def solved(running: Plan, what: Change) -> ReplanResult:
    found = replan(SMALL, CHIP, running, NODE, what)
    assert isinstance(found, ReplanResult)
    return found


@pytest.mark.parametrize(("devices", "batch", "own"), [(4, 4, (11, 13)), (5, 10, ())])
def test_plans_come_in_rising_order_and_none_is_left_out(devices: int, batch: int, own: tuple[int, ...]) -> None:
    running = replace(RUNNING, global_batch=batch, data=1, stages=own)
    got = list(variants(running, devices).rising())
    assert [one.step_s for one in got] == sorted(one.step_s for one in got)
    every = []
    for tensor, pipeline, data in itertools.product((1, 2, 4), range(1, 6), range(1, 6)):
        if tensor * pipeline * data > devices or batch % data:
            continue
        for virtual, zero, micro_batch, recompute, schedule, stages in itertools.product(
            range(1, 25), range(4), MICRO_BATCHES, (Recompute.NONE, Recompute.FULL), PipelineSchedule, {(), own}
        ):
            plan = replace(
                running, tensor=tensor, sequence=tensor > 1, pipeline=pipeline, data=data, virtual=virtual, zero=zero,
                micro_batch=micro_batch, recompute=recompute, schedule=schedule, stages=stages,
            )  # fmt: skip
            if schedule.folds or schedule is PipelineSchedule.GPIPE:
                continue
            if schedule is PipelineSchedule.ZERO_BUBBLE and pipeline == 1:
                continue
            if (
                (stages and pipeline != 2)
                or (zero and data == 1)
                or (zero == 2 and pipeline > 1)
                or -(-24 // pipeline) % virtual
            ):
                continue
            if not any(problems(plan)):
                every.append(plan)
    known = AvailableDevices(SMALL, CHIP, NODE, running, devices)
    expected = [found for found in map(known.estimate, every) if found.fits]
    assert len(got) == len(expected) > 100
    assert [one.step_s for one in got] == pytest.approx(sorted(one.step_s for one in expected), rel=1e-12)
    assert {one.plan for one in got} == {one.plan for one in expected}


@pytest.mark.parametrize("seed", [1, 4])
def test_plans_of_layers_that_share_weights_come_in_rising_order(seed: int) -> None:
    """Their seconds are those of `estimate`: what layers share counts once a stage, and stages add it up."""
    workload = with_shared(short_model("bert-base", 5), random.Random(seed))
    running = replace(RUNNING, global_batch=8, data=1)
    got = list(RisingPlans(AvailableDevices(workload, CHIP, NODE, running, 4)).rising())
    assert [one.step_s for one in got] == sorted(one.step_s for one in got)
    assert len({one.plan.pipeline for one in got}) > 2
    state = ModelState(workload)
    spread = spread_of(got[0], len(workload.order))
    moved = moves(state.parts(got[0].plan, got[0].plan), spread, spread, standing(got[0].devices, 4, frozenset(), 0), 4)
    assert (moved.moved_bytes, moved.checkpoint_bytes) == (0.0, 0.0)
    assert moved.kept_bytes == moved.needed_bytes > 0.0


def test_partly_filled_nodes_are_priced_as_they_are() -> None:
    running = replace(RUNNING, global_batch=28)
    found = list(itertools.islice(variants(running, 28).rising(), 200))
    seconds = [one.step_s for one in found]
    assert seconds == sorted(seconds)
    assert {14, 28} <= {one.devices for one in found}  # 7 a node, where 2 of a tensor-parallel group are far apart


def links(bytes_per_s: float) -> Node:
    return replace(NODE, levels=(replace(NODE.levels[0], bandwidth_bytes_per_s=bytes_per_s), NODE.levels[1]))


def pauses(running: Plan, what: Change) -> list[tuple[float, float]]:
    """Return (samples/s, pause in seconds) of every plan, from the definition."""
    old = AvailableDevices(SMALL, CHIP, NODE, running, running.devices).estimate(running)
    states, layers = ModelState(SMALL), len(SMALL.order)
    slots = standing(running.devices, 8, what.lost, 0)
    inner, outer = what.node.levels
    found = []
    for one in variants(running, what.devices, what.node).rising():
        moved = moves(
            states.parts(running, one.plan), spread_of(old, layers), spread_of(one, layers), slots, one.devices
        )
        inside_s = moved.busiest_inside_bytes / inner.reached_bytes_per_s
        across_s = moved.busiest_across_bytes / outer.reached_bytes_per_s
        transfer_s = max(inside_s, across_s)  # what is read from a checkpoint comes over the outer links
        read_s = moved.checkpoint_bytes / (what.store_bytes_per_s * one.devices)
        found.append((one.plan.global_batch / one.step_s, what.restart_s + transfer_s + read_s))
    return found


@pytest.mark.parametrize("link_bytes_per_s", [300e9, 1e9])
def test_the_best_option_is_the_best_of_all_plans(link_bytes_per_s: float) -> None:
    what = change(3, 2, hours=0.01, where=links(link_bytes_per_s), restart_s=1.0)  # 36 s; a slow transfer takes seconds
    running = replace(RUNNING, data=1, global_batch=6)
    found = solved(running, what)
    best = max(rate * (1.0 - pause_s / what.horizon_s) for rate, pause_s in pauses(running, what))
    assert found.options[0].effective_samples_per_s == pytest.approx(best, rel=1e-12)


def test_plans_that_are_too_late_hide_no_slower_one_that_is_not() -> None:
    running = replace(RUNNING, zero=0)  # nothing is lost: two replicas less one device leave a plan that moves nothing
    what = change(7, 3, where=links(8e8), restart_s=0.1)
    every = pauses(running, what)
    least_s = min(pause_s for _, pause_s in every)
    assert sum(pause_s > 0.8 for _, pause_s in every[:8]) >= 5  # the fastest plans
    for horizon_s in (least_s + 0.05, 0.5, 0.8):
        best = max(rate * (1.0 - pause_s / horizon_s) for rate, pause_s in every)
        found = solved(running, replace(what, horizon_s=horizon_s))
        assert found.options[0].effective_samples_per_s == pytest.approx(best, rel=1e-12)
    short = replan(SMALL, CHIP, running, NODE, replace(what, horizon_s=least_s / 2.0))
    assert isinstance(short, PlanInfeasible)
    assert short.needed == pytest.approx(least_s, rel=1e-12)


def test_nothing_changed_keeps_the_best_plan_running() -> None:
    best = next(variants(RUNNING, 8).rising()).plan
    option = solved(best, change(8)).options[0]
    assert (option.estimate.plan, option.pause_s, option.moves.moved_bytes) == (best, 0.0, 0.0)
    assert option.moves.kept_bytes == option.moves.needed_bytes


def test_a_lost_copy_needs_no_checkpoint_a_lost_shard_does() -> None:
    whole = solved(replace(RUNNING, zero=0), change(7, 3))
    assert whole.options[0].moves.checkpoint_bytes == whole.reread_bytes == 0.0
    sharded = solved(RUNNING, change(7, 3))
    each = sharded.options[0].moves.checkpoint_bytes
    assert 0.0 < each < 12 * SMALL.parameters / 4  # its shard of the states: an eighth, and what embeddings add
    assert sharded.reread_bytes == 14 * SMALL.parameters
    both = solved(replace(RUNNING, zero=0), change(6, 0, 2)).options[0]  # both copies of a half of the first stage
    assert both.moves.checkpoint_bytes > each


def test_a_longer_horizon_never_chooses_a_slower_plan() -> None:
    for lost in ((), (0,)):
        rates = [
            solved(RUNNING, change(8 - len(lost), *lost, hours=hours)).options[0].samples_per_s
            for hours in (0.02, 0.05, 0.5, 1000.0)
        ]
        assert rates == sorted(rates)
    assert rates[-1] > 0.0


def test_slower_links_and_fewer_devices_are_never_faster() -> None:
    def rate(devices: int, share: float) -> float:
        levels = tuple(replace(one, bandwidth_bytes_per_s=share * one.bandwidth_bytes_per_s) for one in NODE.levels)
        plans = variants(replace(RUNNING, global_batch=48), devices, replace(NODE, levels=levels)).rising()
        first = next(plans)
        return first.plan.global_batch / first.step_s

    links = [rate(16, share) for share in (0.05, 0.5, 1.0)]
    assert links == sorted(links)
    sizes = [rate(devices, 1.0) for devices in (1, 7, 8, 15, 16)]
    assert sizes == sorted(sizes)


def test_devices_that_no_degrees_use_are_spare() -> None:
    option = solved(replace(RUNNING, global_batch=16), change(7, 3)).options[0]
    assert option.spares == 7 - option.estimate.devices > 0
    assert 3 not in option.moves.devices


def test_nodes_with_a_lost_device_hold_no_full_groups() -> None:
    running = replace(RUNNING, data=4, tensor=2, pipeline=2)  # two nodes
    found = solved(running, change(14, 0, 8))
    for option in found.options:
        nodes = [device // 8 for device in option.moves.devices]
        assert max(nodes.count(0), nodes.count(1)) <= 7


def test_a_batch_that_more_devices_divide_is_offered() -> None:
    running = replace(RUNNING, global_batch=256, pipeline=1, data=4)
    found = solved(running, change(7, 3))
    assert found.uneven is not None
    assert found.uneven.plan.global_batch in range(251, 262)
    assert found.uneven.plan.global_batch / found.uneven.step_s > found.options[0].samples_per_s


def test_what_is_short_or_too_late_is_said() -> None:
    tiny = replace(CHIP, memory_bytes=4e9)
    stuck = replan(SMALL, tiny, RUNNING, NODE, change(1, *range(1, 8)))
    assert isinstance(stuck, PlanInfeasible)
    assert stuck.nearest is not None
    assert stuck.short_bytes > 0.0
    late = replan(SMALL, CHIP, RUNNING, NODE, change(7, 3, hours=0.01))
    assert isinstance(late, PlanInfeasible)
    assert late.nearest is None
    assert late.needed == 60.0
    wide = replan(SMALL, CHIP, replace(RUNNING, context=4, tensor=1, sequence=False), NODE, change(3, *range(3, 16)))
    assert isinstance(wide, PlanInfeasible)
    assert (wide.nearest, wide.unit) == (None, "plans")  # nothing has a context of 4


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (change(8, 8), "lost: 8: expected a device of the running plan, 0 to 7"),
        (change(6, 1), "devices: 6: expected at least the 7"),
        (
            change(8, where=node("dgx-h100")),
            "cluster: dgx-h100: 8 h100-sxm a node: expected nodes as the running plan",
        ),
    ],
)
def test_a_change_that_does_not_suit_the_plan_is_refused(what: Change, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        replan(SMALL, CHIP, RUNNING, NODE, what)


@pytest.mark.parametrize(
    ("name", "tensor", "expert", "parts"),
    [
        ("mixtral-8x7b", 2, 4, 4),  # a decoder by shape: tensor ranks hold whole experts
        ("mixtral-8x7b", 8, 1, 1),
        ("glm-4.5", 8, 8, 8),  # as recorded
    ],
)
def test_experts_are_cut_into_as_many_parts_as_their_plan_holds_in_memory(
    name: str, tensor: int, expert: int, parts: int
) -> None:
    plan = Plan(global_batch=64, tensor=tensor, sequence=tensor > 1, expert=expert, data=8)
    workload = load(name)
    groups = ModelState(workload).parts(plan, plan)
    assert {one.old_parts for one in groups if one.expert} == {parts}
    held = sum(one.expert_parameters for one in of_workload(workload, plan).whole)
    assert held * parts == sum(weights_of(workload.layers[index]).expert_parameters for index in workload.order)


def test_experts_that_tensor_parallelism_cuts_are_held_as_dense_weights_are() -> None:
    """As recorded and with expert degree 1: 160 experts a layer of GLM-4.5, each cut in eight; 92 such layers."""
    plan = Plan(global_batch=64, tensor=8, sequence=True, data=8)
    groups = ModelState(load("glm-4.5")).parts(plan, plan)
    assert not any(one.expert for one in groups)
    cut = [one for one in groups if one.old_parts == 8]
    assert sum(max(one.elements) for one in cut) > 160 * 3 * 5120 * 1536


def test_v_shaped_plans_are_refused():
    running = Plan(global_batch=16, pipeline=2, virtual=2, data=2, schedule=PipelineSchedule.V_HALF)
    with pytest.raises(BadInput, match="schedule: v-half: expected 1f1b, gpipe or zero-bubble"):
        replan(SMALL, CHIP, running, NODE, change(4))
