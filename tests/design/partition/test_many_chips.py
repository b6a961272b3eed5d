"""Least bottlenecks on many chips at once against brute force, one chip at a time."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardplace.design.partition.many_chips import least_bottlenecks
from hardplace.design.partition.types import PartitionProblem
from oracles_placement import batch_s, fits, partitions, slowest_s
from placement_problems import LAYER, problem_of
from strategies import problems


@settings(max_examples=120, deadline=None)
@given(problems(chain=False), st.integers(0, 10**6))
def test_least_bottlenecks_equal_brute_force(problem: PartitionProblem, seed: int) -> None:
    variant = problem.variants[0]
    one = replace(variant.replications[0], data_parallel=1)
    variant = replace(variant, replications=(one,))
    problem = replace(problem, variants=(variant,), devices=1000, max_stages=None)
    random = np.random.default_rng(seed)
    count, chips = len(variant.layers), 3
    forward, backward = random.uniform(0, 9, (count, chips)), random.uniform(1, 9, (count, chips))
    found = least_bottlenecks(problem, forward, backward, count)
    assert found.shape == (count, chips)
    for chip in range(chips):
        layers = tuple(
            replace(layer, forward_s=float(forward[index, chip]), backward_s=float(backward[index, chip]))
            for index, layer in enumerate(variant.layers)
        )
        timed = replace(variant, layers=layers)
        best = [math.inf] * count
        for stages in partitions(timed):
            if fits(problem, timed, one, stages):
                best[len(stages) - 1] = min(best[len(stages) - 1], slowest_s(problem, timed, one, stages))
        assert found[:, chip].tolist() == pytest.approx(best, rel=1e-9)


def exceeded(problem: PartitionProblem) -> list[tuple[int, int]]:
    """Return (data-parallel degree, stages) of the possible plans whose slowest stage is below the bound."""
    (variant,) = problem.variants
    times = (
        np.array([[one.forward_s] for one in variant.layers]),
        np.array([[one.backward_s] for one in variant.layers]),
    )
    bound_s = least_bottlenecks(problem, *times, len(variant.layers))[:, 0]
    return [
        (one.data_parallel, len(stages))
        for one in variant.replications
        for stages in partitions(variant)
        if math.isfinite(batch_s(problem, variant, one, stages))
        and slowest_s(problem, variant, one, stages) < bound_s[len(stages) - 1] * (1 - 1e-9)
    ]


@settings(max_examples=120, deadline=None)
@given(problems(chain=False))
def test_no_possible_plan_of_any_replication_is_below_the_bound(problem: PartitionProblem) -> None:
    (variant, *_) = problem.variants
    # Transfers between stages cost the same whatever the replication, as everywhere in the search.
    links = {"boundary_s_per_byte": 0.25, "boundary_latency_s": 0.5}
    alike = tuple(replace(one, **links) for one in variant.replications)
    assert exceeded(replace(problem, variants=(replace(variant, replications=alike),))) == []


def test_the_replication_that_shards_most_does_not_limit_the_stages_of_others() -> None:
    layer = replace(LAYER, gradient_bytes=1.0, state_bytes=1.0, sharded_state_bytes=4.0, activation_bytes=1.0)
    # Four replicas leave one stage to each, one replica may have four.
    problem = problem_of((layer,) * 4, (), (1, 4))
    times = np.full((4, 1), 1.0), np.full((4, 1), 2.0)
    assert least_bottlenecks(problem, *times, 4)[:, 0].tolist() == [12.0, 6.0, 6.0, 3.0]
    assert exceeded(problem) == []
