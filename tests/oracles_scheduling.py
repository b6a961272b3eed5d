"""An oracle for small task graphs (every mode, serial order and choice of cores), and a checker of schedules."""

import math
from itertools import combinations

from hardplace.cost.types import Engine
from hardplace.design.scheduling.types import Schedule, ScheduleProblem, SharingRule

TENSOR, VECTOR = (Engine.TENSOR, Engine.BOTH), (Engine.VECTOR, Engine.BOTH)
OFF_CHIP = (Engine.NETWORK, Engine.COPY)


def ways(problem: ScheduleProblem, task: int) -> list[tuple[float, int]]:
    """Return (seconds, cores of its kind) for each way to run a task; -1 cores are all of them."""
    engine = problem.graph.engines[task]
    if engine in OFF_CHIP:
        return [(problem.whole_s[task], 0)]
    rows = [(engine in TENSOR, problem.tensor_cores), (engine in VECTOR, problem.vector_cores)]
    smallest = min(cores for used, cores in rows if used)
    found = [(problem.single_s[task], 1)]
    for count, seconds in zip(problem.splits, problem.split_s, strict=True):
        if count < smallest and seconds[task] < math.inf:
            found.append((seconds[task], count))
    return [*found, (problem.whole_s[task], -1)]


def best_makespan_s(problem: ScheduleProblem) -> float:
    """Return the least makespan: some optimal schedule serves the tasks in the order of their starts, each in turn
    as early as it can on its cores, no earlier than the one before it in that order.
    """
    graph = problem.graph
    count = len(graph.engines)
    best = sum(max(seconds for seconds, _ in ways(problem, task)) for task in range(count)) + 1.0
    seen: dict[object, float] = {}

    def step(ends: tuple[float | None, ...], tensor: tuple[float, ...], vector: tuple[float, ...],
             off: tuple[float, float], last: float) -> None:  # fmt: skip
        nonlocal best
        now = max([end for end in ends if end is not None], default=0.0)
        if now >= best:
            return
        if None not in ends:
            best = now
            return
        key = (ends, tuple(max(last, one) for one in tensor), tuple(max(last, one) for one in vector), off)
        if seen.get(key, math.inf) <= last:
            return
        seen[key] = last
        for task in range(count):
            if ends[task] is not None or any(ends[other] is None for other in graph.predecessors[task]):
                continue
            ready = max([ends[other] or 0.0 for other in graph.predecessors[task]] + [last])
            for seconds, cores in ways(problem, task):
                for on_tensor, on_vector in _places(problem, graph.engines[task], cores):
                    free = [tensor[core] for core in on_tensor] + [vector[core] for core in on_vector]
                    mine = list(off)
                    if graph.engines[task] in OFF_CHIP:
                        free = [off[OFF_CHIP.index(graph.engines[task])]]
                    start = max([ready, *free])
                    end = start + seconds
                    if graph.engines[task] in OFF_CHIP:
                        mine[OFF_CHIP.index(graph.engines[task])] = end
                    step(
                        tuple(end if index == task else one for index, one in enumerate(ends)),
                        tuple(end if index in on_tensor else one for index, one in enumerate(tensor)),
                        tuple(end if index in on_vector else one for index, one in enumerate(vector)),
                        (mine[0], mine[1]),
                        start,
                    )

    step((None,) * count, (0.0,) * problem.tensor_cores, (0.0,) * problem.vector_cores, (0.0, 0.0), 0.0)
    return best if count else 0.0


def _places(problem: ScheduleProblem, engine: Engine, cores: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return every choice of tensor and vector cores."""
    every = (tuple(range(problem.tensor_cores)), tuple(range(problem.vector_cores)))
    if engine in OFF_CHIP:
        return [((), ())]
    if cores < 0:
        both = problem.rule is SharingRule.EXCLUSIVE or engine is Engine.BOTH
        return [(every[0] if both or engine in TENSOR else (), every[1] if both or engine in VECTOR else ())]
    if engine is Engine.BOTH:
        return [(chosen, chosen) for chosen in combinations(range(min(map(len, every))), cores)]
    if engine is Engine.TENSOR:
        return [(chosen, ()) for chosen in combinations(every[0], cores)]
    return [((), chosen) for chosen in combinations(every[1], cores)]


def check(problem: ScheduleProblem, schedule: Schedule) -> None:
    """Assert that a schedule keeps precedence, cores, the rule, the other engines, and durations."""
    graph = problem.graph
    slack = 1e-9 * max(schedule.makespan_s, 1e-300)
    items = schedule.assignments
    assert [item.task for item in items] == list(range(len(graph.engines)))
    assert abs(max((item.end_s for item in items), default=0.0) - schedule.makespan_s) <= slack
    assert schedule.bound_s <= schedule.makespan_s + slack
    taken = []
    for item in items:
        engine = graph.engines[item.task]
        assert all(items[other].end_s <= item.start_s + slack for other in graph.predecessors[item.task])
        count = max(len(item.tensor_cores), len(item.vector_cores))
        assert len(set(item.tensor_cores)) == len(item.tensor_cores)
        assert len(set(item.vector_cores)) == len(item.vector_cores)
        seconds = [one for one, cores in ways(problem, item.task) if cores == (-1 if item.whole else count)]
        assert any(abs(item.end_s - item.start_s - one) <= slack for one in seconds)
        mine = (item.tensor_cores, item.vector_cores)
        if item.whole:
            assert mine == ((), ())
            (mine,) = _places(problem, engine, -1)
        else:
            assert bool(item.tensor_cores) == (engine in TENSOR)
            assert bool(item.vector_cores) == (engine in VECTOR)
            if engine is Engine.BOTH:
                assert item.tensor_cores == item.vector_cores
        assert all(0 <= core < problem.tensor_cores for core in mine[0])
        assert all(0 <= core < problem.vector_cores for core in mine[1])
        taken.append(mine)
    for first in items:
        for second in items[: first.task]:
            if first.start_s < second.end_s - slack and second.start_s < first.end_s - slack:
                one, other = graph.engines[first.task], graph.engines[second.task]
                assert one is not other or one not in OFF_CHIP
                for kind in (0, 1):
                    assert not set(taken[first.task][kind]) & set(taken[second.task][kind])
