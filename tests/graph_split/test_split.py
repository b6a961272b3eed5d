"""Graphs on unlike devices against every placement and order of small ones, and the figures of a paper."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from hardplace.files import read_json
from hardplace.graph_split.balance import balanced_placement, heft_at_prices, weighted_placement
from hardplace.graph_split.bounds import (
    critical_path_s,
    fitting_problem,
    load_s,
    makespan_bound_s,
    started_load_s,
    weighted_load_s,
)
from hardplace.graph_split.checker import busiest_s, placement_violations, violations
from hardplace.graph_split.coarsen import chains, merged
from hardplace.graph_split.lists import heft, peft, upward_ranks
from hardplace.graph_split.requests import repeated
from hardplace.graph_split.series import in_series
from hardplace.graph_split.split import MemoryShortage, SplitOutcome, split_latency, split_pipeline
from hardplace.graph_split.types import GraphOperator, GraphTensor, SplitDevice, SplitLink, SplitProblem
from oracles_split import least_busiest, least_makespan, least_of_requests, series_graph, unlike_graph

DATA = Path(__file__).parent / "data"


def heft_example() -> SplitProblem:
    """The paper's 10 tasks on 3 processors; a transfer waits for nothing but its tensor."""
    data = read_json(DATA / "heft_example.json")
    return SplitProblem(
        name="heft",
        operators=tuple(
            GraphOperator(name=f"n{row}", time_s={f"p{one}": float(takes) for one, takes in enumerate(times)})
            for row, times in enumerate(data["times_by_task_and_processor"], start=1)
        ),
        tensors=tuple(GraphTensor(source=a, readers=(b,), size_bytes=float(size)) for a, b, size in data["edges"]),
        devices=tuple(SplitDevice(name=f"p{one}", kind=f"p{one}") for one in range(3)),
        links=tuple(
            SplitLink(source=a, target=b, bytes_per_s=1.0, queued=False) for a in range(3) for b in range(3) if a != b
        ),
    )


def test_the_heft_paper() -> None:
    problem = heft_example()
    ranks = [108, 77, 80, 80, 69, 63.333, 42.667, 35.667, 44.333, 14.667]
    assert upward_ranks(problem) == pytest.approx(ranks, abs=5e-4)
    schedule = heft(problem)
    assert schedule is not None
    assert schedule.makespan_s == 80
    assert violations(problem, schedule) == []


def test_its_optimum_is_proven() -> None:
    found = split_latency(heft_example(), limit_s=30)
    assert isinstance(found, SplitOutcome)
    assert found.value_s == found.bound_s == 73


@pytest.mark.parametrize("seed", [*range(24), 1181])  # 1181: an operator without a time beside one that runs
def test_every_schedule_of_a_small_graph(seed: int) -> None:
    problem = unlike_graph(seed)
    best = least_makespan(problem)
    found = split_latency(problem, limit_s=10)
    if best == float("inf"):
        assert isinstance(found, MemoryShortage)
        assert found.proven
        return
    assert isinstance(found, SplitOutcome)
    assert violations(problem, found.schedule) == []
    assert found.value_s == pytest.approx(best, abs=1e-9)
    assert found.bound_s == pytest.approx(best, rel=1e-5)
    assert max(critical_path_s(problem), load_s(problem)) <= best * (1 + 1e-9)
    for upper_s in (best, 1.01 * best, 1.3 * best, 3 * best):  # what no schedule is below, and what one of them has
        assert min(started_load_s(problem, upper_s), upper_s) <= best * (1 + 1e-9)
        assert makespan_bound_s(problem, upper_s) <= best * (1 + 1e-9)
    if seed % 3 == 0:
        assert least_makespan(fitting_problem(problem, best)) == pytest.approx(best, abs=1e-9)
    assert weighted_load_s(problem.times, [0.0] * len(problem.devices)) <= load_s(problem) * (1 + 1e-6) + 1e-9
    for schedule in (heft(problem), peft(problem), heft_at_prices(problem, 4.0)):
        assert schedule is None or (violations(problem, schedule) == [] and schedule.makespan_s >= best - 1e-9)
    small = merged(problem, chains(problem, lossless=True))
    assert least_makespan(small) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_every_schedule_of_a_graph_in_series(seed: int) -> None:
    """Segments between operators that all others run before or after: their sum is a bound, and exact where no tensor
    passes by an end and memory does not bind."""
    problem = series_graph(seed)
    best = least_makespan(problem)
    joined = in_series(problem, 1.5 * best, 20)
    assert 0.0 < joined.bound_s <= best * (1 + 1e-9)
    passes_by = any(6 in one.readers and one.source == 2 for one in problem.tensors)
    assert (joined.schedule is None) == passes_by
    if joined.schedule is not None:
        assert joined.schedule.makespan_s == pytest.approx(joined.bound_s, rel=1e-5)
    found = split_latency(problem, limit_s=10)
    assert isinstance(found, SplitOutcome)
    assert found.value_s == pytest.approx(best, abs=1e-9)
    assert found.bound_s == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize(("seed", "requests"), [(1, 2), (2, 3), (3, 2), (4, 2), (8, 2), (9, 2), (13, 2), (14, 2)])
