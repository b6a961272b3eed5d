"""The front of what was reached, by its definition."""

import math

import numpy as np
import pytest

from hardplace.branch_and_bound.front import Front


def drawn(seed: int) -> tuple[Front[int], list[tuple[float, ...]], np.random.Generator]:
    """Return a front of points with one to three scores, some of them 0, and all that was offered to it."""
    draw = np.random.default_rng(seed)
    scores = draw.integers(0, 5, (int(draw.integers(1, 9)), int(draw.integers(1, 4)))).astype(float)
    offered = [tuple(row) for row in scores.tolist()]
    front: Front[int] = Front()
    for number, one in enumerate(offered):
        front.offer(one, number)
    return front, offered, draw


def covers(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("seed", range(30))
def test_a_front_holds_what_no_other_point_is_at_least_as_good_as(seed: int) -> None:
    front, offered, _ = drawn(seed)
    kept = [one for one, _ in front.points]
    assert all(any(covers(one, other) for one in kept) for other in offered)
    assert not any(covers(one, other) for one in kept for other in kept if one is not other)
    assert all(offered[number] == one for one, number in front.points)
    assert front.best == max(one[0] for one in offered)


@pytest.mark.parametrize("seed", range(30))
def test_an_excess_is_the_least_share_by_which_a_point_must_grow(seed: int) -> None:
    front, offered, draw = drawn(seed)
    columns = draw.integers(0, 9, (len(offered[0]), 6)).astype(float)
    found = front.excesses(columns)
    for column, excess in zip(columns.T.tolist(), found.tolist(), strict=True):
        one = tuple(column)
        assert front.excess(one) == excess
        grown = [tuple(value * (1.0 + excess + 1e-9) for value in point) for point, _ in front.points]
        assert any(covers(point, one) for point in grown) == math.isfinite(excess)
        less = [tuple(value * (1.0 + excess - 1e-6) for value in point) for point, _ in front.points]
        assert not math.isfinite(excess) or excess == -1.0 or not any(covers(point, one) for point in less)


def test_nothing_reached_is_exceeded_by_all() -> None:
    front: Front[int] = Front()
    assert front.excess((1.0,)) == math.inf
    assert front.excesses(np.ones((1, 2))).tolist() == [math.inf] * 2
    assert front.best == 0.0
