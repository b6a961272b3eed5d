"""Bounds, list schedules and exact schedules against the oracle, the reference optima, and one another."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardplace.design.exact.layer_kernels import kernels_of
from hardplace.design.scheduling.bounds import always_whole, lower_bound
from hardplace.design.scheduling.exact import schedule
from hardplace.design.scheduling.lists import best_list_schedule, list_schedule
from hardplace.design.scheduling.modes import modes, modes_of
from hardplace.design.scheduling.partial import PartialSearch
from hardplace.design.scheduling.types import ScheduleProblem, Status, TaskGraph
from hardplace.hardware.phaze import chips_from_rows
from hardplace.hardware.settings import HBM3
from hardplace.workload.load import load
from hardplace.workload.sharding import tensor_parallel
from oracles_scheduling import best_makespan_s, check
from strategies_scheduling import OFF_CHIP, graphs, problems

ROOT = Path(__file__).parents[3]
OPTIMA = Path(__file__).parent / "data/optima.json"


@settings(max_examples=150, deadline=None)
@given(problems())
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
    assert exact.makespan_s == pytest.approx(best, rel=1e-5)
    assert exact.makespan_s >= best * (1 - 1e-9)
    assert listed.makespan_s >= best * (1 - 1e-9)


@settings(max_examples=150, deadline=None)
@given(problems())
def test_partial_schedules_reach_the_oracle_alone(problem: ScheduleProblem) -> None:
    best = best_makespan_s(problem)
    exact = PartialSearch(problem, best_list_schedule(problem), 0.0).run(10**6)
    check(problem, exact)
    assert exact.makespan_s == pytest.approx(best, rel=1e-9)
    assert exact.bound_s == pytest.approx(best, rel=1e-9)
    assert exact.bound_s <= best * (1 + 1e-12)


@settings(max_examples=60, deadline=None)
@given(graphs(9), st.integers(0, 10**6), st.integers(0, 60))
def test_partial_schedules_and_cp_sat_agree_at_any_limit(graph: TaskGraph, seed: int, most: int) -> None:
    random = np.random.default_rng(seed)
    whole = random.uniform(0, 10, len(graph.engines)) * (random.uniform(size=len(graph.engines)) > 0.1)
    single = whole * random.uniform(1, 3, len(graph.engines))
    problem = ScheduleProblem(
        graph=graph,
        tensor_cores=int(random.integers(1, 5)),
        vector_cores=int(random.integers(1, 5)),
        single_s=tuple(
            float(whole[task] if engine in OFF_CHIP else single[task]) for task, engine in enumerate(graph.engines)
        ),
        whole_s=tuple(whole.tolist()),
    )
    stopped = PartialSearch(problem, best_list_schedule(problem), 0.0).run(most)
    full = PartialSearch(problem, best_list_schedule(problem), 0.0).run(20_000)
    solved = schedule(problem, gap=1e-6)
    for one in (stopped, full, solved):
        check(problem, one)
        assert one.bound_s <= min(stopped.makespan_s, full.makespan_s, solved.makespan_s) * (1 + 1e-9)


@settings(max_examples=100, deadline=None)
@given(problems())
def test_some_optimal_schedule_has_the_tasks_whole_that_always_whole_says(problem: ScheduleProblem) -> None:
    fixed = always_whole(problem.graph, np.array([problem.single_s]).T, np.array([problem.whole_s]).T)[:, 0]
    # A task that may not run on one core: that takes forever.
    single = tuple(1e6 if one else time for one, time in zip(fixed, problem.single_s, strict=True))
    forced = ScheduleProblem(
        graph=problem.graph,
        tensor_cores=problem.tensor_cores,
        vector_cores=problem.vector_cores,
        single_s=single,
        whole_s=problem.whole_s,
    )
    assert best_makespan_s(forced) == pytest.approx(best_makespan_s(problem))


@settings(max_examples=60, deadline=None)
@given(graphs(8), st.integers(0, 10**6))
def test_many_chips_at_once_equal_one_by_one(graph: TaskGraph, seed: int) -> None:
    random = np.random.default_rng(seed)
    count, chips = len(graph.engines), 7
    whole = random.uniform(1, 10, (count, chips))
    single = whole * random.uniform(1, 5, (count, chips))
    for task, engine in enumerate(graph.engines):
        if engine in OFF_CHIP:
            single[task] = whole[task]
    tensor, vector = random.choice([1, 2, 4, 64], chips), random.choice([1, 2, 4, 64], chips)
    every = modes(graph, tensor, vector, single, whole)
    lower, upper = lower_bound(every), list_schedule(every)
    assert np.all(lower <= upper * (1 + 1e-12))
    for chip in range(chips):
        problem = ScheduleProblem(
            graph=graph,
            tensor_cores=int(tensor[chip]),
            vector_cores=int(vector[chip]),
            single_s=tuple(single[:, chip].tolist()),
            whole_s=tuple(whole[:, chip].tolist()),
        )
        alone = modes_of(problem)
        assert lower_bound(alone)[0] == pytest.approx(lower[chip], rel=1e-12)
        listed = best_list_schedule(problem)
        check(problem, listed)
        assert listed.makespan_s == pytest.approx(list_schedule(alone)[0], rel=1e-12)


def run(path: Path) -> subprocess.CompletedProcess[str]:
    script = ROOT / "benchmarks/scheduling_reference.py"
    return subprocess.run([sys.executable, str(script), str(path)], capture_output=True, text=True, timeout=300)


def test_reference_optima_through_the_benchmark(tmp_path: Path) -> None:
    cases = [case for case in json.loads(OPTIMA.read_text()) if "ilp_makespan" in case and case["n"] <= 12]
    path = tmp_path / "cases.json"
    path.write_text(json.dumps(cases))
    done = run(path)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len({line["case"] for line in lines}) == len(lines) == len(cases) == 28
    for line, case in zip(lines, cases, strict=True):
        assert line["makespan"] == pytest.approx(case["ilp_makespan"], rel=1e-3)
        assert line["bound"] <= case["ilp_makespan"] * (1 + 1e-9)
        assert line["status"] == "optimal"


@pytest.mark.parametrize(
    "damage", ["missing", "not json", "kind", "kind list", "negative", "edge", "cycle", "cores", "field"]
)
def test_a_bad_file_is_one_line_and_code_2(damage: str, tmp_path: Path) -> None:
    case = json.loads(OPTIMA.read_text())[0]
    if damage == "kind":
        case["nodes"]["ln"][0] = "GPU"
    elif damage == "kind list":
        case["nodes"]["ln"][0] = ["VC"]
    elif damage == "negative":
        case["nodes"]["ln"][1] = -1.0
    elif damage == "edge":
        case["edges"].append(["ln", "nowhere"])
    elif damage == "cycle":
        case["edges"].append(["ln2", "ln"])
    elif damage == "cores":
        case["num_tc"] = 0
    elif damage == "field":
        del case["num_vc"]
    path = tmp_path / "cases.json"
    if damage != "missing":
        path.write_text("{" if damage == "not json" else json.dumps([case]))
    done = run(path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "cases.json" in done.stderr


@pytest.mark.parametrize(("model", "width"), [("llama2-7b", 1), ("gpt3-175b", 8), ("bert-large", 1)])
def test_layers_of_real_models(model: str, width: int) -> None:
    kernels = kernels_of(tensor_parallel(load(model), width), 1, HBM3)
    for cores in ((1, 1), (16, 16), (16, 128)):
        chip = chips_from_rows(np.array([[cores[0], 128, 128, cores[1], 128, 2**23]]))
        lower, upper = kernels.lower_bounds(chip, HBM3), kernels.list_schedules(chip, HBM3)
        for index, layer in enumerate(kernels.schedules(chip, HBM3, partial(schedule, gap=0.0025))):
            for phase, low, high in (
                (layer.forward, lower.forward_s[index, 0], upper.forward_s[index, 0]),
                (layer.backward, lower.backward_s[index, 0], upper.backward_s[index, 0]),
            ):
                assert low * (1 - 1e-9) <= phase.schedule.bound_s <= phase.schedule.makespan_s <= high * (1 + 1e-9)
