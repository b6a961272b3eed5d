"""Shares of the state that the ranks of two plans hold, as equal intervals (docs/model-replan.md, "State")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hardplace.ndtypes import Floats, Ints
from hardplace.plans.memory import state_bytes, weight_bytes
from hardplace.plans.plan import Dimension, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class StateGroup:
    """Parameters that are divided alike.

    Attributes:
        elements: Elements at each layer of the model.
        old_parts: Equal parts into which tensor (of experts: expert) parallelism cuts them under the running plan; 1:
            every rank holds them whole.
        new_parts: The same under the new plan.
        expert: Whether they are experts that expert groups divide, and tensor does not.
        trained: Whether they have optimizer states.
        packed: Whether `elements` are bytes of quantised weights.
        shared: Whether the layers that have any have the same ones, which a stage holds once.
    """

    elements: tuple[int, ...]
    old_parts: int
    new_parts: int
    expert: bool = False
    trained: bool = True
    packed: bool = False
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StageMap:
    """A plan with the stage of every layer of the model; chunks of interleaved stages stand where they really are.

    Attributes:
        plan: The plan.
        places: Stage of every layer.
    """

    plan: Plan
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatePiece:
    """One kind of state of one group, under both plans.

    Attributes:
        shared: Bytes that stages of both plans share, (old stages, new stages).
        home: Of each old stage, the first one that holds the same.
        whole: Bytes of each stage of the running plan, undivided, (old stages,).
        needed: Bytes of each stage of the new plan, undivided, (new stages,).
        old: Interval that each rank of the running plan holds.
        old_count: Number of equal intervals under the running plan.
        new: Interval that each rank of the new plan holds.
        new_count: Number of equal intervals under the new plan.
        old_rough: Interval of each running rank without ZeRO's division.
        old_parts: Number of those.
        new_rough: Interval of each new rank without ZeRO's division.
        new_parts: Number of those.
    """

    shared: Floats
    home: Ints
    whole: Floats  # bytes of each old stage
    needed: Floats  # bytes of each new stage
    old: Ints
    old_count: int
    new: Ints
    new_count: int
    old_rough: Ints
    old_parts: int
    new_rough: Ints
    new_parts: int


class Ranks:
    """The coordinates of the ranks of a plan."""

    def __init__(self, plan: Plan) -> None:
        rank = np.arange(plan.devices)

        def of(dimension: Dimension, degree: int) -> Ints:
            return np.asarray(rank // plan.stride(dimension) % degree)

        self.plan = plan
        self.stage, self.tensor = of(Dimension.PIPELINE, plan.pipeline), of(Dimension.TENSOR, plan.tensor)
        self.replica = rank // plan.replica_stride % plan.replicas
        self.folded = rank // plan.stage_stride % plan.stage_ranks  # position of a rank among those of its stage

    def shares(self, parts: int, expert: bool, divided: bool) -> tuple[Ints, Ints, int]:
        """Return (part, interval, number of intervals) of each rank; `divided` by ZeRO."""
        plan = self.plan
        if expert:
            part, replica = self.folded % parts, self.folded // parts
            copies = plan.stage_ranks // parts
            over = min(copies, plan.shard or copies)
        else:
            part, replica = self.tensor * parts // plan.tensor, self.replica
            over = plan.sharded_over
        if not divided:
            return part, part, parts
        return part, part * over + replica % over, parts * over


def items_of(parts: Sequence[StateGroup], old: StageMap, new: StageMap) -> list[StatePiece]:
    """Return the weights and the optimizer states of every group under both plans."""
    before, after = Ranks(old.plan), Ranks(new.plan)
    one = np.equal.outer(np.arange(old.plan.pipeline), old.places).astype(np.float64)
    two = np.equal.outer(np.arange(new.plan.pipeline), new.places).astype(np.float64)
    found = []
    for part in parts:
        elements = np.array(part.elements, dtype=np.float64)
        left, right = one, two
        home = np.arange(old.plan.pipeline)
        if part.shared:  # all of it at the first layer of a stage that has it
            left, right = _first(one, elements), _first(two, elements)
            holds = np.flatnonzero(left.any(axis=1))
            home[holds] = holds[0]
        kinds = [(1 if part.packed else weight_bytes(old.plan), 3), (state_bytes(old.plan), 1)]
        for each, from_zero in kinds if part.trained else kinds[:1]:
            old_part, old_interval, old_count = before.shares(part.old_parts, part.expert, old.plan.zero >= from_zero)
            new_part, new_interval, new_count = after.shares(part.new_parts, part.expert, new.plan.zero >= from_zero)
            size = each * elements
            common = np.outer(left @ size, right.any(axis=1)) if part.shared else (left * size) @ right.T
            found.append(
                StatePiece(
                    shared=common,
                    home=home,
                    whole=left @ size,
                    needed=right @ size,
                    old=old_interval,
                    old_count=old_count,
                    new=new_interval,
                    new_count=new_count,
                    old_rough=old_part,
                    old_parts=part.old_parts,
                    new_rough=new_part,
                    new_parts=part.new_parts,
                )
            )
    return found


def _first(stages: Floats, elements: Floats) -> Floats:
    """Return of the layers of each stage, (stages, layers), only the first that has any of the elements."""
    held = stages * (elements > 0)
    return np.asarray(held * (np.cumsum(held, axis=1) == 1))


def overlap(a: Ints, count_a: int, b: Ints, count_b: int) -> Floats:
    """Return the length that the a-th of count_a equal intervals of [0, 1] and the b-th of count_b share."""
    low, high = np.maximum(a * count_b, b * count_a), np.minimum((a + 1) * count_b, (b + 1) * count_a)
    return np.asarray(np.maximum(0, high - low) / (count_a * count_b))
