"""Hypothesis strategies of schedule problems, with all that a task may do."""

import math
from dataclasses import replace

from hypothesis import strategies as st

from hardplace.cost.types import Engine
from hardplace.design.scheduling.types import ScheduleProblem, SharingRule, TaskGraph

OFF_CHIP = (Engine.NETWORK, Engine.COPY)


@st.composite
def graphs(draw: st.DrawFn, most: int, least: int = 1) -> TaskGraph:
    count = draw(st.integers(least, most))
    engines = tuple(draw(st.sampled_from(list(Engine))) for _ in range(count))
    predecessors = tuple(
        tuple(sorted(draw(st.sets(st.integers(0, task - 1), max_size=2)))) if task else () for task in range(count)
    )
    return TaskGraph(engines=engines, predecessors=predecessors)


@st.composite
def problems(draw: st.DrawFn, most: int = 4, cores: int = 3, general: bool = False) -> ScheduleProblem:
    """With general: two splits, either rule; else PHAZE's problem."""
    graph = draw(graphs(most))
    whole = [draw(st.integers(1, 12)) for _ in graph.engines]
    share = [draw(st.sampled_from([1.0, 1.25, 2.0, 2.5, 4.0])) for _ in graph.engines]
    single = [
        one * (1.0 if engine in OFF_CHIP else more)
        for one, more, engine in zip(whole, share, graph.engines, strict=True)
    ]
    problem = ScheduleProblem(
        graph=graph,
        tensor_cores=draw(st.integers(1, cores)),
        vector_cores=draw(st.integers(1, cores)),
        single_s=tuple(single),
        whole_s=tuple(map(float, whole)),
    )
    if not general:
        return problem
    # Anything from slower than one core to faster than all of them, or not possible.
    split_s = tuple(
        tuple(one * draw(st.sampled_from([0.5, 0.6, 0.75, 1.0, 1.1, math.inf])) for one in single) for _ in range(2)
    )
    return replace(problem, splits=(2, 4), split_s=split_s, rule=draw(st.sampled_from(list(SharingRule))))
