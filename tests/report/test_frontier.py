from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hardplace.report.frontier import frontier, thin

POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=40)


def columns(points: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(points, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


@given(POINTS)
def test_frontier_equals_brute_force(points: list[tuple[int, int]]) -> None:
    cost, value = columns(points)
    found = frontier(cost, value)
    expected = {
        (c, v)
        for c, v in points
        if not any((d < c and w >= v) or (d == c and w > v) for d, w in points)
    }  # fmt: skip
    assert [(cost[index], value[index]) for index in found] == sorted(expected)


def test_points_that_are_not_finite_are_not_on_the_frontier() -> None:
    cost, value = np.array([1.0, 2.0, 3.0, np.inf]), np.array([np.nan, 5.0, np.inf, 9.0])
    assert frontier(cost, value).tolist() == [1]


@given(POINTS, st.integers(1, 30))
def test_thinning_keeps_the_frontier_and_the_limit(points: list[tuple[int, int]], limit: int) -> None:
    cost, value = columns(points)
    keep = frontier(cost, value)
    found = thin(cost, value, limit, keep)
    assert len(set(found.tolist())) == len(found) <= max(limit, len(keep))
    assert set(keep.tolist()) <= set(found.tolist())


def test_few_points_are_all_drawn() -> None:
    cost, value = columns([(1, 1), (2, 1), (2, 1)])
    assert thin(cost, value, 3, frontier(cost, value)).tolist() == [0, 1, 2]
