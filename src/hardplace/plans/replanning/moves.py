"""What moves when one plan takes over from another: where the state lies and where it is needed.

Read `moves` first. State is weights and optimizer states; gradients and activations do not outlive a step. Source:
docs/model-replan.md, "What moves".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hardplace.ndtypes import Floats, Ints
from hardplace.plans.replanning.mapping import mapped
from hardplace.plans.replanning.state_shares import Ranks, StageMap, StateGroup, StatePiece, items_of, overlap


@dataclass(frozen=True, slots=True, kw_only=True)
class StateMoves:
    """The bytes that move between two plans.

    Attributes:
        needed_bytes: State that all devices of the new plan need.
        kept_bytes: Of it, what is where it is needed already.
        moved_bytes: Of it, what comes from other devices.
        checkpoint_bytes: What no device holds any more, each byte once.
        across_bytes: Of moved and checkpoint bytes as received, those that come from another node.
        busiest_inside_bytes: Most that one device receives within its node.
        busiest_across_bytes: Most that one device receives from other nodes.
        least_moved_bytes: Lower bound: no mapping of ranks to devices moves less.
        devices: Device of each rank.
    """

    needed_bytes: float
    kept_bytes: float
    moved_bytes: float
    checkpoint_bytes: float
    across_bytes: float
    busiest_inside_bytes: float
    busiest_across_bytes: float
    least_moved_bytes: float
    devices: tuple[int, ...]


def moves(parts: Sequence[StateGroup], old: StageMap, new: StageMap, slots: Ints, per_node: int) -> StateMoves:
    """Return what moves when the new plan takes over on the devices at hand.

    Nodes are given to groups of ranks, and devices within a node to ranks, so that most bytes stay where they are:
    exactly for up to 1,024 pairs of nodes; for more, the devices of a pair are matched by stage and tensor part only,
    and the nodes exactly.

    Args:
        parts: State that both plans divide alike.
        old: The running plan, with the stage of every layer.
        new: The new plan.
        slots: Devices with their running ranks (`mapping.standing`).
        per_node: Consecutive ranks of the new plan that stand on one node.
    """
    items = items_of(parts, old, new)
    stages = Ranks(old.plan).stage, Ranks(new.plan).stage
    chosen = mapped(items, stages, slots, per_node)
    ranks = np.arange(new.plan.devices)
    rank_at = slots.reshape(-1)[chosen]
    needed = sum((item.needed[stages[1]] / item.new_count for item in items), np.zeros(len(ranks)))
    kept = sum((_held(item, stages, rank_at, ranks) for item in items), np.zeros(len(ranks)))
    node = slots[chosen // slots.shape[1]]
    near = sum((_near(item, stages, node, ranks) for item in items), np.zeros(len(ranks)))
    lost_once, lost = _lost(items, stages, slots, ranks)
    most = sum((_most(item, stages) for item in items), np.zeros(len(ranks)))
    return StateMoves(
        needed_bytes=float(needed.sum()),
        kept_bytes=float(kept.sum()),
        moved_bytes=max(0.0, float((needed - kept).sum()) - lost),
        checkpoint_bytes=lost_once,
        across_bytes=float((needed - near).sum()),
        busiest_inside_bytes=float((near - kept).max()),
        busiest_across_bytes=float((needed - near).max()),
        least_moved_bytes=max(0.0, float((needed - most).sum()) - lost),
        devices=tuple(chosen.tolist()),
    )


def _held(item: StatePiece, stages: tuple[Ints, Ints], at: Ints, ranks: Ints) -> Floats:
    """Return the bytes of a rank's state that the device with rank `at` of the running plan holds."""
    rank = np.maximum(at, 0)
    size = item.shared[stages[0][rank], stages[1][ranks]]
    found = size * overlap(item.old[rank], item.old_count, item.new[ranks], item.new_count)
    return np.asarray(np.where(at >= 0, found, 0.0))


def _near(item: StatePiece, stages: tuple[Ints, Ints], node: Ints, ranks: Ints) -> Floats:
    """Return the bytes of each rank's state that its node holds; node: (ranks, devices). Copies count once."""
    rank = np.maximum(node, 0)
    names = np.where(node >= 0, item.home[stages[0][rank]] * item.old_count + item.old[rank], -1)
    total = np.zeros(len(ranks))
    for column in range(node.shape[1]):
        again = (names[:, :column] == names[:, column : column + 1]).any(axis=1)
        total += np.where(again, 0.0, _held(item, stages, node[:, column], ranks))
    return total


def _lost(items: Sequence[StatePiece], stages: tuple[Ints, Ints], slots: Ints, ranks: Ints) -> tuple[float, float]:
    """Return the bytes that no device holds any more: each once, and as often as ranks of the new plan need them."""
    alive = slots[slots >= 0]
    gone = np.setdiff1d(np.arange(len(stages[0])), alive)
    once = often = 0.0
    for item in items:
        names = item.home[stages[0]] * item.old_count + item.old
        missing, first = np.unique(names[gone], return_index=True)
        first = first[~np.isin(missing, names[alive])]
        once += float(item.whole[stages[0][gone[first]]].sum()) / item.old_count
        for at in gone[first].tolist():
            often += float(_held(item, stages, np.full(len(ranks), at), ranks).sum())
    return once, often


def _most(item: StatePiece, stages: tuple[Ints, Ints]) -> Floats:
    """Return the most bytes of each new rank's state that any rank of the running plan held."""
    names, back = np.unique(stages[1] * item.new_count + item.new, return_inverse=True)
    start = names % item.new_count
    first = start * item.old_count // item.new_count
    best = np.zeros(len(names))
    for ahead in range(2 + item.old_count // item.new_count):
        near = np.minimum(first + ahead, item.old_count - 1)
        best = np.maximum(best, overlap(near, item.old_count, start, item.new_count))
    return np.asarray((best * item.shared.max(axis=0)[names // item.new_count])[back])
