"""Which cores a task may take, those alike only once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

Cores = tuple[tuple[int, ...], tuple[int, ...]]  # of tensor cores and of vector cores, by index


def choices(
    tensor: Sequence[float], vector: Sequence[float], counts: tuple[int, int], ready: float, *, paired: bool
) -> Iterator[tuple[Cores, float]]:
    """Yield cores for a task that takes counts of them, with when they are free.

    tensor, vector: when each core is free. A task of both kinds takes the cores of the same indices. paired: whether
    such a task is still to come, so that it matters which cores are left together; else one choice is enough. First
    the cores that are free in time, those that became free last. There may be very many choices.
    """
    if counts[0] and counts[1]:
        rows = [max(pair) for pair in zip(tensor, vector, strict=False)]
    else:
        rows = list(tensor if counts[0] else vector)
    count = max(counts)
    if not paired and not (counts[0] and counts[1]):
        # The last to become free of those free in time, else the first to: any other choice can be exchanged for it.
        start = max(ready, sorted(rows)[count - 1])
        chosen = sorted((core for core in range(len(rows)) if rows[core] <= start), key=lambda core: -rows[core])
        taken = tuple(sorted(chosen[:count]))
        yield _by_kind(taken, counts), max(rows[core] for core in taken)
        return
    groups: dict[tuple[float, float], list[int]] = {}
    for core in range(len(rows)):
        key = (tensor[core] if core < len(tensor) else -1.0, vector[core] if core < len(vector) else -1.0)
        groups.setdefault(key, []).append(core)
    # Latest first among those free in time; then those that are free first.
    ranked = sorted(groups.values(), key=lambda group: (rows[group[0]] > ready, abs(ready - rows[group[0]])))
    for taken in _subsets(ranked, count):
        yield _by_kind(taken, counts), max(rows[core] for core in taken)


def _by_kind(taken: tuple[int, ...], counts: tuple[int, int]) -> Cores:
    return taken if counts[0] else (), taken if counts[1] else ()


def _subsets(groups: list[list[int]], count: int) -> Iterator[tuple[int, ...]]:
    """Yield the ways to take so many cores from groups of cores that are alike."""
    if count == 0:
        yield ()
        return
    if sum(map(len, groups)) < count:
        return
    for here in range(min(count, len(groups[0])), -1, -1):
        for rest in _subsets(groups[1:], count - here):
            yield (*groups[0][:here], *rest)
