"""Repeated structure of a sequence of layers: runs, and runs of alternating layers, each written once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedRun:
    """A stretch of an order: `pattern` (indices of layers), `count` times in a row, from position `start` on."""

    start: int
    pattern: tuple[int, ...]
    count: int


def runs(order: Sequence[int]) -> tuple[RepeatedRun, ...]:
    """Return an order as runs, left to right; each takes the pattern that covers most, of these the shortest.

    >>> [(run.pattern, run.count) for run in runs([0, 1, 2, 1, 2, 1, 2, 3, 3])]
    [((0,), 1), ((1, 2), 3), ((3,), 2)]
    """
    found: list[RepeatedRun] = []
    start = 0
    while start < len(order):
        length, count = 1, 1
        for period in range(1, (len(order) - start) // 2 + 1):
            times = _times(order, start, period)
            if times > 1 and times * period > length * count:
                length, count = period, times
        found.append(RepeatedRun(start=start, pattern=tuple(order[start : start + length]), count=count))
        start += length * count
    return tuple(found)


def _times(order: Sequence[int], start: int, period: int) -> int:
    """Return how often the `period` layers from `start` on stand there in a row."""
    end = start + period
    while end < len(order) and order[end] == order[end - period]:
        end += 1
    return (end - start) // period


def order_text(order: Sequence[int], name: Callable[[int], str]) -> str:
    """Return an order in words, repeated stretches folded, within them again.

    >>> order_text([0, 1, 1, 2, 1, 1, 2, 3], "abcd".__getitem__)
    'a | 2 x (2 x b | c) | d'
    """
    parts = []
    for run in runs(order):
        inner = name(run.pattern[0]) if len(run.pattern) == 1 else f"({order_text(run.pattern, name)})"
        parts.append(inner if run.count == 1 else f"{run.count} x {inner}")
    return " | ".join(parts)
