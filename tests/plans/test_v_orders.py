"""V-shaped schedules against a plain simulation over places in the model, and against published bubbles and memory."""

from random import Random

import numpy as np
import pytest

from hardplace.plans.pipeline import in_flight, least, pipelined
from hardplace.plans.plan import PipelineSchedule
from hardplace.plans.simulate import Pass, order
from hardplace.plans.simulate_many import stages_done_s
from hardplace.plans.v_orders import _turns_of, most_held, v_orders, v_turns

FOLDED = [one for one in PipelineSchedule if one.folds]
ZB_V, V_HALF, V_MIN = PipelineSchedule.ZB_V, PipelineSchedule.V_HALF, PipelineSchedule.V_MIN


def done_s(forward_s, backward_s, weight_s, hop_s, count, schedule):
    """When each stage is done: passes by their place among 2 p chunks, in dicts and as plain as it goes."""
    stages = len(forward_s)
    took = {Pass.FORWARD: forward_s, Pass.BACKWARD: backward_s, Pass.WEIGHT: weight_s}
    lists = [order(stage, stages, count, 2, schedule) for stage in range(stages)]
    ends, free = {}, [0.0] * stages
    while any(lists):
        before = sum(map(len, lists))
        for stage in range(stages):
            while lists[stage]:
                phase, index, chunk = lists[stage][0]
                place = 2 * stages - 1 - stage if chunk else stage
                first, last = phase is Pass.FORWARD and place == 0, phase is Pass.BACKWARD and place == 2 * stages - 1
                source, hop = (phase, index, place - 1 if phase is Pass.FORWARD else place + 1), hop_s
                if phase is Pass.WEIGHT or last:
                    source, hop = (Pass.FORWARD if last else Pass.BACKWARD, index, place), 0.0
                elif {place, source[2]} == {stages - 1, stages}:
                    hop = 0.0  # at the fold
                if not first and source not in ends:
                    break
                lists[stage].pop(0)
                free[stage] = max(free[stage], 0.0 if first else ends[source] + hop) + took[phase][stage][chunk]
                ends[phase, index, place] = free[stage]
        assert sum(map(len, lists)) < before, "waits for itself"
    return free


def test_random_folded_pipelines_against_a_plain_simulation():
    """Exact up to nine groups, as arrays too; beyond within 1 %; bounds never above, tight for ZB-V."""
    random, beyond, tightest = Random(3), 0, dict.fromkeys(FOLDED, 0.0)
    for _ in range(70):
        schedule, stages = random.choice(FOLDED), random.randint(2, 7)
        count = random.randint(2 * stages if schedule is PipelineSchedule.DUALPIPE_V else 1, 13 * stages)
        low, high, hop_s = *random.choice(((1.0, 1.0), (0.5, 2.0), (0.2, 1.0))), random.choice((0.0, 0.1, 0.3))
        f, b, w = ([[random.uniform(low, high) for _ in range(2)] for _ in range(stages)] for _ in range(3))
        exact = done_s(f, b, w, hop_s, count, schedule)
        found = pipelined(f, b, w, hop_s, count, schedule).ends_s
        seconds, hops = np.array([f, b, w])[..., None], np.array([hop_s])
        assert stages_done_s(seconds, hops, count, schedule)[:, 0] == pytest.approx(found)
        if count // stages <= 9:
            assert found == pytest.approx(exact)
        else:
            assert found == pytest.approx(exact, rel=0.01)
            beyond += 1
        done, total = least(seconds, hops, count, schedule)
        for ends in (exact, found):
            assert (done[:, 0] <= np.array(ends) * (1 + 1e-12)).all()
            assert total[0] <= max(ends) * (1 + 1e-12)
        tightest[schedule] = max(tightest[schedule], total[0] / max(exact))
        assert tuple(map(_turns_of, v_orders(stages, count, schedule))) == v_turns(stages, count, schedule)
    assert beyond > 10
    assert tightest[ZB_V] > 0.999
    assert min(tightest.values()) > 0.95


@pytest.mark.parametrize("stages", [2, 3, 4, 5, 6, 8, 12])
def test_memory_and_bubbles_of_equal_passes_are_as_published(stages):
    """arXiv 2405.15362: of p stages p, (p + 2) // 2 and (p + 4) // 3 micro-batches in flight, bubbles of 0, p / 2 and
    2 p / 3 micro-batches (its own implementation: `~`); DualPipeV: 2 p + 1 chunks (DeepSeek's table). ZB-V's stages
    wait for nothing from their first pass to their last."""
    count, ones = 4 * stages, [[1.0, 1.0]] * stages
    most = {one: max(in_flight(stage, stages, count, 2, one) for stage in range(stages)) for one in FOLDED}
    assert most[ZB_V] == stages
    assert most[V_HALF] == (stages + 2) // 2 == most_held(stages, V_HALF) / 2
    assert (stages + 4) // 3 - 1 < most[V_MIN] <= (stages + 4) // 3 == most_held(stages, V_MIN) / 2
    assert most[PipelineSchedule.DUALPIPE_V] == stages + 0.5
    bubbles = {one: pipelined(ones, ones, ones, 0.0, count, one).bubble_s / 6 for one in FOLDED}  # in micro-batches
    assert stages / 2 - 0.75 <= bubbles[V_HALF] <= stages / 2
    assert 2 * stages / 3 - 1.0 <= bubbles[V_MIN] <= 2 * stages / 3
    ends = done_s(ones, ones, ones, 0.0, count, ZB_V)
    assert [end - 6 * count for end in ends] == pytest.approx(list(range(stages)))  # its way down, and no wait
    assert bubbles[PipelineSchedule.DUALPIPE_V] == pytest.approx((stages - 1) / 6)


def test_chunks_in_flight_are_counted_until_their_weight_gradients():
    for schedule in FOLDED:
        for stage, one in enumerate(v_turns(4, 12, schedule)):
            held, seen = [0, 0], set()
            for phase, _, chunk in order(stage, 4, 12, 2, schedule):
                held[chunk] += {Pass.FORWARD: 1, Pass.BACKWARD: 0, Pass.WEIGHT: -1}[phase]
                seen.add(tuple(held))
            assert set(one.held) <= seen
            assert all(any(a <= c and b <= d for c, d in one.held) for a, b in seen)
