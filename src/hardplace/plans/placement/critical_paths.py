"""Partitions bounded by critical paths through a schedule's fixed order (docs/model-placement.md, "Bounds")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from hardplace.cuts import Cut
from hardplace.ndtypes import Bools, Floats, Ints
from hardplace.plans.placement.stages import Stages
from hardplace.plans.plan import PipelineSchedule
from hardplace.plans.simulate import Pass, program

_PHASES = {phase: number for number, phase in enumerate(Pass)}
_OPEN = 1000  # beginnings of partitions that are followed at first
_SOME = 6  # partitions whose critical paths are added in a round
_AT_ONCE = 256  # those left that are all priced


@dataclass(frozen=True, slots=True, eq=False)
class StepPath:
    """A path through the passes of a step, of which each waits for the one before it.

    Attributes:
        passes: How often it has each pass, shape (forward, backward, weight gradient; stages; chunks).
        hops: Boundary tensors between them.
        last: The stage that it ends on.
    """

    passes: Floats
    hops: int
    last: int


class Effort(NamedTuple):
    """When a search by critical paths gives up.

    Attributes:
        rounds: How often some of the partitions that no path ends are simulated, at most.
        open: Beginnings of partitions that are followed at once, at most.
    """

    rounds: int
    open: int = _OPEN


class _SortedPasses(NamedTuple):
    """The passes of a step, sorted by how many others they come after at the least.

    Attributes:
        starts: First pass of each number, and the end.
        stages: Stage of each.
        kinds: Where its seconds stand among (phases, stages, chunks).
        inputs: The pass that makes its input, by its place here; -1: none.
        before: The pass that its stage runs before it; -1: none.
        hops: Whether its input comes from another stage, (passes, 1).
    """

    starts: list[int]
    stages: Ints
    kinds: Ints
    inputs: Ints
    before: Ints
    hops: Bools


@lru_cache(maxsize=32)
def _passes(stages: int, micro_batches: int, virtual: int, schedule: PipelineSchedule) -> _SortedPasses:
    made = program(stages, micro_batches, virtual, schedule)
    last, before, depth = [-1] * stages, list[int](), list[int]()
    for at, (stage, source) in enumerate(zip(made.stages, made.inputs, strict=True)):
        before.append(last[stage])
        last[stage] = at
        depth.append(1 + max(depth[one] if one >= 0 else -1 for one in (before[at], source)))
    order = np.argsort(depth, kind="stable")
    place = np.full(len(order) + 1, -1)
    place[order] = np.arange(len(order))
    kinds = [
        (_PHASES[one] * stages + at) * virtual + chunk
        for at, (one, _, chunk) in zip(made.stages, made.items, strict=True)
    ]
    return _SortedPasses(
        starts=[0, *np.cumsum(np.bincount(depth)).tolist()],
        stages=np.array(made.stages)[order],
        kinds=np.array(kinds)[order],
        inputs=place[np.array(made.inputs)[order]],
        before=place[np.array(before)[order]],
        hops=np.array(made.hops)[order][:, None],
    )


def critical_paths(
    seconds: Floats, hop_s: float, ends_s: Floats, micro_batches: int, schedule: PipelineSchedule
) -> tuple[Floats, list[StepPath]]:
    """Return of each plan the seconds of its step without the host's part, and a path that takes as long.

    Args:
        seconds: Seconds of one micro-batch, shape (forward, backward, weight gradient; stages; chunks; plans).
        hop_s: Seconds of a boundary tensor.
        ends_s: Seconds of each stage after its last pass, shape (stages, plans).
        micro_batches: Micro-batches of one replica.
        schedule: The schedule.
    """
    _, stages, virtual, plans = seconds.shape
    made = _passes(stages, micro_batches, virtual, schedule)
    took, hops_s = seconds.reshape(-1, plans)[made.kinds], made.hops * hop_s
    ends, waits = np.zeros((len(took) + 1, plans)), np.empty((len(took), plans), dtype=bool)
    for start, end in pairwise(made.starts):
        ready, free = ends[made.inputs[start:end]] + hops_s[start:end], ends[made.before[start:end]]
        np.greater(ready, free, out=waits[start:end])
        ends[start:end] = np.maximum(ready, free) + took[start:end]
    last = np.zeros(stages, dtype=np.int64)
    last[made.stages] = np.arange(len(took))
    found = []
    inputs, before, of_stage = made.inputs.tolist(), made.before.tolist(), made.stages.tolist()
    done = ends[last] + ends_s
    for plan, final in enumerate(done.argmax(axis=0).tolist()):
        waited, way, at, hops = waits[:, plan].tolist(), list[int](), int(last[final]), 0
        while at >= 0:
            way.append(at)
            at = inputs[at] if waited[at] else before[at]
            hops += at >= 0 and of_stage[at] != of_stage[way[-1]]
        passes = np.bincount(made.kinds[way], minlength=3 * stages * virtual).astype(np.float64)
        found.append(StepPath(passes.reshape(3, stages, virtual), hops, final))
    return done.max(axis=0), found


class PathBounds:
    """Lower bounds on a plan's partitions: no step is shorter than a path through its order of passes, nor than a mean
    of such paths, and the seconds of a path are a sum over the stages.

    Args:
        places: By place of the pipeline, all stages on its device.
        useful: By place, the pairs of cuts that a partition may have.
        ends_s: By place, the end of the step of those pairs, (pairs,).
        hop_s: Seconds of a boundary tensor.
        known: Paths of as many stages and micro-batches of the schedule; this adds to them.
    """

    def __init__(
        self,
        places: Sequence[Stages],
        useful: Sequence[Bools],
        ends_s: Sequence[Floats],
        hop_s: float,
        known: list[StepPath],
    ) -> None:
        self._hop_s, self._ends_s, self._cuts = hop_s, ends_s, useful[0].shape[0]
        self._pairs: list[tuple[Ints, Ints]] = []  # sorted by the cut before
        self._seconds: list[Floats] = []
        for one, pairs in zip(places, useful, strict=True):
            low, high = np.nonzero(pairs)
            self._pairs.append((low, high))
            self._seconds.append(one.seconds[:, :, one.at(low, high)])
        self._paths: dict[tuple[bytes, int], list[Floats]] = {}  # seconds on the pairs, by place
        self._known = known
        for path in known:
            self._add(path)

    def _add(self, path: StepPath) -> bool:
        """Add a path; returns whether it is a new one."""
        key = (path.passes.tobytes(), path.last)
        if key in self._paths:
            return False
        values = [np.tensordot(path.passes[:, at], one, axes=2) for at, one in enumerate(self._seconds)]
        values[path.last] = values[path.last] + self._ends_s[path.last]
        values[0] = values[0] + path.hops * self._hop_s
        self._paths[key] = values
        return True

    def _to_go(self, values: Sequence[Floats]) -> list[Floats]:
        """Return, by place, the least seconds over all ways to cut what comes after each cut."""
        found = [np.full(self._cuts, np.inf)]
        found[0][-1] = 0.0
        for (low, high), value in zip(reversed(self._pairs), reversed(values), strict=True):
            here = np.full(self._cuts, np.inf)
            np.minimum.at(here, low, value + found[-1][high])
            found.append(here)
        return found[::-1]

    def fastest(
        self, run: Callable[[Sequence[Cut]], tuple[Floats, list[StepPath]]], first: Cut, limit_s: float, effort: Effort
    ) -> tuple[list[Cut], bool]:
        """Return partitions among which is the fastest below a limit, and whether that is proven.

        Args:
            run: Simulates partitions: their seconds, and a path of each that takes as long.
            first: A partition to begin with.
            limit_s: Seconds of a step without the host's part.
            effort: When to give up.
        """
        found: dict[Cut, float] = {}

        def add(cuts: Sequence[Cut]) -> bool:
            seconds, paths = run(cuts)
            found.update(zip(cuts, seconds.tolist(), strict=True))
            new = [path for path in paths if self._add(path)]
            self._known += new
            return bool(new)

        add([first])
        most = _OPEN
        for _ in range(effort.rounds):
            left, whole = self.below(min(limit_s, *found.values()), most)
            fresh = [cut for cut in map(tuple, left.tolist()) if cut not in found]
            if whole and len(fresh) <= _AT_ONCE:
                return [*found, *fresh], True
            if not fresh or not add([fresh[one] for one in np.linspace(0, len(fresh) - 1, _SOME).astype(int)]):
                most *= 4
                if most > effort.open:
                    break
        return list(found), False

    def below(self, limit_s: float, most: int) -> tuple[Ints, bool]:
        """Return the partitions of which no path, nor their mean, takes as long as a limit, as the cuts after their
        stages, (partitions, stages), the least first, and whether these are all.

        Stage by stage, each beginning is followed while every path, with the least that is left of it, stays below the
        limit. Of too many only those with the least bound are.

        Args:
            limit_s: Seconds of a step without the host's part.
            most: Beginnings that are followed.
        """
        paths = list(self._paths.values())
        rows = [*paths, [np.mean(place, axis=0) for place in zip(*paths, strict=True)]]
        to_go = [self._to_go(one) for one in rows]
        cut, sums, past = np.zeros(1, dtype=np.int64), np.zeros((len(rows), 1)), np.zeros((0, 1), dtype=np.int64)
        whole = True
        for place, (low, high) in enumerate(self._pairs):
            start = np.searchsorted(low, cut)
            count = np.searchsorted(low, cut, side="right") - start
            which = np.repeat(np.arange(len(cut)), count)
            pair = np.arange(len(which)) + np.repeat(start - np.cumsum(count) + count, count)
            sums = sums[:, which] + np.array([one[place] for one in rows])[:, pair]
            bound = (sums + np.array([one[place + 1] for one in to_go])[:, high[pair]]).max(axis=0)
            kept = np.flatnonzero(bound < limit_s)
            kept = kept[np.argsort(bound[kept], kind="stable")]
            whole, kept = whole and len(kept) <= most, kept[:most]
            cut, sums = high[pair[kept]], sums[:, kept]
            past = np.concatenate([past[:, which[kept]], cut[None]])
        return past.T, whole
