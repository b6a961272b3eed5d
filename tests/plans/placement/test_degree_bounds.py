"""The cheap bounds of plans before their stages are cut, against every cut of random chains of layers."""

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest

from hardplace.cuts import cuts_of
from hardplace.hardware.catalogue import device, node
from hardplace.plans.chain import LayerChain
from hardplace.plans.fleet import fleet_of
from hardplace.plans.pipeline import pipelined
from hardplace.plans.placement.degree_bounds import (
    NO_CONTENTS,
    DegreeBounds,
    LightestLayer,
    layer_bytes,
    least_of,
    least_step_s,
    lightest_kinds,
    lightest_of,
    may_fit,
)
from hardplace.plans.placement.hops import even_hops
from hardplace.plans.placement.stage_bounds import PrefixBounds, around, last_passes, step_bounds
from hardplace.plans.placement.stages import LayerVariants, Stages
from hardplace.plans.plan import Format, PipelineSchedule, Plan
from hardplace.plans.simulate_many import stages_done_s
from hardplace.workload.types import Recompute
from hardplace.workload.weights import WeightSizes
from oracles_plans import compositions
from plan_layers import NOTHING, layers_of


def least_of_all_cuts(seconds, plan, hop_s):
    """Return the step over every way to cut the layers but the first and the last, simulated."""
    inner = seconds.shape[1] - 2
    found = []
    for sizes in compositions(inner, plan.pipeline):
        ends = (sizes[0] + 1, *sizes[1:-1], sizes[-1] + 1)
        if min(ends) < plan.virtual or any(one < 1 for one in sizes[1:-1]):
            continue
        starts = np.cumsum((1, *sizes))
        stages = []
        for place, size in enumerate(sizes):
            begin = int(starts[place])
            more = plan.virtual - 1 if place == plan.pipeline - 1 else 0  # the head's chunk is short
            edges = [begin + (size * chunk + more) // plan.virtual for chunk in range(plan.virtual + 1)]
            edges[0] = 0 if place == 0 else begin
            edges[-1] = inner + 2 if place == plan.pipeline - 1 else begin + size
            stages.append([seconds[:, a:b].sum(axis=1) for a, b in itertools.pairwise(edges)])
        sides = [[[float(chunk[side]) for chunk in stage] for stage in stages] for side in range(3)]
        found.append(pipelined(*sides, hop_s, plan.micro_batches, plan.schedule).total_s)
    return min(found, default=np.inf)


@pytest.mark.parametrize("seed", range(6))
def test_the_bound_before_cutting_is_not_above_any_cut(seed):
    rng = np.random.default_rng(seed)
    below = []
    for schedule, pipeline, virtual in [
        (PipelineSchedule.ONE_F_ONE_B, 2, 1),
        (PipelineSchedule.ONE_F_ONE_B, 4, 1),
        (PipelineSchedule.ONE_F_ONE_B, 2, 2),
        (PipelineSchedule.ONE_F_ONE_B, 3, 2),
        (PipelineSchedule.ZERO_BUBBLE, 3, 1),
        (PipelineSchedule.ZERO_BUBBLE, 4, 1),
        (PipelineSchedule.GPIPE, 3, 1),
    ]:
        inner = random.Random(seed + pipeline).randint(pipeline * virtual, 7)
        for micro_batches in (1, 2, 3, 6, 12):
            if virtual > 1 and micro_batches % pipeline:
                continue
            seconds = rng.uniform(0.2, 3.0, (3, inner + 2)) ** rng.choice([0, 1, 3], (1, inner + 2))
            if rng.random() < 0.4:
                seconds[:, 1:-1] = seconds[:, 1:2]  # equal blocks, nothing at the ends
                seconds[:, [0, -1]] *= 1e-3
            work = (object(),) * (inner + 2)
            chain = LayerChain(before=work[:1], layers=work[1:-1], after=work[-1:], sequence_length=1)
            if schedule is not PipelineSchedule.ZERO_BUBBLE:
                seconds = np.stack([seconds[0], seconds[1] + seconds[2], np.zeros(inner + 2)])
            plan = Plan(
                global_batch=micro_batches, pipeline=pipeline, virtual=virtual, schedule=schedule,
                recompute=Recompute.NONE,
            )  # fmt: skip
            hop_s = float(rng.choice([0.0, 0.3]))
            priced = [layers_of(seconds, work)]
            bound_s = least_step_s(least_of(chain, priced, priced), plan, hop_s)
            exact_s = least_of_all_cuts(seconds, plan, hop_s)
            assert bound_s <= exact_s * (1 + 1e-9), (str(schedule), pipeline, virtual, micro_batches, hop_s)
            below.append(bound_s / exact_s)
    assert max(below) > 0.8  # it is of use


@pytest.mark.parametrize(("pipeline", "micro_batches"), list(itertools.product((2, 4), (4, 6, 20))))
def test_the_bound_of_equal_layers_in_1f1b(pipeline, micro_batches):
    """By hand: the way down and up, p (f + b); on the stage all other backward passes, (m - 1) b, and m - p forward
    passes, as many as the first stage has left. Not above the exact (m + p - 1) (f + b)."""
    seconds = np.array([[0.0, 1.0, 1.0, 1.0, 1.0, 0.0], [0.0, 2.0, 2.0, 2.0, 2.0, 0.0], [0.0] * 6])
    work = (object(),) * 6
    chain = LayerChain(before=work[:1], layers=work[1:-1], after=work[-1:], sequence_length=1)
    priced, each = [layers_of(seconds, work)], 4 / pipeline
    plan = Plan(global_batch=micro_batches, pipeline=pipeline)
    bound_s = least_step_s(least_of(chain, priced, priced), plan, 0.0)
    by_hand_s = pipeline * 3 * each + (micro_batches - 1) * 2 * each + (micro_batches - pipeline) * each
    assert bound_s == pytest.approx(max(by_hand_s, micro_batches * 3 * each))
    assert bound_s <= least_of_all_cuts(seconds, plan, 0.0)


def test_bounds_of_stages_are_not_above_any_cut():
    """With hops, and an end of each stage: of each cut, each stage's last backward pass and its weight gradients end no
    earlier than their bound, and the step is no shorter than the bound of any of its stages, beyond nine groups of
    micro-batches too, where a step is extrapolated. Of one micro-batch, which nothing waits for, the first stage is
    done exactly then, and the bound of the best cut is its step."""
    rng = np.random.default_rng(3)
    site = fleet_of([(device("h100-sxm"), node("dgx-h100"), 8)], Plan(global_batch=8)).sites[0]
    line, apart, gpipe = PipelineSchedule.ONE_F_ONE_B, PipelineSchedule.ZERO_BUBBLE, PipelineSchedule.GPIPE
    tightness = {one: [] for one in (line, apart, gpipe)}
    for schedule, pipeline, micro_batches in itertools.product((line, apart, gpipe), (2, 3), (1, 6, 40)):
        seconds = rng.uniform(0.5, 2.0, (3, 8))
        if schedule is not apart:
            seconds[2] = 0.0
        work = (NOTHING,) * 8
        chain = LayerChain(before=work[:1], layers=work[1:-1], after=work[-1:], sequence_length=1)
        columns, hop_s, cuts = layers_of(seconds, work), 0.7, cuts_of(8, [])
        parts = LayerVariants(chain, cuts, columns, columns)
        stages, plan = Stages(parts, 1, 0, site), Plan(global_batch=micro_batches, pipeline=pipeline, schedule=schedule)
        near = around([parts], plan)
        chosen = [stages.allowed(stage == 0, stage == pipeline - 1) for stage in range(pipeline)]
        last = [last_passes(stages, plan, one, stage, near, even_hops(hop_s, cuts)) for stage, one in enumerate(chosen)]
        end_s = rng.uniform(0.0, 5.0, len(stages.low))
        ended = [one.of(one.least_s > 0, end_s[here]) for one, here in zip(last, chosen, strict=True)]
        bounds = step_bounds(ended, 9)
        best = {"bound": np.inf, "step": np.inf}
        for sizes in compositions(6, pipeline):
            if min(sizes) < 1:
                continue
            edges = [0, *(1 + int(one) for one in np.cumsum(sizes)[:-1]), 8]
            sides = [[[float(seconds[side, a:b].sum())] for a, b in itertools.pairwise(edges)] for side in range(3)]
            run = pipelined(*sides, hop_s, plan.micro_batches, schedule)
            at = [int(stages.at(np.array([a]), np.array([b]))[0]) for a, b in itertools.pairwise(edges)]
            step_s = max(done + end_s[one] for done, one in zip(run.ends_s, at, strict=True))
            of_cut = []
            for stage, one in enumerate(at):
                place = int(np.flatnonzero(chosen[stage] == one)[0])
                done_s = last[stage].least_s[place] + last[stage].rest_s[place]
                assert done_s <= run.ends_s[stage] * (1 + 1e-12)
                of_cut.append(bounds[stage][place])
                assert of_cut[-1] <= step_s * (1 + 1e-12), (str(schedule), pipeline, micro_batches, sizes, stage)
                if micro_batches == 1 and stage == 0:
                    assert done_s == pytest.approx(run.ends_s[stage])
            best = {"bound": min(best["bound"], max(of_cut)), "step": min(best["step"], step_s)}
        tightness[schedule].append(best["bound"] / best["step"])
        if micro_batches == 1 and schedule is not apart:
            assert best["bound"] == pytest.approx(best["step"])
    assert all(min(found) > 0.9 for found in tightness.values()), tightness


def test_an_extrapolated_step_is_not_below_what_is_proven():
    """Of many micro-batches a stage is done no earlier than the last backward pass reaches it from the stages after it,
    in one step and in many at once."""
    rng = np.random.default_rng(11)
    for schedule, stages, _ in itertools.product(
        (PipelineSchedule.ONE_F_ONE_B, PipelineSchedule.ZERO_BUBBLE), (2, 4), range(10)
    ):
        seconds, hop_s, times = rng.uniform(0.1, 3.0, (3, stages, 1, 1)), float(rng.uniform(0.0, 1.0)), 12 * stages
        run = pipelined(*seconds[..., 0].tolist(), hop_s, times, schedule)
        many = stages_done_s(seconds, np.array([hop_s]), times, schedule)[:, 0]
        assert many.tolist() == pytest.approx(run.ends_s)
        apart = schedule is PipelineSchedule.ZERO_BUBBLE
        forward, backward, weight = seconds[:, :, 0, 0]
        for stage in range(stages):
            for later in range(stage, stages):
                rest = times - later - 1 if apart else times
                before = forward[:later].sum() + later * hop_s
                last_s = before + times * (forward[later] + backward[later]) + rest * weight[later]
                way = slice(stage, later)
                last_s += backward[way].sum() + (0.0 if apart else weight[way].sum()) + (later - stage) * hop_s
                assert run.ends_s[stage] >= (last_s + (stage + 1) * weight[stage] * apart) * (1 - 1e-12)


def held_layer(rng, heavy):
    """A layer of random memory, without seconds; a heavy one has experts."""
    return replace(
        NOTHING,
        parameters=int(rng.integers(1, 5)) * 100_000_000,
        expert_parameters=heavy * int(rng.integers(3, 9)) * 250_000_000,
        saved_bytes=float(rng.integers(1, 9)) * 1e8,
        working_bytes=float(rng.integers(0, 4)) * 1e9,
        output_bytes=1e8,
    )


def test_layers_that_may_not_fit_fit_no_cut():
    """Dense layers before mixtures, some of a stage's recomputed, also such as keep more than without (their input is
    the larger), and what is made again waits or not: where the cheap bound of memory says no, no cut of all fits; the
    heavy layers by themselves find more that do not."""
    rng, site = np.random.default_rng(7), fleet_of([(device("h100-sxm"), node("dgx-h100"), 8)], Plan(global_batch=8))
    site, found = site.sites[0], {"fits": 0, "of all": 0, "of the heavy": 0}
    schedules = PipelineSchedule.ONE_F_ONE_B, PipelineSchedule.GPIPE, PipelineSchedule.ZERO_BUBBLE
    ways = itertools.product((2, 3), schedules, (0, 1, 2), range(20))
    for pipeline, schedule, some, _ in ways:
        dense, heavy = (held_layer(rng, heavy) for heavy in (0, 1))
        plain = (*[dense] * int(rng.integers(0, 3)), *[heavy] * int(rng.integers(2, 6)))
        eased = {
            one: replace(
                one,
                saved_bytes=float(rng.choice((1e7, 5e9))),
                working_bytes=one.working_bytes + one.saved_bytes,
                late_bytes=one.saved_bytes * int(rng.integers(0, 2)),
            )
            for one in (dense, heavy)
        }
        again = tuple(eased[one] for one in plain)
        last = replace(NOTHING, name="last")
        chains = [
            LayerChain(before=(NOTHING,), layers=layers, after=(last,), sequence_length=1) for layers in (plain, again)
        ]
        columns = [
            replace(
                layers_of(np.zeros((3, len(one.whole))), one.whole),
                saved_bytes=np.array([layer.saved_bytes for layer in one.whole]),
                **{
                    name: np.array([getattr(layer, name) for layer in one.whole])
                    for name in ("working_bytes", "brief_bytes", "late_bytes")
                },
            )
            for one in chains
        ]
        plan = Plan(
            global_batch=4, pipeline=pipeline, schedule=schedule, recompute=Recompute.FULL, recompute_layers=some
        )
        stages = Stages(LayerVariants(chains[1], cuts_of(len(plain) + 2, []), columns[1], columns[0]), 1, some, site)
        fits = False
        for sizes in compositions(len(plain), pipeline):
            edges = [0, *(1 + int(one) for one in np.cumsum(sizes)[:-1]), len(plain) + 2]
            at = [stages.at(np.array([low]), np.array([high])) for low, high in itertools.pairwise(edges)]
            fits = fits or (min(sizes) > 0 and all(stages.fits(plan, s, one)[0] for s, one in enumerate(at)))
        memory = [site.memory_bytes] * pipeline
        every = may_fit(layer_bytes(lightest_of(*chains), plan), len(plain), plan, memory)
        both = all(may_fit(layer_bytes(one, plan), one.layers, plan, memory) for one in lightest_kinds(*chains))
        assert both or not fits
        found["fits"] += fits
        found["of all"] += not every
        found["of the heavy"] += every and not both
    assert min(found.values()) > 0, found


def test_a_weight_kept_in_fp8_alone_counts_a_byte_at_the_least() -> None:
    """Trained or frozen, without what the allocator loses, beside fp32 gradients and ZeRO-1's share of 12 bytes."""
    layer = LightestLayer(
        layers=1,
        sizes=WeightSizes(parameters=1000, frozen_parameters=10**6),
        saved_bytes=0.0,
        eased_bytes=0.0,
        beside=NO_CONTENTS,
    )
    plan = Plan(global_batch=4, data=4, zero=1, precision=Format.FP8, fp8_gather=True, fragmentation=0.0)
    assert layer_bytes(layer, plan).layer == 10**6 + 1000 * (1 + 4 + 12 / 4)
    assert layer_bytes(layer, replace(plan, fp8_gather=False)).layer == 2 * 10**6 + 1000 * (2 + 4 + 12 / 4)


def test_a_stage_with_the_longest_layer_takes_all_its_passes() -> None:
    """Layers of 3, 27 and 3 s (both passes) on two stages: four micro-batches take 108 s; the mean would be 66."""
    forward, backward = np.array([0.0, 1.0, 9.0, 1.0, 0.0]), np.array([0.0, 2.0, 18.0, 2.0, 0.0])
    least = DegreeBounds(forward=forward, backward=backward, recomputed=backward, apart=backward, inner=slice(1, 4))
    plan = Plan(global_batch=4, pipeline=2)
    assert least_step_s(least, plan, 0.0, any_schedule=True) == 108.0
    # the way down and up, then on that stage three backward passes and what forward passes are left
    assert least_step_s(least, plan, 0.0) >= 108.0
    assert least_step_s(least, replace(plan, schedule=PipelineSchedule.GPIPE), 0.0) == 33.0 + 3 * 9.0 + 3 * 18.0


def test_chunks_and_layers_of_stages_and_the_first_chunks_before_a_stage() -> None:
    """Two chunks of seven layers between two that stand apart: the second has the odd one, but in the last stage. What
    comes before a stage is the cheapest way to reach its cut, over the first chunks of the stages before."""
    rng = np.random.default_rng(5)
    seconds = rng.uniform(0.1, 3.0, (3, 9))
    work = tuple(replace(NOTHING, name=str(one)) for one in range(9))
    chain = LayerChain(before=work[:1], layers=work[1:-1], after=work[-1:], sequence_length=1)
    columns, cuts = layers_of(seconds, work), cuts_of(9, [])
    site = fleet_of([(device("h100-sxm"), node("dgx-h100"), 8)], Plan(global_batch=8)).sites[0]
    parts = LayerVariants(chain, cuts, columns, columns)
    stages, plan = Stages(parts, 2, 0, site), Plan(global_batch=8, pipeline=2, virtual=2)
    first = {}
    for at, (low, high) in enumerate(zip(stages.low.tolist(), stages.high.tolist(), strict=True)):
        begin, end = max(low, 1), min(high, 8)
        middle = begin + (max(0, end - begin) + (high == 9)) // 2
        first[low, high] = seconds[:, low:middle].sum(axis=1)
        assert stages.seconds[:, 0, at] == pytest.approx(first[low, high])
        assert stages.seconds[:, 1, at] == pytest.approx(seconds[:, middle:high].sum(axis=1))
        assert [one.name for one in stages.layers(at)] == [str(one) for one in range(low, high)]
    chosen = np.flatnonzero((stages.low >= 0) & (stages.high <= 8))
    for apart in (False, True):
        before, near = PrefixBounds(len(cuts.members), around([parts], plan)), around([parts], plan)
        for _ in range(2):
            before.past(stages, chosen, apart=apart)
        found = before.near()
        assert found.turn_s == near.turn_s
        for cut in range(2, 9):
            ways = [(first[0, way], first[way, cut]) for way in range(1, cut)]
            assert found.down_s[cut] == pytest.approx(min(one[0] + two[0] for one, two in ways))
            back = [[each[1] + (0.0 if apart else each[2]) for each in way] for way in ways]
            assert found.up_s[cut] == pytest.approx(min(map(sum, back)))
