"""The least makespan of small task graphs, written from docs/model-scheduling.md ("The problem") alone.

At each moment at which something ends any tasks that are ready may start, in any mode on any free cores, or none. Some
optimal schedule arises so: move every task to the left until it meets the end of another one, or zero. Times must be
exact in binary (multiples of 1/8, say), since moments are compared.
"""

import math
import random
from functools import cache
from itertools import combinations

from hardplace.cost.types import Engine
from hardplace.design.scheduling.types import ScheduleProblem, SharingRule, TaskGraph

Running = frozenset[tuple[int, float, int, int]]  # task, seconds left, tensor cores and vector cores as bit masks


def least_makespan_s(problem: ScheduleProblem) -> float:
    """Return the least makespan (seconds); inf where a task may run in no mode."""
    graph = problem.graph
    count = len(graph.engines)
    options = [_options(problem, task) for task in range(count)]
    if not all(options):
        return math.inf
    everything = (1 << count) - 1
    needs = [sum(1 << other for other in before) for before in graph.predecessors]

    @cache
    def left_s(done: int, running: Running) -> float:
        """Return the least seconds from now, when these tasks are done and these are running, to the end."""
        if done == everything:
            return 0.0
        best = math.inf
        tensor = vector = under_way = 0
        for task, _, on_tensor, on_vector in running:
            tensor, vector, under_way = tensor | on_tensor, vector | on_vector, under_way | 1 << task
        engines = {graph.engines[task] for task, _, _, _ in running}
        for task in range(count):
            if (done | under_way) >> task & 1 or needs[task] & ~done:
                continue
            if graph.engines[task] in (Engine.NETWORK, Engine.COPY) and graph.engines[task] in engines:
                continue
            for seconds, on_tensor, on_vector in options[task]:
                if on_tensor & tensor or on_vector & vector:
                    continue
                if seconds == 0.0:
                    best = min(best, left_s(done | 1 << task, running))
                else:
                    best = min(best, left_s(done, running | {(task, seconds, on_tensor, on_vector)}))
        if running:
            soonest = min(seconds for _, seconds, _, _ in running)
            ended = sum(1 << task for task, seconds, _, _ in running if seconds == soonest)
            going = frozenset((t, seconds - soonest, a, b) for t, seconds, a, b in running if seconds > soonest)
            best = min(best, soonest + left_s(done | ended, going))
        return best

    return left_s(0, frozenset())


def _options(problem: ScheduleProblem, task: int) -> list[tuple[float, int, int]]:
    """Return (seconds, tensor cores, vector cores) of every way to run a task, cores as bit masks."""
    engine = problem.graph.engines[task]
    if engine in (Engine.NETWORK, Engine.COPY):
        return [(problem.whole_s[task], 0, 0)] if problem.whole_s[task] < math.inf else []
    on_tensor, on_vector = engine in (Engine.TENSOR, Engine.BOTH), engine in (Engine.VECTOR, Engine.BOTH)
    every = ((1 << problem.tensor_cores) - 1, (1 << problem.vector_cores) - 1)
    alone = problem.rule is SharingRule.EXCLUSIVE
    found = [(problem.whole_s[task], every[0] * (on_tensor or alone), every[1] * (on_vector or alone))]
    fewest = min([problem.tensor_cores] * on_tensor + [problem.vector_cores] * on_vector)
    rows = [(1, problem.single_s), *zip(problem.splits, problem.split_s, strict=True)]
    for cores, seconds in rows:
        if cores == 1 or cores < fewest:
            for chosen in combinations(range(fewest), cores):
                mask = sum(1 << core for core in chosen)
                found.append((seconds[task], mask * on_tensor, mask * on_vector))
    return [one for one in found if one[0] < math.inf]


def random_problem(seed: int, *, extremes: bool = False) -> ScheduleProblem:
    """Return a problem of one to five tasks on up to three cores of a kind (four with splits).

    Either rule; one core, two, all; collectives and copies; times that do or do not fall with cores; with extremes
    many of them are zero or infinite (not all of a task).
    """
    draw = random.Random(seed)
    count = draw.randint(1, 5)
    split = draw.random() < 0.5
    most = 4 if split and count < 5 else 3
    engines = tuple(
        draw.choices(
            list(Engine), weights=[2 if one in (Engine.NETWORK, Engine.COPY) else 3 for one in Engine], k=count
        )
    )
    density = draw.choice([0.0, 0.3, 0.6])
    predecessors = tuple(tuple(one for one in range(task) if draw.random() < density) for task in range(count))

    def times(whole: float) -> list[float]:
        """Return seconds on one core, two and all."""
        single = whole * draw.choice([1.0, 1.5, 2.0, 2.5, 3.0, 4.0])
        return [single, draw.choice([single, (single + whole) / 2, whole, 2 * single, math.inf]), whole]

    rows = [times(float(draw.randint(1, 12))) for _ in range(count)]
    if extremes:
        for row, engine in zip(rows, engines, strict=True):
            drawn = [draw.choice([0.0, math.inf, one, one]) for one in row]
            needed = drawn[2:] if engine in (Engine.NETWORK, Engine.COPY) else (drawn[0], drawn[2])
            row[:] = drawn if min(needed) < math.inf else [*drawn[:2], draw.choice([0.0, 3.0])]
    alone = [engine in (Engine.NETWORK, Engine.COPY) for engine in engines]
    return ScheduleProblem(
        graph=TaskGraph(engines=engines, predecessors=predecessors),
        tensor_cores=draw.randint(1, most),
        vector_cores=draw.randint(1, most),
        single_s=tuple(row[2] if off else row[0] for row, off in zip(rows, alone, strict=True)),
        whole_s=tuple(row[2] for row in rows),
        splits=(2,) if split else (),
        split_s=(tuple(row[1] for row in rows),) if split else (),
        rule=draw.choice(list(SharingRule)),
    )
