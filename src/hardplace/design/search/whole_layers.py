"""What the fullest stage holds at least when stages hold whole layers and fit the memory, before any chip is known.

Proof in docs/model.md, section 7, "Whole layers in the memory".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hardplace.design.exact.layer_kernels import LayerTimes
from hardplace.design.partition.cases import PartitionCase, cases_of
from hardplace.design.partition.types import PartitionProblem
from hardplace.ndtypes import Floats, Ints

MOST_STAGES = 32  # for more, and for graphs with more downsets, the other bounds stand alone
_MOST_DOWNSETS = 200
_RATIOS = (0.25, 0.5, 1.0, 1.5, 2.5)  # seconds of the last layer over those of the most frequent one
_SHARES = (0.25, 0.3, 0.33)  # of the forward pass in a layer's seconds, where stages recompute


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Weights of the distinct layers, under each of which the fullest stage is known: columns.

    Attributes:
        of: Weight of each distinct layer, shape (columns, layers).
        share: Of a layer's weight, what every stage but the last has once more; 0 without recompute, (columns,).
    """

    of: Floats
    share: Floats

    def take(self, columns: Ints) -> Weights:
        """Return some of the columns."""
        return Weights(of=self.of[columns], share=self.share[columns])

    def seconds(self, times: LayerTimes) -> Floats:
        """Return the most seconds a unit that no layer falls below on each chip, shape (columns, chips).

        0 where a layer's forward pass is less of it than the column's share.
        """
        both = times.forward_s + times.backward_s
        counted = self.of[:, :, None] > 0.0
        least = np.divide(
            both, self.of[:, :, None], out=np.full((*self.of.shape, both.shape[1]), np.inf), where=counted
        )
        enough = ((times.forward_s >= self.share[:, None, None] * both) | ~counted).all(axis=1)
        return np.where(enough, least.min(axis=1), 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class FullestStages:
    """The least weight of the fullest stage of any partition that fits, of each plan of a family.

    Attributes:
        weights: The weights.
        least: Shape (plans, columns); 0 where it is not known.
    """

    weights: Weights
    least: Floats

    def take(self, index: Ints) -> FullestStages:
        """Return the plans at these positions."""
        return FullestStages(weights=self.weights, least=self.least[index])

    def loads_s(self, times: LayerTimes) -> Floats:
        """Return lower bounds on the load of the slowest stage, in seconds, shape (plans, chips)."""
        unit_s = self.weights.seconds(times)
        found = np.zeros((len(self.least), unit_s.shape[1]))
        for column, one in enumerate(unit_s):
            np.maximum(found, self.least[:, column][:, None] * one[None, :], out=found)
        return found


def weights_of_layers(order: Sequence[int], last: int | None, recompute: bool) -> Weights:
    """Return the weights that are tried: each distinct layer alone; the most frequent one with the last layer.

    Args:
        order: Which distinct layer stands at each position.
        last: Distinct layer of the only position that none reads; None: not known.
        recompute: Whether stages recompute.
    """
    counts = np.bincount(np.array(order))
    alone = np.eye(len(counts))[counts > 1]
    rows = [*alone] if len(alone) <= 4 else [np.eye(len(counts))[int(np.argmax(counts))]]
    often = int(np.argmax(counts))
    if last is not None and last != often:
        for ratio in _RATIOS:
            row = np.zeros(len(counts))
            row[often], row[last] = 1.0, ratio
            rows.append(row)
    shares = _SHARES if recompute else (0.0,)
    return Weights(
        of=np.array([row for _ in shares for row in rows]).reshape(-1, len(counts)),
        share=np.repeat(np.array(shares), len(rows)),
    )


@dataclass(frozen=True, kw_only=True)
class WholeLayers:
    """A family whose stages hold whole layers within the memory of a device.

    Attributes:
        problem: One variant; its layers' times play no part.
        order: Which distinct layer stands at each position.
        weights: The weights.
    """

    problem: PartitionProblem
    order: tuple[int, ...]
    weights: Weights

    def fullest(self, plans: Sequence[tuple[int, int]]) -> FullestStages | None:
        """Return the fullest stages of (replicas, stages) by the weights that tell something; None where none does."""
        unknown = np.zeros(len(self.weights.of))
        least = np.array([self._least_weights.get(one, unknown) for one in plans]).reshape(len(plans), len(unknown))
        told = np.flatnonzero((least > 0.0).any(axis=0)) if len(least) else np.zeros(0, dtype=np.int64)
        return FullestStages(weights=self.weights.take(told), least=least[:, told]) if len(told) else None

    @cached_property
    def _least_weights(self) -> dict[tuple[int, int], Floats]:
        """Return the least weight of the fullest stage, by (replicas, stages), each of shape (columns,).

        Where states are divided less than in a case that was worked out to as many stages, no less memory is held: what
        is known of that case bounds this one.
        """
        found: dict[tuple[int, int], Floats] = {}
        whole: list[Floats] = []
        order, cases = np.array(self.order), cases_of(self.problem)
        for case in sorted(cases, key=lambda one: -max(each.optimizer_shards for each in one.replications)):
            if len(case.sums.members) > _MOST_DOWNSETS:
                continue
            if len(whole) < min(case.most_stages, MOST_STAGES):
                whole = _least(self.problem, case, self.weights, order, min(case.most_stages, MOST_STAGES))
            for one in case.replications:
                found |= {(one.data_parallel, stages): row for stages, row in enumerate(whole, start=1)}
        return found


def _least(problem: PartitionProblem, case: PartitionCase, weights: Weights, order: Ints, most: int) -> list[Floats]:
    """Return, for 1 to so many stages, the least weight of the fullest stage, (columns,): stage by stage from the end,
    as the programme of the partition.
    """
    inside = case.sums.members.astype(np.float64) @ weights.of[:, order].T
    # A stage nearer to the start holds more micro-batches, so what does not fit there fits no earlier one.
    start, end = np.nonzero(case.sums.valid & (case.costs.memory_bytes(1) <= problem.memory_bytes))
    held = inside[end] - inside[start]
    again = held * (1.0 + weights.share)
    front = np.full(inside.shape, np.inf)
    front[-1] = -np.inf
    found = []
    for stage in range(1, most + 1):
        fits = np.flatnonzero(case.costs.memory_bytes(stage)[start, end] <= problem.memory_bytes)
        if len(fits) < len(start):
            start, end, held, again = start[fits], end[fits], held[fits], again[fits]
        following = np.full(inside.shape, np.inf)
        if len(start):
            load = again if stage > 1 else held
            begins = np.flatnonzero(np.diff(start, prepend=-1))
            following[start[begins]] = np.minimum.reduceat(np.maximum(load, front[end]), begins)
        front = following
        found.append(front[0])
    return found
