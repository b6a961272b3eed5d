"""The placement programme against brute force, and its properties."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardplace.answers import Infeasible
from hardplace.design.partition.memory_needs import feasible_shapes, shortage
from hardplace.design.partition.programme import place
from hardplace.design.partition.types import PartitionProblem, PipelinePartition
from hardplace.errors import BadInput
from oracles_placement import best_s, devices, fits, load_s, memory_bytes, partitions
from placement_problems import LAYER, problem_of
from strategies import problems


def seconds(problem: PartitionProblem) -> float:
    found = place(problem)
    return found.batch_s if isinstance(found, PipelinePartition) else math.inf


@settings(max_examples=300, deadline=None)
@given(problems())
def test_chains_equal_brute_force(problem: PartitionProblem) -> None:
    assert seconds(problem) == pytest.approx(best_s(problem), rel=1e-12)


@settings(max_examples=150, deadline=None)
@given(problems(chain=False))
def test_graphs_equal_brute_force(problem: PartitionProblem) -> None:
    assert seconds(problem) == pytest.approx(best_s(problem), rel=1e-12)


@settings(max_examples=150, deadline=None)
@given(problems(chain=False))
def test_a_placement_is_what_it_says(problem: PartitionProblem) -> None:
    found = place(problem)
    if not isinstance(found, PipelinePartition):
        return
    variant = next(one for one in problem.variants if one.tensor_parallel == found.tensor_parallel)
    one = next(one for one in variant.replications if one.data_parallel == found.data_parallel)
    stages = [frozenset(stage.layers) for stage in found.stages]
    assert stages in list(partitions(variant))
    for index, stage in enumerate(found.stages):
        s = len(stages) - index
        assert stage.load_s == pytest.approx(load_s(problem, variant, one, stages[index], s))
        assert stage.memory_bytes == pytest.approx(memory_bytes(problem, variant, one, stages[index], s))
        assert stage.devices == devices(variant, stages[index])
        assert stage.memory_bytes == pytest.approx(stage.state_bytes + stage.activation_bytes)
    assert found.devices <= problem.devices


@settings(max_examples=100, deadline=None)
@given(problems(), st.floats(0.5, 1.5))
def test_a_cutoff_hides_only_what_is_not_better(problem: PartitionProblem, share: float) -> None:
    best = best_s(problem)
    found = place(problem, cutoff_s=best * share if math.isfinite(best) else 1000.0)
    if not math.isfinite(best):
        assert isinstance(found, Infeasible)
    elif share > 1.001:
        assert isinstance(found, PipelinePartition)
        assert found.batch_s == pytest.approx(best, rel=1e-12)
    elif share < 0.999:
        assert found is None


@settings(max_examples=100, deadline=None)
@given(problems())
def test_feasible_shapes_are_those_that_some_partition_fits(problem: PartitionProblem) -> None:
    flags = {layer.tensor_parallel for variant in problem.variants for layer in variant.layers}
    if len(flags) > 1:
        return
    expected = set()
    for variant in problem.variants:
        for one in variant.replications:
            for stages in partitions(variant):
                enough = one.data_parallel * sum(devices(variant, stage) for stage in stages) <= problem.devices
                divides = not (problem.divisible and problem.micro_batches % one.data_parallel)
                few = problem.max_stages is None or len(stages) <= problem.max_stages
                if fits(problem, variant, one, stages) and enough and divides and few:
                    expected.add((one, len(stages)))
    assert set(feasible_shapes(problem)) == expected


@settings(max_examples=100, deadline=None)
@given(problems())
def test_more_is_never_slower(problem: PartitionProblem) -> None:
    best = seconds(problem)
    assert seconds(replace(problem, memory_bytes=2 * problem.memory_bytes)) <= best
    assert seconds(replace(problem, devices=problem.devices + 5)) <= best


def test_what_is_short_is_the_least_that_would_do() -> None:
    layer = replace(LAYER, gradient_bytes=10.0, state_bytes=100.0, sharded_state_bytes=40.0, activation_bytes=30.0)
    problem = problem_of((layer, layer), ((0, 1),), (4,), devices=8, micro_batches=4)
    # Two stages: the first has states 100 + 40/4, its own activations, and those of one more micro-batch.
    short = place(problem)
    assert isinstance(short, Infeasible)
    assert (short.needed, short.available, short.unit) == (170.0, 100.0, "bytes")
    assert "recompute" in short.remedy
    assert isinstance(place(replace(problem, memory_bytes=170.0)), PipelinePartition)
    assert shortage(replace(problem, devices=3)).what == "devices"


def test_a_cyclic_graph_is_refused() -> None:
    with pytest.raises(BadInput, match="cycle"):
        place(problem_of((LAYER, LAYER), ((0, 1), (1, 0)), ()))
