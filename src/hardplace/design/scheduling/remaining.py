"""What is left to do after a partial schedule: bounds on it, and what compares two (docs/model-scheduling.md)."""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.cost.types import Engine
from hardplace.design.scheduling.bounds import energy, least_tails, weights
from hardplace.design.scheduling.expand import Expansion, PartialSchedule
from hardplace.design.scheduling.modes import OFF_CHIP

Key = tuple[float, ...]
_Class = tuple[Engine, int, int]  # an engine, and the least tensor and vector cores that a task takes


@dataclass(frozen=True, slots=True)
class _Rest:
    """What is left after some tasks: which may start, which have a predecessor done, and bounds for all."""

    soon: list[int]
    reached: list[int]
    tails: list[float]  # the longest of each class
    energies: list[tuple[float, float, float]]  # weight of tensor cores, of vector cores, seconds
    off_chip: list[float]
    fused: bool


class Remaining:
    """Bounds of what is left, kept for each set of tasks done."""

    def __init__(self, expansion: Expansion) -> None:
        self._expansion = expansion
        problem, every = expansion.problem, expansion.every
        graph = problem.graph
        self._cores = expansion.cores
        self._tails = least_tails(every)[:, 0].tolist()
        shares = weights(every)
        self._weights = shares[:, 0].tolist()
        self._energies = [energy(every, weight)[:, 0] for weight in shares]
        self._off_chip = [
            [seconds if engine is one else 0.0 for engine, seconds in zip(graph.engines, problem.whole_s, strict=True)]
            for one in OFF_CHIP
        ]
        self._before = [sum(1 << other for other in before) for before in graph.predecessors]
        # Tasks that need the same engine and at least the same numbers of cores start alike.
        needs: list[_Class] = [
            (
                engine,
                min((mode.counts[0] for mode in modes), default=0),
                min((mode.counts[1] for mode in modes), default=0),
            )
            for engine, modes in zip(graph.engines, expansion.modes, strict=True)
        ]
        self._classes: list[_Class] = list(dict.fromkeys(needs))
        self._class = [self._classes.index(one) for one in needs]
        self._rests: dict[int, _Rest] = {}

    def look(self, partial: PartialSchedule, limit_s: float) -> tuple[Key, float]:
        """Return what is compared between partial schedules of the same tasks, and a bound on the makespan.

        Nothing to compare where the bound reaches the limit.
        """
        rest, ready = self._rest(partial.done), partial.ready
        # Nothing can start before this, so that it does not matter what is free earlier.
        now = max(partial.last, min([ready[task] for task in rest.soon]))
        tensor, vector = (sorted([free if free > now else now for free in row]) for row in partial.rows)
        off_chip = [max(now, free) for free in partial.off_chip]
        lower = max(partial.end, off_chip[0] + rest.off_chip[0], off_chip[1] + rest.off_chip[1])
        means = (_mean(tensor, self._cores[0]), _mean(vector, self._cores[1]))
        for tensor_share, vector_share, energy_s in rest.energies:
            lower = max(lower, tensor_share * means[0] + vector_share * means[1] + energy_s)
        if lower >= limit_s:
            return (), lower
        first = [self._first_start(one, tensor, vector, off_chip) for one in self._classes]
        lower = max([lower] + [start + tail for start, tail in zip(first, rest.tails, strict=True) if tail])
        reached = [ready[task] if ready[task] > now else now for task in rest.reached]
        for task, start in zip(rest.reached, reached, strict=True):
            lower = max(lower, max(start, first[self._class[task]]) + self._tails[task])
        if lower >= limit_s:
            return (), lower
        free_at: list[float] = tensor + vector
        if rest.fused:
            rows = [[max(now, free) for free in row] for row in partial.rows]
            shared = min(len(tensor), len(vector))
            pairs = sorted(zip(*rows, strict=False))
            free_at = [one for pair in pairs for one in pair] + sorted(rows[0][shared:]) + sorted(rows[1][shared:])
        return (now, *off_chip, *free_at, *reached), lower

    def _rest(self, done: int) -> _Rest:
        """Return what is left to do after these tasks."""
        if done not in self._rests:
            left = [task for task in range(self._expansion.size) if not done >> task & 1]
            tails = [0.0] * len(self._classes)
            for task in left:
                tails[self._class[task]] = max(tails[self._class[task]], self._tails[task])
            self._rests[done] = _Rest(
                soon=[task for task in left if not self._expansion.needs[task] & ~done],
                reached=[task for task in left if self._before[task] & done],
                tails=tails,
                energies=[
                    (weight, 1.0 - weight, float(energy[left].sum()))
                    for weight, energy in zip(self._weights, self._energies, strict=True)
                ],
                off_chip=[sum(seconds[task] for task in left) for seconds in self._off_chip],
                fused=bool(self._expansion.fused & ~done),
            )
        return self._rests[done]

    def _first_start(self, one: _Class, tensor: list[float], vector: list[float], off_chip: list[float]) -> float:
        """Return when a task of some class can start at the earliest, by its engine; cores in order of time."""
        engine, on_tensor, on_vector = one
        if engine in OFF_CHIP:
            return off_chip[OFF_CHIP.index(engine)]
        start = 0.0
        if on_tensor:
            start = tensor[min(on_tensor, len(tensor)) - 1]
        if on_vector:
            start = max(start, vector[min(on_vector, len(vector)) - 1])
        return start


def _mean(free: list[float], cores: int) -> float:
    """Return when cores are free on average, given in order; those beyond the list are free as early as its first."""
    return (sum(free) + (cores - len(free)) * free[0]) / cores
