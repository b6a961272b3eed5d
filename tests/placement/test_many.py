"""Least bottlenecks on many chips at once against brute force, one chip at a time."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardplace.placement.many import least_bottlenecks
from hardplace.placement.types import PlacementProblem
from oracles_placement import load_s, memory_bytes, partitions
from strategies import problems


@settings(max_examples=120, deadline=None)
@given(problems(chain=False), st.integers(0, 10**6))
def test_least_bottlenecks_equal_brute_force(problem: PlacementProblem, seed: int) -> None:
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
            order = [(stage, len(stages) - index) for index, stage in enumerate(stages)]
            if all(memory_bytes(problem, timed, one, stage, s) <= problem.memory_bytes for stage, s in order):
                load = max(load_s(problem, timed, one, stage, s) for stage, s in order)
                best[len(stages) - 1] = min(best[len(stages) - 1], load)
        assert found[:, chip].tolist() == pytest.approx(best, rel=1e-9)
