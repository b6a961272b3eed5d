"""Graphs through host memory against the released optima, and every split of small ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hardplace.files import read_json
from hardplace.graph_split.downset_programme import ordered_split
from hardplace.graph_split.latency_model import least_latency
from hardplace.graph_split.load_model import LoadShortage, LoadSplit, fractional_bound, least_load
from hardplace.graph_split.staged import HOST, SplitShape, StagedProblem, read_staged
from oracles_split import in_a_line, staged_graph, staged_splits

DATA = Path(__file__).parent / "data"
MAX_LOAD = sorted(path.name for path in DATA.glob("max_load_*.json.gz"))


def reference(name: str) -> Any:
    return read_json(DATA / name)["reference"]


def devices_of(problem: StagedProblem, name: str, split: dict[str, list[list[int]]], *, host: bool) -> list[int]:
    ids = [node[0] for node in read_json(DATA / name)["nodes"]]
    where = {}
    for device, part in enumerate(split["accelerators"]):
        where |= dict.fromkeys(part, device)
    for core, part in enumerate(split["cpus"]):
        where |= dict.fromkeys(part, HOST if host else problem.accelerators + core)
    return [where[one] for one in ids]


@pytest.mark.parametrize("name", MAX_LOAD)
def test_released_splits_cost_what_the_release_says(name: str) -> None:
    problem = read_staged(DATA / name)
    for found in reference(name).values():
        for one in found if isinstance(found, list) else [found]:
            if "split" in one and one.get("fits_memory", True):
                devices = devices_of(problem, name, one["split"], host=False)
                assert problem.check(devices) is None
                assert problem.max_load(devices) == pytest.approx(one["value"], rel=2e-6)


@pytest.mark.parametrize("name", [one for one in MAX_LOAD if "gnmt" not in one])
def test_the_least_load_in_a_line_is_the_released_optimum(name: str) -> None:
    problem, known = read_staged(DATA / name), reference(name)
    found = ordered_split(problem)
    assert found is not None
    assert found.exact
    assert problem.check(found.devices) is None
    assert problem.max_load(found.devices) == found.load
    if "dynamic_programme" in known:
        assert found.load == pytest.approx(known["dynamic_programme"]["value"], rel=1e-6)
    else:  # not finished by the release in 15 minutes: no worse than its best, on a linear order
        assert found.load <= known["baselines"]["dynamic_programme_on_a_linear_order"] * (1 + 1e-6)


def test_too_many_downsets_are_proven_by_the_constraint_model() -> None:
    name = "max_load_layer_gnmt_inference.json.gz"
    found = least_load(read_staged(DATA / name), SplitShape.ORDERED, limit_s=60)
    assert isinstance(found, LoadSplit)
    assert found.load == pytest.approx(reference(name)["dynamic_programme"]["value"], rel=1e-6)
    assert found.proven


def test_a_split_of_any_shape_of_bert_3_is_proven() -> None:
    problem = read_staged(DATA / "max_load_operator_bert_l-3_inference.json.gz")
    found = least_load(problem, SplitShape.ANY, limit_s=60)
    assert isinstance(found, LoadSplit)
    assert problem.check(found.devices) is None
    assert found.load == pytest.approx(21.9084174, rel=1e-5)
    assert found.proven


@pytest.mark.parametrize("name", sorted(path.name for path in DATA.glob("latency_*.json.gz")))
def test_released_splits_take_the_latency_that_the_release_says(name: str) -> None:
    problem = read_staged(DATA / name)
    checked = 0
    for found in reference(name).values():
        for one in found if isinstance(found, list) else [found]:
            if "split" in one:
                devices = devices_of(problem, name, one["split"], host=True)
                checked += 1
                wider = replace(
                    problem, accelerators=len(one["split"]["accelerators"])
                )  # the experts take more of them
                assert wider.latency(devices) == pytest.approx(one["value"], rel=1e-5)  # printed to six digits
    assert checked


@pytest.mark.parametrize("seed", [*range(24), 1165, 1369])  # the last: cores that are full to the last bit
def test_every_split_of_a_small_graph(seed: int) -> None:
    problem = staged_graph(seed, training=seed % 2 == 1)
    splits = list(staged_splits(problem, host=False))
    wanted = {
        SplitShape.ORDERED: [one for one in splits if in_a_line(problem, one)],
        SplitShape.CONVEX: [one for one in splits if problem.convex(one)],
        SplitShape.ANY: splits,
    }
    for shape, allowed in wanted.items():
        found = least_load(problem, shape, limit_s=20)
        if not allowed:
            assert found == LoadShortage(proven=True)
            continue
        assert isinstance(found, LoadSplit)
        assert problem.check(found.devices) is None
        assert found.load == pytest.approx(min(map(problem.max_load, allowed)), abs=1e-9)
        assert fractional_bound(problem) <= found.bound * (1 + 1e-9) + 1e-9
        assert found.proven


@pytest.mark.parametrize("seed", range(100, 112))
def test_every_latency_of_a_small_graph(seed: int) -> None:
    problem = staged_graph(seed)
    best = min(map(problem.latency, staged_splits(problem, host=True)))
    found = least_latency(problem, limit_s=10)
    assert problem.check(found.devices) is None
    assert found.latency == problem.latency(found.devices) == pytest.approx(best, abs=1e-9)
    assert found.bound == pytest.approx(best, rel=1e-5)
