"""Stages with data and tensor degrees and recompute: the released optima of Piper, and every plan of small graphs."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest

from hardplace.files import read_json
from hardplace.graph_split.stage_programme import StagePlan, StageShortage, best_stages
from hardplace.graph_split.stage_ways import (
    OperatorWay,
    ParallelStage,
    StageDimension,
    WaysProblem,
    read_ways,
    stage_s,
    stage_violations,
)

DATA = Path(__file__).parent / "data/piper"
FORBIDDEN = {
    "time_per_sample": (),
    "without_data_parallel": (StageDimension.DATA,),
    "without_tensor_parallel": (StageDimension.TENSOR,),
    "without_recompute": (StageDimension.RECOMPUTE,),
}
QUICK = [(2.0, 32, "without_tensor_parallel"), (80.0, 8, "time_per_sample"), (8.0, 512, "without_tensor_parallel")]


@pytest.mark.parametrize(("memory", "devices", "what"), QUICK)
def test_the_released_optima(memory: float, devices: int, what: str) -> None:
    """All 13 with each dimension forbidden: benchmarks/split.py."""
    (row,) = (
        one for one in read_json(DATA / "results.json") if (one["memory_gib"], one["devices"]) == (memory, devices)
    )
    problem = read_ways(
        DATA / "bert32a100.json.gz",
        devices=devices,
        memory_bytes=memory * 2**30,
        without=frozenset(FORBIDDEN[what]),
    )
    found = best_stages(problem)
    if row[what] is None:
        assert isinstance(found, StageShortage)
        assert found.needed_bytes > problem.memory_bytes
    else:
        assert isinstance(found, StagePlan)
        assert found.value_s == pytest.approx(row[what], rel=1e-12)
        assert stage_violations(problem, found.stages) == []


def small(seed: int) -> WaysProblem:
    """Return a graph of 2 to 4 operators with one to three ways each on 2 to 4 devices."""
    draw = random.Random(seed)
    count = draw.randint(2, 4)
    ways = []
    edges = [
        (a, b, float(draw.randint(0, 3))) for a, b in itertools.combinations(range(count), 2) if draw.random() < 0.6
    ]
    for one in range(count):
        near = {a + b - one for a, b, _ in edges if one in (a, b)}
        mine = [(1, False), *[way for way in ((1, True), (2, False), (2, True)) if draw.random() < 0.6]]
        ways.append(
            tuple(
                OperatorWay(
                    tensor=tensor, recompute=recompute, seconds=float(draw.randint(1, 9)),
                    parameter_bytes=float(draw.randint(0, 4)), in_flight_bytes=float(draw.randint(0, 3)),
                    fixed_bytes=float(draw.randint(0, 4)),
                    extra_bytes={other: float(draw.randint(0, 2)) for other in sorted(near)},
                )
                for tensor, recompute in mine
            )
        )  # fmt: skip
    return WaysProblem(
        name=str(seed), operators=tuple(map(str, range(count))), ways=tuple(ways), edges=tuple(edges),
        devices=draw.randint(2, 4), memory_bytes=float(draw.randint(4, 14)), micro_batches=draw.choice([4, 6]),
        bytes_per_s=draw.choice([0.5, 2.0]),
        without=frozenset(one for one in StageDimension if draw.random() < 0.2),
    )  # fmt: skip


def least_of_all(problem: WaysProblem) -> float:
    """Return the least slowest stage over every line of stages, every degree and every way."""
    count, best = len(problem.operators), math.inf
    for home in itertools.product(range(count), repeat=count):
        number = max(home) + 1
        if set(home) != set(range(number)) or any(home[a] > home[b] for a, b, _ in problem.edges):
            continue
        held = [[one for one in range(count) if home[one] == stage] for stage in range(number)]
        degrees = itertools.product(itertools.product(range(1, problem.devices + 1), (1, 2)), repeat=number)
        for chosen in degrees:
            if sum(data * tensor for data, tensor in chosen) > problem.devices:
                continue
            for ways in itertools.product(*(range(len(one)) for one in problem.ways)):
                stages = [
                    ParallelStage(
                        operators=tuple(mine), ways=tuple(ways[one] for one in mine), data=data, tensor=tensor
                    )
                    for mine, (data, tensor) in zip(held, chosen, strict=True)
                ]
                if not stage_violations(problem, stages):
                    best = min(best, max(stage_s(problem, one) for one in stages))
    return best


def test_the_best_of_every_plan_of_small_graphs() -> None:
    fits = 0
    for seed in range(25):
        problem = small(seed)
        found, known = best_stages(problem), least_of_all(problem)
        if isinstance(found, StageShortage):
            assert known == math.inf
        else:
            fits += 1
            assert found.value_s == pytest.approx(known, rel=1e-9), seed
    assert fits > 10


@pytest.mark.parametrize("seed", range(8))
def test_an_answer_of_one_stage_says_how_many_plans_it_was_among(seed: int) -> None:
    problem = replace(small(seed), memory_bytes=1e9)
    count = 0
    for ways in itertools.product(*(range(len(one)) for one in problem.ways)):
        tensor = problem.ways[0][ways[0]].tensor
        stage = ParallelStage(operators=tuple(range(len(ways))), ways=ways, data=1, tensor=tensor)
        count += not stage_violations(problem, [stage])
    assert problem.one_stage_plans == count > 1


def test_a_search_that_is_stopped_says_what_is_left_open() -> None:
    """Without time only the first plan is found, within a gap not always the best; the bound holds for all plans."""
    early = wide = 0
    for seed in range(25):
        problem, known = small(seed), least_of_all(small(seed))
        if known == math.inf:
            continue
        assert problem.work_bound_s <= known
        for found in (best_stages(problem, limit_s=0.0), best_stages(problem, gap=0.5)):
            assert isinstance(found, StagePlan)
            assert found.bound_s <= known * (1 + 1e-9) <= found.value_s * (1 + 2e-9)
            early += found.value_s > known * (1 + 1e-9)
        assert found.value_s <= 1.5 * found.bound_s
        wide += found.bound_s < known * (1 - 1e-6)
    assert early
    assert wide
