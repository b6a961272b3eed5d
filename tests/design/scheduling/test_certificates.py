"""Schedules and bounds against a brute force of their own, times of zero and infinity, and contradictions said."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from hardplace.cost.types import Engine
from hardplace.design.scheduling.exact import schedule
from hardplace.design.scheduling.lists import best_list_schedule, list_schedule
from hardplace.design.scheduling.modes import modes_of
from hardplace.design.scheduling.partial import PartialSearch
from hardplace.design.scheduling.solver import solved
from hardplace.design.scheduling.types import Schedule, ScheduleProblem, SharingRule, Status, TaskGraph
from hardplace.design.scheduling.verify import agree, verify
from hardplace.errors import Contradiction
from oracles_events import least_makespan_s, random_problem
from oracles_scheduling import check
from schedule_contradictions import contradictions


@pytest.mark.parametrize("seed", range(30))
def test_every_method_holds_against_brute_force(seed: int) -> None:
    assert list(contradictions(random_problem(seed))) == []


@pytest.mark.parametrize("first", range(0, 60, 10))
def test_times_of_zero_and_infinity_in_any_mix(first: int) -> None:
    for seed in range(first, first + 10):
        assert list(contradictions(random_problem(seed, extremes=True))) == [], seed


TWO = ScheduleProblem(
    graph=TaskGraph(engines=(Engine.TENSOR, Engine.VECTOR), predecessors=((), ())),
    tensor_cores=2,
    vector_cores=2,
    single_s=(4.0, 3.0),
    whole_s=(2.0, 1.5),
)


@pytest.mark.parametrize("rule", list(SharingRule))
@pytest.mark.parametrize(
    ("single_s", "whole_s", "makespan_s"),
    [
        ((np.inf, 3.0), (2.0, np.inf), {SharingRule.EXCLUSIVE: 5.0, SharingRule.SHARING: 3.0}),
        ((4.0, 3.0), (0.0, 1.5), {SharingRule.EXCLUSIVE: 1.5, SharingRule.SHARING: 1.5}),
        ((np.inf, 0.0), (0.0, np.inf), {SharingRule.EXCLUSIVE: 0.0, SharingRule.SHARING: 0.0}),
        ((0.0, np.inf), (5.0, 2.0), {SharingRule.EXCLUSIVE: 2.0, SharingRule.SHARING: 2.0}),
    ],
)
def test_zero_and_infinite_times_by_hand(
    single_s: tuple[float, ...], whole_s: tuple[float, ...], makespan_s: dict[SharingRule, float], rule: SharingRule
) -> None:
    problem = replace(TWO, single_s=single_s, whole_s=whole_s, rule=rule)
    found = schedule(problem)
    check(problem, found)
    assert found.status is Status.OPTIMAL
    assert found.makespan_s == pytest.approx(makespan_s[rule])
    assert found.bound_s == pytest.approx(makespan_s[rule], rel=1e-3)


@pytest.mark.parametrize("engine", [Engine.TENSOR, Engine.VECTOR])
def test_list_schedules_put_two_tasks_on_two_of_four_cores_each_side_by_side(engine: Engine) -> None:
    problem = replace(
        TWO, graph=TaskGraph(engines=(engine,) * 2, predecessors=((), ())), tensor_cores=4, vector_cores=4,
        single_s=(10.0, 10.0), whole_s=(1.9, 1.9), splits=(2,), split_s=((2.0, 2.0),),
    )  # fmt: skip
    assert best_list_schedule(problem).makespan_s == 2.0
    assert list_schedule(modes_of(problem)).tolist() == [2.0]


def damaged(index: int, **changes: object) -> Callable[[Schedule], Schedule]:
    def change(one: Schedule) -> Schedule:
        items = list(one.assignments)
        items[index] = replace(items[index], **changes)  # type: ignore[arg-type]
        return replace(one, assignments=tuple(items))

    return change


# Task 0 on cores 0 for 4 s, then task 1 on vector core 0 for 3 s, then task 2 on both cores of each kind for 2 s,
# beside a copy of 1 s.
LINE = ScheduleProblem(
    graph=TaskGraph(
        engines=(Engine.BOTH, Engine.VECTOR, Engine.TENSOR, Engine.COPY, Engine.COPY),
        predecessors=((), (0,), (1,), (), ()),
        layer="block",
    ),
    tensor_cores=4,
    vector_cores=4,
    single_s=(4.0, 3.0, 9.0, 1.0, 2.0),
    whole_s=(4.0, 3.0, 2.0, 1.0, 2.0),
    splits=(2,),
    split_s=((4.5, 3.5, np.inf, np.inf, np.inf),),
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (damaged(1, start_s=3.0, end_s=6.0), "task 1 starts before task 0 ends"),
        (damaged(0, start_s=-1.0, end_s=3.0), "task 0 starts at -1"),
        (damaged(1, end_s=6.9), "task 1 lasts 2.9"),
        (damaged(2, whole=False, tensor_cores=(0, 1)), "task 2 lasts 2 s instead of inf"),
        (damaged(2, whole=False, tensor_cores=(0, 1, 2)), "task 2 is on cores on which it may not run"),
        (damaged(2, tensor_cores=(0,)), "task 2 is on cores on which it may not run"),
        (damaged(0, vector_cores=(1,)), "task 0 is on cores on which it may not run"),
        (damaged(1, tensor_cores=(1,)), "task 1 is on cores on which it may not run"),
        (damaged(1, vector_cores=(4,)), "task 1 is on cores on which it may not run"),
        (damaged(1, vector_cores=(0, 0)), "task 1 is on cores on which it may not run"),
        (damaged(3, start_s=0.5, end_s=1.5), "tasks 4 and 3 are on the same core or engine at once"),
        (damaged(3, whole=True), "task 3 is on cores on which it may not run"),
        (lambda one: replace(one, makespan_s=8.0), "the last task ends at 9 s"),
        (lambda one: replace(one, bound_s=9.1), "below its bound"),
        (lambda one: replace(one, assignments=one.assignments[:4]), "4 assignments of 5 tasks"),
        (lambda one: replace(one, assignments=one.assignments[::-1]), "not in their order"),
    ],
)
def test_what_is_no_schedule_is_found_out(change: Callable[[Schedule], Schedule], words: str) -> None:
    found = schedule(LINE)
    assert verify(LINE, found) is found
    assert found.makespan_s == pytest.approx(9.0)
    starts = {item.task: item.start_s for item in found.assignments}
    assert (starts[0], starts[1], starts[2], min(starts[3], starts[4])) == (0.0, 4.0, 7.0, 0.0)
    fixed = found
    for index, change_ in ((3, {"start_s": 2.0, "end_s": 3.0}), (4, {"start_s": 0.0, "end_s": 2.0})):
        fixed = damaged(index, **change_)(fixed)
    with pytest.raises(Contradiction, match=words) as caught:
        verify(LINE, change(verify(LINE, fixed)))
    assert str(caught.value).startswith("layer block: ")
    assert "\n" not in str(caught.value)


def test_the_rules_differ_in_what_a_whole_task_leaves() -> None:
    """Both tasks on all cores of their kind at once: a schedule under the one rule, none under the other."""
    sharing = replace(TWO, single_s=(9.0, 9.0), rule=SharingRule.SHARING)
    found = schedule(sharing)
    assert found.makespan_s == pytest.approx(2.0)
    assert verify(sharing, found) is found
    with pytest.raises(Contradiction, match="at once"):
        verify(replace(sharing, rule=SharingRule.EXCLUSIVE), found)


def test_a_bound_above_a_schedule_is_a_contradiction_in_every_method() -> None:
    problem = replace(TWO, graph=TaskGraph(engines=(Engine.TENSOR,) * 5, predecessors=((),) * 5),
                      single_s=(5.0, 4.0, 3.0, 3.0, 3.0), whole_s=(9.0,) * 5)  # fmt: skip
    assert least_makespan_s(problem) == 9.0
    listed = best_list_schedule(problem)
    assert listed.makespan_s > 9.5
    false = replace(listed, bound_s=9.5)  # "proven" by something that is wrong
    with pytest.raises(Contradiction, match="CP-SAT"):
        solved(problem, false, 0.0, 10.0)
    search = PartialSearch(problem, replace(listed, bound_s=0.0), 0.0)
    search.run(10**6)
    with pytest.raises(Contradiction, match="partial schedules takes 9 s"):
        search.improve(false)
    agree(problem, ("a bound", 9.0), ("a schedule", 9.0))
    with pytest.raises(Contradiction, match=r"a bound proves .* less than 9\.1 s"):
        agree(problem, ("a bound", 9.1), ("a schedule", 9.0))
    with pytest.raises(Contradiction):
        agree(problem, ("a bound", float("nan")), ("a schedule", 9.0))


def test_a_contradiction_is_one_line_and_code_70() -> None:
    script = (
        "from hardplace.cli import main\n"
        "from hardplace.cli.app import app\n"
        "from hardplace.errors import Contradiction\n"
        "@app.command()\n"
        "def broken():\n"
        "    raise Contradiction('layer block: 2 s is below 3 s')\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script, "broken"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 70
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "layer block: 2 s is below 3 s" in done.stderr
    assert "defect of hardplace" in done.stderr
