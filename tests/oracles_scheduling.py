"""An oracle for small task graphs (every mode, serial order and core), and a checker of schedules."""

import math
from itertools import permutations, product

from hardplace.cost.types import Engine
from hardplace.scheduling.types import Schedule, ScheduleProblem

TENSOR, VECTOR = (Engine.TENSOR, Engine.BOTH), (Engine.VECTOR, Engine.BOTH)


def best_makespan_s(problem: ScheduleProblem) -> float:
    """Return the least makespan; some optimal schedule serves the tasks in some order, each as early as it can."""
    count = len(problem.graph.engines)
    modes = [(False,) if engine is Engine.NETWORK else (False, True) for engine in problem.graph.engines]
    orders = [
        order
        for order in permutations(range(count))
        if all(order.index(other) < order.index(task) for task in order for other in problem.graph.predecessors[task])
    ]
    return min((serve(problem, order, whole) for whole in product(*modes) for order in orders), default=0.0)


def serve(problem: ScheduleProblem, order: tuple[int, ...], whole: tuple[bool, ...]) -> float:
    """Return the best makespan over core choices where each task starts no earlier than the one before it in order."""
    graph = problem.graph

    def step(
        place: int,
        tensor: tuple[float, ...],
        vector: tuple[float, ...],
        network: float,
        ends: dict[int, float],
        last: float,
    ) -> float:
        if place == len(order):
            return max(ends.values(), default=0.0)
        task = order[place]
        engine = graph.engines[task]
        ready = max([ends[other] for other in graph.predecessors[task]] + [last])
        if engine is Engine.NETWORK:
            start = max(ready, network)
            end = start + problem.whole_s[task]
            return step(place + 1, tensor, vector, end, {**ends, task: end}, start)
        if whole[task]:
            start = max([ready, *tensor, *vector])
            end = start + problem.whole_s[task]
            return step(place + 1, (end,) * len(tensor), (end,) * len(vector), network, {**ends, task: end}, start)
        best = math.inf
        sizes = [len(row) for row, kind in ((tensor, TENSOR), (vector, VECTOR)) if engine in kind]
        for core in range(min(sizes)):
            free = [row[core] for row, kind in ((tensor, TENSOR), (vector, VECTOR)) if engine in kind]
            start = max([ready, *free])
            end = start + problem.single_s[task]
            on_tensor = tuple(end if index == core and engine in TENSOR else one for index, one in enumerate(tensor))
            on_vector = tuple(end if index == core and engine in VECTOR else one for index, one in enumerate(vector))
            best = min(best, step(place + 1, on_tensor, on_vector, network, {**ends, task: end}, start))
        return best

    return step(0, (0.0,) * problem.tensor_cores, (0.0,) * problem.vector_cores, 0.0, {}, 0.0)


def check(problem: ScheduleProblem, schedule: Schedule) -> None:
    """Assert that a schedule keeps precedence, cores, exclusion, the network, and durations."""
    graph = problem.graph
    slack = 1e-9 * max(schedule.makespan_s, 1e-300)
    items = schedule.assignments
    assert [item.task for item in items] == list(range(len(graph.engines)))
    assert abs(max((item.end_s for item in items), default=0.0) - schedule.makespan_s) <= slack
    assert schedule.bound_s <= schedule.makespan_s + slack
    for item in items:
        engine = graph.engines[item.task]
        seconds = problem.whole_s if item.whole or engine is Engine.NETWORK else problem.single_s
        assert abs(item.end_s - item.start_s - seconds[item.task]) <= slack
        assert all(items[other].end_s <= item.start_s + slack for other in graph.predecessors[item.task])
        alone = item.whole or engine is Engine.NETWORK
        assert (item.tensor_core >= 0) == (engine in TENSOR and not alone)
        assert (item.vector_core >= 0) == (engine in VECTOR and not alone)
        assert item.tensor_core < problem.tensor_cores
        assert item.vector_core < problem.vector_cores
        if engine is Engine.BOTH and not alone:
            assert item.tensor_core == item.vector_core
    for first in items:
        for second in items[: first.task]:
            if first.start_s < second.end_s - slack and second.start_s < first.end_s - slack:
                kinds = {graph.engines[first.task], graph.engines[second.task]}
                assert kinds != {Engine.NETWORK}
                if Engine.NETWORK not in kinds:
                    assert not first.whole
                    assert not second.whole
                    assert first.tensor_core < 0 or first.tensor_core != second.tensor_core
                    assert first.vector_core < 0 or first.vector_core != second.vector_core
