"""Partitions below a limit against all of them."""

from itertools import product

import numpy as np
import pytest

from hardplace.cuts import bottleneck


@pytest.mark.parametrize("seed", range(12))
def test_partitions_below_a_limit_are_all_there_are_and_the_most_promising_is_first(seed):
    draw = np.random.default_rng(seed)
    cuts, stages = int(draw.integers(2, 7)), int(draw.integers(1, 5))
    later = np.triu(np.ones((cuts, cuts), dtype=bool), 1)
    costs = [np.where(later, draw.integers(1, 6, (cuts, cuts)), np.inf) for _ in range(stages)]

    def largest(cut):
        return max(cost[a, b] for cost, a, b in zip(costs, (0, *cut), cut, strict=False))

    every = {cut: largest(cut) for cut in product(range(cuts), repeat=stages) if cut[-1] == cuts - 1}
    found = bottleneck(costs)
    assert found.least == min(every.values())
    for limit in (1.0, 3.0, 4.5, np.inf):
        below = list(found.below(limit))
        assert len(set(below)) == len(below) == found.count_below(limit)
        assert set(below) == {cut for cut, value in every.items() if value < limit}
        assert not below or every[below[0]] == found.least
