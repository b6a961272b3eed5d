"""What is known of a partition problem before its programme runs, by hand; and what the end of a batch decides."""

from dataclasses import replace

import pytest

from hardplace.design.partition.cases import cases_of
from hardplace.design.partition.programme import place
from hardplace.design.partition.types import PipelinePartition
from oracles_placement import best_s
from placement_problems import LAYER, problem_of, replicas

LONG = replace(LAYER, forward_s=2.0, backward_s=4.0)
CHAIN = ((0, 1), (1, 2))


def test_least_seconds_by_number_of_stages_by_hand() -> None:
    """Layers of 3, 3 and 6 s: (mean or longest) x (rounds + stages - 1), and no more stages are below fewer ones."""
    problem = problem_of((LAYER, LAYER, LONG), CHAIN, (1, 2))
    (case,) = cases_of(problem)
    assert case.rounds.tolist() == [8.0, 4.0]
    assert case.most_stages == 3
    # 1 and 2 stages have four devices for two replicas (4 rounds), 3 stages for one (8 rounds)
    assert case.optimistic_s.tolist() == [6.0 * 5, 6.0 * 5, 6.0 * 10]
    (alone,) = cases_of(replace(problem, devices=2))
    assert alone.most_stages == 2
    assert alone.optimistic_s.tolist() == [12.0 * 4, 6.0 * 9]
    (short,) = cases_of(replace(problem, max_stages=1))
    assert short.optimistic_s.tolist() == [12.0 * 4]


def test_stages_that_are_all_tensor_parallel_take_a_group_each() -> None:
    wide = replace(LAYER, tensor_parallel=True)
    problem = problem_of((wide,) * 3, CHAIN, (1, 2), devices=5)
    (one,) = problem.variants
    (case,) = cases_of(replace(problem, variants=(replace(one, tensor_parallel=2),)))
    assert (case.least_devices, case.most_stages, case.groups) == (2, 2, (1,))
    assert case.optimistic_s.tolist() == [9.0 * 4, 4.5 * 9]
    mixed = replace(one, tensor_parallel=2, layers=(wide, LAYER, wide))
    (case,) = cases_of(replace(problem, variants=(mixed,)))
    assert (case.least_devices, case.most_stages, case.groups) == (1, 3, (0, 1))


@pytest.mark.parametrize("gradient_bytes", [1.0, 3.0, 10.0, 100.0])
def test_replicas_whose_reduction_is_too_long_hide_no_fewer_ones(gradient_bytes: float) -> None:
    """Four replicas have the least load, so they come first; with their reduction they are beyond what is known, and
    two, which reduce nothing, are the best."""
    layers = (replace(LAYER, gradient_bytes=gradient_bytes),) * 2
    problem = problem_of(layers, ((0, 1),), (1, 2, 4), devices=8, max_stages=2)
    (one,) = problem.variants
    dear = replace(replicas(4), reduction_s_per_byte=1.0)
    problem = replace(problem, variants=(replace(one, replications=(replicas(1), replicas(2), dear)),))
    found = place(problem)
    assert isinstance(found, PipelinePartition)
    assert found.batch_s == pytest.approx(best_s(problem), rel=1e-12)
    assert (found.data_parallel, len(found.stages)) == ((4, 2) if gradient_bytes < 6.0 else (2, 2))
