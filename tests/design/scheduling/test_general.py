"""Tasks on k cores, both rules, copies: bounds, list and exact schedules against the oracle and one another."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardplace.cost.types import Engine
from hardplace.design.scheduling.bounds import lower_bound
from hardplace.design.scheduling.exact import schedule
from hardplace.design.scheduling.lists import best_list_schedule, list_schedule
from hardplace.design.scheduling.modes import modes, modes_of
from hardplace.design.scheduling.partial import PartialSearch
from hardplace.design.scheduling.solver import solved
from hardplace.design.scheduling.types import ScheduleProblem, SharingRule, Status, TaskGraph
from hardplace.errors import BadInput
from oracles_scheduling import best_makespan_s, check
from strategies_scheduling import OFF_CHIP, graphs, problems


@settings(max_examples=150, deadline=None)
@given(problems(most=6, cores=3, general=True))
def test_bound_exact_oracle_and_list_are_in_order(problem: ScheduleProblem) -> None:
    best = best_makespan_s(problem)
    lower = float(lower_bound(modes_of(problem))[0])
    listed = best_list_schedule(problem)
    exact = schedule(problem, gap=1e-6)
    check(problem, listed)
    check(problem, exact)
    assert lower <= best * (1 + 1e-9)
    assert exact.bound_s <= best * (1 + 1e-9)
    assert exact.status is Status.OPTIMAL
    assert best * (1 - 1e-9) <= exact.makespan_s <= best * (1 + 1e-5)
    assert listed.makespan_s >= best * (1 - 1e-9)
    reached = float(list_schedule(modes_of(problem))[0])
    assert reached >= best * (1 - 1e-9)


@settings(max_examples=60, deadline=None)
@given(problems(most=4, cores=6, general=True))
def test_more_cores_than_splits_take(problem: ScheduleProblem) -> None:
    exact = schedule(problem, gap=1e-6)
    check(problem, exact)
    assert exact.status is Status.OPTIMAL
    assert exact.makespan_s == pytest.approx(best_makespan_s(problem), rel=1e-5)


@settings(max_examples=80, deadline=None)
@given(problems(most=5, cores=4, general=True))
def test_each_method_is_exact_alone(problem: ScheduleProblem) -> None:
    listed = replace(best_list_schedule(problem), bound_s=0.0)
    alone = PartialSearch(problem, listed, 0.0).run(10**6)
    other = solved(problem, listed, 1e-6, 10.0)
    check(problem, alone)
    check(problem, other)
    assert alone.makespan_s == pytest.approx(alone.bound_s, rel=1e-9)
    assert other.makespan_s == pytest.approx(alone.makespan_s, rel=1e-5)
    assert other.bound_s <= alone.makespan_s * (1 + 1e-9)


@settings(max_examples=80, deadline=None)
@given(problems(most=5, cores=4, general=True))
def test_modes_left_out_are_not_needed(problem: ScheduleProblem) -> None:
    kept = np.isfinite(modes_of(problem).seconds[:, :, 0])
    never = 1e6  # a time so long that no optimal schedule has it
    compute = [engine not in OFF_CHIP for engine in problem.graph.engines]
    forced = replace(
        problem,
        single_s=tuple(s if k or not c else never for s, k, c in zip(problem.single_s, kept[0], compute, strict=True)),
        whole_s=tuple(s if k or not c else never for s, k, c in zip(problem.whole_s, kept[-1], compute, strict=True)),
        split_s=tuple(
            tuple(s if k else np.inf for s, k in zip(row, mine, strict=True))
            for row, mine in zip(problem.split_s, kept[1:-1], strict=True)
        ),
    )
    assert best_makespan_s(forced) == pytest.approx(best_makespan_s(problem))


@settings(max_examples=80, deadline=None)
@given(problems(most=6, cores=3, general=True), st.data())
def test_a_faster_operator_and_one_more_core_never_hurt(problem: ScheduleProblem, data: st.DataObject) -> None:
    exact = schedule(problem, gap=1e-6)
    task = data.draw(st.integers(0, len(problem.single_s) - 1))
    factor = data.draw(st.sampled_from([0.3, 0.8]))

    def faster(times: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(one * factor if index == task else one for index, one in enumerate(times))

    quicker = replace(
        problem,
        single_s=faster(problem.single_s),
        whole_s=faster(problem.whole_s),
        split_s=tuple(faster(row) for row in problem.split_s),
    )
    # Times are the same functions of the number of cores; a new core leaves every old way to run.
    larger = replace(
        problem,
        tensor_cores=problem.tensor_cores + data.draw(st.integers(0, 1)),
        vector_cores=problem.vector_cores + data.draw(st.integers(0, 1)),
    )
    for one in (quicker, larger):
        assert schedule(one, gap=1e-6).bound_s <= exact.makespan_s * (1 + 1e-5)
        assert best_makespan_s(one) <= exact.makespan_s * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(problems(most=6, cores=3, general=True), st.randoms(use_true_random=False))
def test_renaming_changes_nothing(problem: ScheduleProblem, random: object) -> None:
    count = len(problem.single_s)
    order: list[int] = []
    while len(order) < count:
        ready = [
            task for task in range(count) if task not in order and set(problem.graph.predecessors[task]) <= set(order)
        ]
        order.append(random.choice(ready))  # type: ignore[attr-defined]
    place = {task: index for index, task in enumerate(order)}
    renamed = replace(
        problem,
        graph=TaskGraph(
            engines=tuple(problem.graph.engines[task] for task in order),
            predecessors=tuple(
                tuple(sorted(place[other] for other in problem.graph.predecessors[task])) for task in order
            ),
            names=tuple(f"kernel {index}" for index in range(count)),
        ),
        single_s=tuple(problem.single_s[task] for task in order),
        whole_s=tuple(problem.whole_s[task] for task in order),
        split_s=tuple(tuple(row[task] for task in order) for row in problem.split_s),
    )
    bounds = [lower_bound(modes_of(one))[0] for one in (problem, renamed)]
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-9)
    assert schedule(renamed, gap=1e-6).makespan_s == pytest.approx(schedule(problem, gap=1e-6).makespan_s, rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(graphs(8), st.integers(0, 10**6), st.sampled_from(list(SharingRule)))
def test_many_chips_at_once_equal_one_by_one(graph: TaskGraph, seed: int, rule: SharingRule) -> None:
    random = np.random.default_rng(seed)
    count, chips, splits = len(graph.engines), 6, (2, 4, 16)
    whole = random.uniform(1, 10, (count, chips))
    single = whole * random.uniform(1, 9, (count, chips))
    off_chip = [task for task, engine in enumerate(graph.engines) if engine in OFF_CHIP]
    single[off_chip] = whole[off_chip]
    split = whole + (single - whole) * random.uniform(0, 1, (3, count, chips))
    split[random.uniform(size=split.shape) < 0.2] = np.inf
    tensor, vector = random.choice([1, 2, 5, 8, 70], chips), random.choice([1, 2, 4, 70], chips)
    every = modes(graph, tensor, vector, single, whole, splits=splits, split_s=split, rule=rule)
    lower, upper = lower_bound(every), list_schedule(every)
    assert np.all(lower <= upper * (1 + 1e-12))
    for chip in range(chips):
        problem = ScheduleProblem(
            graph=graph,
            tensor_cores=int(tensor[chip]),
            vector_cores=int(vector[chip]),
            single_s=tuple(single[:, chip].tolist()),
            whole_s=tuple(whole[:, chip].tolist()),
            splits=splits,
            split_s=tuple(map(tuple, split[:, :, chip].tolist())),
            rule=rule,
        )
        assert lower_bound(modes_of(problem))[0] == pytest.approx(lower[chip], rel=1e-9)
        exact = schedule(problem, gap=0.01, work=0.05)
        check(problem, exact)
        assert lower[chip] <= exact.makespan_s * (1 + 1e-9)
        assert exact.bound_s <= upper[chip] * (1 + 1e-9)


def test_the_rules_differ_as_they_should() -> None:
    """Two tasks of different kinds, both faster on all cores: side by side only where the kinds share the chip."""
    problem = ScheduleProblem(
        graph=TaskGraph(engines=(Engine.TENSOR, Engine.VECTOR, Engine.COPY, Engine.NETWORK), predecessors=((),) * 4),
        tensor_cores=4,
        vector_cores=4,
        single_s=(8.0, 8.0, 3.0, 3.0),
        whole_s=(2.0, 2.0, 3.0, 3.0),
    )
    assert schedule(problem).makespan_s == pytest.approx(4.0)
    assert schedule(replace(problem, rule=SharingRule.SHARING)).makespan_s == pytest.approx(3.0)
    # On two cores each takes 2.5 s: slower than alone, and still both fit beside one another.
    split = replace(problem, splits=(2,), split_s=((2.5, 2.5, np.inf, np.inf),))
    assert schedule(split).makespan_s == pytest.approx(3.0)


NAMED = ScheduleProblem(
    graph=TaskGraph(
        engines=(Engine.VECTOR, Engine.TENSOR, Engine.TENSOR),
        predecessors=((), (0,), (1,)),
        names=("norm", "up_proj", "down_proj"),
        layer="block",
    ),
    tensor_cores=2,
    vector_cores=2,
    single_s=(1.0, 2.0, 2.0),
    whole_s=(0.5, 1.0, 1.0),
)


def linked(*predecessors: tuple[int, ...]) -> ScheduleProblem:
    return replace(NAMED, graph=replace(NAMED.graph, predecessors=predecessors))


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (linked((), (2,), (1,)), ["up_proj", "cycle"]),
        (linked((), (1,), (1,)), ["up_proj", "cycle"]),
        (linked((), (2,), ()), ["up_proj", "order"]),
        (linked((), (7,), ()), ["up_proj", "7"]),
        (linked((), (-1,), ()), ["up_proj", "-1"]),
        (replace(NAMED, single_s=(1.0, -2.0, 2.0)), ["up_proj", "one core", "-2"]),
        (replace(NAMED, whole_s=(1.0, float("nan"), 2.0)), ["up_proj", "all cores", "missing"]),
        (replace(NAMED, whole_s=(1.0, 2.0)), ["down_proj", "all cores"]),
        (replace(NAMED, splits=(2,), split_s=((1.0, 2.0),)), ["down_proj", "2 cores"]),
        (replace(NAMED, splits=(2,), split_s=((1.0, 2.0, -3.0),)), ["down_proj", "2 cores", "-3"]),
        (replace(NAMED, splits=(2,)), ["splits"]),
        (replace(NAMED, splits=(0,), split_s=((1.0, 2.0, 3.0),)), ["block", "0 cores", "two or more"]),
        (replace(NAMED, single_s=(1.0, None, 2.0)), ["up_proj", "one core", "missing"]),  # type: ignore[arg-type]
        (replace(NAMED, single_s=(1.0, 2.0, np.inf), whole_s=(1.0, 2.0, np.inf)), ["down_proj", "finite"]),
        (replace(NAMED, tensor_cores=0), ["up_proj", "0 tensor cores"]),
        (replace(NAMED, vector_cores=-1), ["norm", "-1 vector cores"]),
    ],
)
def test_bad_problems_are_one_line_that_names_operator_and_layer(problem: ScheduleProblem, words: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        schedule(problem)
    text = str(caught.value)
    assert "\n" not in text
    for word in ["block", *words]:
        assert word in text


def test_no_cores_of_a_kind_that_nothing_needs_are_no_problem() -> None:
    tensor_only = replace(NAMED, graph=replace(NAMED.graph, engines=(Engine.TENSOR,) * 3), vector_cores=0)
    assert schedule(tensor_only).makespan_s == pytest.approx(2.5)


@pytest.mark.parametrize("gap", [-0.1, 1.0, 2.0, float("nan")])
def test_a_gap_that_would_call_anything_optimal_is_refused(gap: float) -> None:
    with pytest.raises(BadInput, match="gap: "):
        schedule(NAMED, gap=gap)


def test_cores_are_named_where_those_counted_cannot_be() -> None:
    """Counted, seven tasks on two pairs of cores take 6 s: three chains leave none of them any slack. Then the vector
    task beside both pairs stands opposite the first, as the long tensor task does, and opposite the second, which has
    taken that one's core: no names. What is proven has to come from the model that names cores."""
    first, long, before, beside = 0, 1, 4, 5
    seconds = (2.0, 4.0, 4.0, 2.0, 1.0, 4.0, 1.0)
    both, tensor, vector = Engine.BOTH, Engine.TENSOR, Engine.VECTOR
    problem = ScheduleProblem(
        graph=TaskGraph(
            engines=(both, tensor, tensor, both, vector, vector, vector),
            predecessors=((), (), (first,), (long,), (), (before,), (beside,)),
        ),
        tensor_cores=2,
        vector_cores=2,
        single_s=seconds,
        whole_s=seconds,
    )
    best_s = best_makespan_s(problem)
    assert best_s > 6.0
    found = solved(problem, replace(best_list_schedule(problem), bound_s=0.0), 1e-6, 10.0)
    check(problem, found)
    assert found.makespan_s == pytest.approx(best_s)
    assert found.bound_s == pytest.approx(best_s, rel=1e-5)
