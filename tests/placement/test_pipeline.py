"""The closed form of a pipelined step against an event simulation of 1F1B and GPipe, and its properties."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardplace.placement.pipeline import end_of_step_s, in_flight, pipelined
from hardplace.placement.plan import Schedule


def order(stage, stages, count, schedule):
    """The (kind, micro-batch) that a stage runs, in order."""
    warm = count if schedule is Schedule.GPIPE else min(count, stages - stage - 1)
    done = [("f", index) for index in range(warm)]
    for index in range(count - warm):
        done += [("f", warm + index), ("b", index)]
    return done + [("b", index) for index in range(count - warm, count)]


def simulate(forward_s, backward_s, count, schedule):
    """Seconds until all is done; a stage runs its list as inputs arrive, hops are free."""
    stages = len(forward_s)
    lists = [order(stage, stages, count, schedule) for stage in range(stages)]
    ends, free, at, held = {}, [0.0] * stages, [0] * stages, [0] * stages
    most = [0] * stages
    while any(at[stage] < len(lists[stage]) for stage in range(stages)):
        for stage in range(stages):
            while at[stage] < len(lists[stage]):
                kind, index = lists[stage][at[stage]]
                source = ("f", stage - 1, index) if kind == "f" else ("b", stage + 1, index)
                if kind == "f" and stage == 0:
                    ready = 0.0
                elif kind == "b" and stage == stages - 1:
                    ready = ends.get(("f", stage, index))
                else:
                    ready = ends.get(source)
                if ready is None:
                    break
                took = forward_s[stage] if kind == "f" else backward_s[stage]
                free[stage] = max(free[stage], ready) + took
                ends[(kind, stage, index)] = free[stage]
                held[stage] += 1 if kind == "f" else -1
                most[stage] = max(most[stage], held[stage])
                at[stage] += 1
    return max(free), most


seconds = st.floats(0.1, 10.0)


@given(f=seconds, b=seconds, stages=st.integers(1, 6), count=st.integers(1, 12), schedule=st.sampled_from(Schedule))
@settings(max_examples=200, deadline=None)
def test_equal_stages_are_exact(f, b, stages, count, schedule):
    expected, most = simulate([f] * stages, [b] * stages, count, schedule)
    assert pipelined([f] * stages, [b] * stages, 0.0, count, 1, schedule).total_s == pytest.approx(expected)
    assert most == [in_flight(stage, stages, count, 1, schedule) for stage in range(stages)]


@given(
    pairs=st.lists(st.tuples(seconds, seconds), min_size=1, max_size=5),
    count=st.integers(1, 10),
    schedule=st.sampled_from(Schedule),
)
@settings(max_examples=200, deadline=None)
def test_uneven_stages_lie_between_the_bounds(pairs, count, schedule):
    forward_s, backward_s = zip(*pairs, strict=True)
    found = pipelined(forward_s, backward_s, 0.0, count, 1, schedule)
    simulated, _ = simulate(forward_s, backward_s, count, schedule)
    assert found.busy_s <= simulated * (1 + 1e-9)
    if schedule is Schedule.GPIPE:
        assert found.total_s == pytest.approx(simulated)
    else:
        assert simulated <= found.total_s * (1 + 1e-9)


def test_interleaving_divides_the_bubble():
    one, two = (pipelined([1.0] * 4, [2.0] * 4, 0.0, 8, virtual) for virtual in (1, 2))
    assert one.bubble_s == pytest.approx(9.0)  # (p - 1)(f + b), Narayanan et al. 2021, section 2.2
    assert two.bubble_s == pytest.approx(4.5)


def test_in_flight_of_interleaved_1f1b():
    """Narayanan et al. 2021 / Korthikanti et al. 2022, section 4.2.3: 1 + (p - 1) / (p v) of a stage's p on the first."""
    assert in_flight(0, 4, 64, 2, Schedule.ONE_F_ONE_B) == pytest.approx(4 * (1 + 3 / (4 * 2)))


def test_later_stages_have_time_for_their_reduction():
    assert end_of_step_s([1.0, 3.0, 5.0], [2.0, 2.0, 2.0]) == 1.0
    assert end_of_step_s([1.0, 3.5, 5.0], [2.0, 2.0, 2.0]) == 1.5
