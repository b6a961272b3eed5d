"""Pipelined steps: the closed form against the event simulation, both against a second, plainer simulation and against
published formulas."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardplace.plans.pipeline import at_least, end_of_step_s, in_flight, least, pipelined
from hardplace.plans.plan import PipelineSchedule
from hardplace.plans.simulate import Pass, simulate


def oracle(forward_s, backward_s, count, schedule):
    """Seconds until all is done, of 1F1B and GPipe with free hops, in dicts and as plain as it goes."""
    stages = len(forward_s)
    lists = []
    for stage in range(stages):
        warm = count if schedule is PipelineSchedule.GPIPE else min(count, stages - stage - 1)
        done = [("f", index) for index in range(warm)]
        for index in range(count - warm):
            done += [("f", warm + index), ("b", index)]
        lists.append(done + [("b", index) for index in range(count - warm, count)])
    ends, free = {}, [0.0] * stages
    while any(lists):
        for stage in range(stages):
            while lists[stage]:
                kind, index = lists[stage][0]
                if kind == "f":
                    ready = 0.0 if stage == 0 else ends.get(("f", stage - 1, index))
                else:
                    ready = ends.get(("f", stage, index) if stage == stages - 1 else ("b", stage + 1, index))
                if ready is None:
                    break
                lists[stage].pop(0)
                free[stage] = max(free[stage], ready) + (forward_s if kind == "f" else backward_s)[stage]
                ends[(kind, stage, index)] = free[stage]
    return max(free)


def nothing(chunks):
    return [[0.0] * len(stage) for stage in chunks]


seconds = st.floats(0.1, 10.0)
plain = st.sampled_from([PipelineSchedule.ONE_F_ONE_B, PipelineSchedule.GPIPE])


@given(pairs=st.lists(st.tuples(seconds, seconds), min_size=1, max_size=5), count=st.integers(1, 10), schedule=plain)
@settings(max_examples=200, deadline=None)
def test_the_simulation_equals_the_plain_one(pairs, count, schedule):
    forward_s, backward_s = ([[one] for one in side] for side in zip(*pairs, strict=True))
    expected = oracle([one for one, _ in pairs], [one for _, one in pairs], count, schedule)
    events = simulate(forward_s, backward_s, nothing(forward_s), 0.0, count, schedule)
    assert max(one.end_s for one in events) == pytest.approx(expected)
    found = pipelined(forward_s, backward_s, nothing(forward_s), 0.0, count, schedule)
    assert found.total_s == pytest.approx(expected)
    if schedule is PipelineSchedule.GPIPE:
        for stage, end_s in enumerate(found.ends_s):
            assert end_s == pytest.approx(max(one.end_s for one in events if one.stage == stage))


@given(f=seconds, b=seconds, stages=st.integers(1, 6), groups=st.integers(1, 4), virtual=st.integers(1, 3))
@settings(max_examples=200, deadline=None)
def test_the_closed_form_is_exact_for_equal_chunks_without_hops(f, b, stages, groups, virtual):
    virtual = 1 if stages == 1 else virtual
    chunks = [[f] * virtual] * stages, [[b] * virtual] * stages, [[0.0] * virtual] * stages
    count = groups * stages
    found = pipelined(*chunks, 0.0, count, PipelineSchedule.ONE_F_ONE_B).total_s
    assert least_s(*chunks, 0.0, count, PipelineSchedule.ONE_F_ONE_B) == pytest.approx(found)
    # Narayanan et al. 2021, section 2.2: m (f + b) and a bubble of (p - 1) (f + b) / v
    assert found == pytest.approx((virtual * count + stages - 1) * (f + b))


def least_s(forward_s, backward_s, weight_s, hop_s, count, schedule):
    """The closed form of one plan."""
    seconds_s = np.array([forward_s, backward_s, weight_s])[..., None]
    return float(least(seconds_s, np.array([hop_s]), count, schedule)[1][0])


def plans(number):
    """Random pipelines: seconds by stage and chunk, even or up to four times apart; hops; micro-batches; schedule."""
    random = Random(7)
    for _ in range(number):
        stages, virtual = random.randint(2, 12), random.choice((1, 1, 1, 2, 3))
        schedule = (
            random.choice([one for one in PipelineSchedule if not one.folds])
            if virtual == 1
            else PipelineSchedule.ONE_F_ONE_B
        )
        count = stages * random.randint(1, 20) if virtual > 1 else random.randint(1, 20 * stages)
        apart = random.choice((0.0, 0.1, 3.0))
        chunks = [
            [[ratio * (1.0 + apart * random.random()) for _ in range(virtual)] for _ in range(stages)]
            for ratio in (1.0, random.uniform(0.5, 2.0), random.uniform(0.5, 1.5))
        ]
        yield (*chunks, random.choice((0.0, 0.02, 0.3)), count, schedule)


def test_random_plans_against_the_simulation_of_all_micro_batches():
    """The figures of docs/model-training.md, section 3."""
    exact = beyond = 0
    for forward_s, backward_s, weight_s, hop_s, count, schedule in plans(300):
        back_s = backward_s
        if schedule is not PipelineSchedule.ZERO_BUBBLE:
            back_s = [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(backward_s, weight_s, strict=True)]
        events = simulate(forward_s, back_s, weight_s, hop_s, count, schedule)
        end_s = max(one.end_s for one in events)
        found = pipelined(forward_s, backward_s, weight_s, hop_s, count, schedule)
        if count < 10 * len(forward_s) or schedule is PipelineSchedule.GPIPE:
            assert found.total_s == pytest.approx(end_s)
            exact += 1
        else:
            assert found.total_s == pytest.approx(end_s, rel=0.007)
            beyond += 1
        bound_s = least_s(forward_s, backward_s, weight_s, hop_s, count, schedule)
        assert bound_s <= min(found.total_s, end_s) * (1 + 1e-9)
    assert exact > 120
    assert beyond > 90


def test_events_follow_each_other():
    forward_s, backward_s, weight_s = [[1.0]] * 4, [[1.5]] * 4, [[0.5]] * 4
    events = simulate(forward_s, backward_s, weight_s, 0.1, 8, PipelineSchedule.ZERO_BUBBLE)
    ends = {(one.phase, one.stage, one.micro_batch): one.end_s for one in events}
    assert len(ends) == len(events) == 3 * 4 * 8
    for one in events:
        same = [other for other in events if other.stage == one.stage and other.start_s > one.start_s]
        assert all(other.start_s >= one.end_s - 1e-9 for other in same)
        if one.phase is Pass.FORWARD and one.stage:
            assert one.start_s >= ends[Pass.FORWARD, one.stage - 1, one.micro_batch] + 0.1 - 1e-9
        if one.phase is Pass.WEIGHT:
            assert one.start_s >= ends[Pass.BACKWARD, one.stage, one.micro_batch] - 1e-9


def test_zero_bubble_keeps_a_third_of_the_bubble():
    """Qi et al. 2024, table 2: bubbles of (p - 1) (f + b + w) in 1F1B and (p - 1) (f + b - w) in ZB-H1."""
    stages, count, chunks = 4, 12, [[1.0]] * 4
    one = pipelined(chunks, chunks, chunks, 0.0, count, PipelineSchedule.ONE_F_ONE_B)
    zero = pipelined(chunks, chunks, chunks, 0.0, count, PipelineSchedule.ZERO_BUBBLE)
    assert one.bubble_s == pytest.approx(3 * (stages - 1))
    assert zero.bubble_s == pytest.approx(stages - 1)


@pytest.mark.parametrize("schedule", list(PipelineSchedule))
@pytest.mark.parametrize("virtual", [1, 2])
def test_in_flight_is_what_the_simulation_holds(schedule, virtual):
    if virtual > 1 and schedule in (PipelineSchedule.GPIPE, PipelineSchedule.ZERO_BUBBLE):
        return
    if virtual == 1 and schedule.folds:
        return
    stages, count, chunks = 4, 16, [[1.0] * virtual] * 4
    events = simulate(chunks, chunks, chunks, 0.0, count, schedule)
    last = Pass.WEIGHT if schedule.apart else Pass.BACKWARD
    for stage in range(stages):
        own = sorted((one for one in events if one.stage == stage), key=lambda one: one.start_s)
        held = most = 0
        for one in own:
            held += (one.phase is Pass.FORWARD) - (one.phase is last)
            most = max(most, held)
        assert most / virtual <= in_flight(stage, stages, count, virtual, schedule) + 1e-9
        if schedule is not PipelineSchedule.ZERO_BUBBLE:
            assert most / virtual == pytest.approx(in_flight(stage, stages, count, virtual, schedule))


def test_in_flight_of_interleaved_1f1b():
    """Narayanan et al. 2021 / Korthikanti et al. 2022, section 4.2.3: 1 + (p - 1) / (p v) of p on the first stage."""
    assert in_flight(0, 4, 64, 2, PipelineSchedule.ONE_F_ONE_B) == pytest.approx(4 * (1 + 3 / (4 * 2)))


def test_later_stages_have_time_for_their_reduction():
    assert end_of_step_s([1.0, 3.0, 5.0], [10.0, 8.0, 6.0]) == 1.0
    assert end_of_step_s([1.0, 3.5, 5.0], [10.0, 8.0, 6.0]) == 1.5


def test_the_last_backward_pass_goes_up_through_every_stage():
    """GPipe of four micro-batches, the last stage ten times as long: done after the way down, 3 s, and 120 s of its
    own. Then up through the others, 2 s and a hop of 0.5 s each."""
    seconds = np.array([[1.0, 1.0, 10.0], [2.0, 2.0, 20.0], [0.0] * 3])[:, :, None, None]
    found = at_least(np.zeros((3, 1)), seconds, np.array([0.5]), 4, PipelineSchedule.GPIPE)
    assert found[:2, 0].tolist() == pytest.approx([3 + 120 + 2 * 2.5, 3 + 120 + 2.5])