def test_every_order_of_requests_in_flight(seed: int, requests: int) -> None:
    """Against events written from the document, which do not know how a graph is repeated."""
    whole = unlike_graph(seed)
    kept = tuple(one for one in whole.tensors if one.source < 3 and min(one.readers) < 3)
    problem = replace(
        whole, operators=whole.operators[:3],
        tensors=tuple(replace(one, readers=tuple(v for v in one.readers if v < 3)) for one in kept),
    )  # fmt: skip
    best = least_of_requests(problem, requests)
    found = split_latency(repeated(problem, requests), limit_s=10)
    if best == float("inf"):
        assert isinstance(found, MemoryShortage)
        return
    assert isinstance(found, SplitOutcome)
    assert found.value_s == pytest.approx(best, abs=1e-9)
    assert found.bound_s <= best * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(24))
def test_every_placement_of_a_small_pipeline(seed: int) -> None:
    problem = unlike_graph(seed)
    best = least_busiest(problem)
    found = split_pipeline(problem, limit_s=10)
    if best == float("inf"):
        assert isinstance(found, MemoryShortage)
        assert found.proven
        return
    assert isinstance(found, SplitOutcome)
    assert found.value_s == busiest_s(problem, found.schedule.devices) == pytest.approx(best, abs=1e-9)
    assert found.bound_s == pytest.approx(best, rel=1e-5, abs=1e-9)


def test_the_checker_sees_what_is_wrong() -> None:
    problem = heft_example()
    schedule = heft(problem)
    assert schedule is not None
    early = replace(schedule, runs=(*schedule.runs[:-1], replace(schedule.runs[-1], start_s=0.0)))
    assert violations(problem, early)
    assert violations(problem, replace(schedule, transfers=schedule.transfers[1:]))
    moved = replace(schedule.runs[0], device=(schedule.runs[0].device + 1) % 3)
    assert violations(problem, replace(schedule, runs=(moved, *schedule.runs[1:])))


@pytest.mark.parametrize("seed", [3, 4])
def test_moves_keep_the_rules_and_balance(seed: int) -> None:
    """300 operators on three unlike devices: loads of the moves are those of the checker, and near the bound."""
    draw = random.Random(seed)
    operators = tuple(
        GraphOperator(
            name=str(one), memory_bytes=draw.randint(0, 5), group=f"g{one // 2}" if one % 10 < 2 else None,
            time_s={"cpu": draw.uniform(2, 9), "gpu": draw.uniform(1, 3)},
        )
        for one in range(300)
    )  # fmt: skip
    problem = SplitProblem(
        name="many", operators=operators,
        tensors=tuple(
            GraphTensor(source=one, readers=(one + draw.randint(1, 9),), size_bytes=1.0) for one in range(290)
        ),
        devices=(
            SplitDevice(name="cpu", kind="cpu"), SplitDevice(name="gpu0", kind="gpu"),
            SplitDevice(name="gpu1", kind="gpu", memory_bytes=300.0),
        ),
        links=tuple(
            SplitLink(source=a, target=b, bytes_per_s=10.0) for a in range(3) for b in range(3) if a != b
        ),
    )  # fmt: skip
    start = weighted_placement(problem)
    found = balanced_placement(problem, start, load_s(problem), 20.0)
    assert placement_violations(problem, found) == []
    assert load_s(problem) <= busiest_s(problem, found) <= 1.05 * load_s(problem)


def test_prices_keep_devices_to_what_they_do_best() -> None:
    """Eight devices of three kinds with times of their own: HEFT takes the first device that is free."""
    draw = random.Random(5)
    kinds = ("cpu", "cpu", "gpu", "gpu", "gpu", "gpu", "npu", "npu")
    readers: dict[int, list[int]] = {}
    for one in range(1, 1000):
        for source in {draw.randrange(max(0, one - 200), one) for _ in range(2)}:
            readers.setdefault(source, []).append(one)
    problem = SplitProblem(
        name="eight",
        operators=tuple(
            GraphOperator(name=str(v), time_s={"cpu": draw.uniform(2, 9), "gpu": draw.uniform(1, 4), "npu": 3.0})
            for v in range(1000)
        ),
        tensors=tuple(GraphTensor(source=v, readers=tuple(to), size_bytes=0.1) for v, to in readers.items()),
        devices=tuple(SplitDevice(name=f"{kind}{d}", kind=kind) for d, kind in enumerate(kinds)),
        links=tuple(SplitLink(source=a, target=b, bytes_per_s=1.0) for a in range(8) for b in range(8) if a != b),
    )
    bound_s = load_s(problem)
    assert busiest_s(problem, weighted_placement(problem)) <= 1.01 * bound_s
    plain, priced = heft(problem), heft_at_prices(problem, 4.0)
    assert plain is not None
    assert priced is not None
    assert violations(problem, priced) == []
    assert priced.makespan_s < 1.06 * bound_s < plain.makespan_s
