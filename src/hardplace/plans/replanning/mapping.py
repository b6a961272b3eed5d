"""Mapping of the ranks of a new plan to devices, so that most bytes stay (docs/model-replan.md, "What moves")."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hardplace.ndtypes import Floats, Ints
from hardplace.plans.replanning.assignment import assign
from hardplace.plans.replanning.state_shares import StatePiece, overlap

EMPTY, GONE = -1, -2  # a device that holds nothing of the run; one that is lost
_EXACT = 1024  # pairs of nodes up to which every pair's devices are matched exactly


def standing(running: int, size: int, lost: frozenset[int], gained: int) -> Ints:
    """Return the rank of the running plan on every device, shape (nodes, size); EMPTY or GONE where there is none.

    Args:
        running: Devices of the running plan, numbered by rank.
        size: Devices of a node.
        lost: Ranks that are lost.
        gained: Devices after these, empty.
    """
    nodes = -(-(running + gained) // size)
    found = np.full(nodes * size, GONE)
    found[: running + gained] = EMPTY
    found[:running] = np.arange(running)
    found[list(lost)] = GONE
    return found.reshape(nodes, size)


def mapped(items: Sequence[StatePiece], stages: tuple[Ints, Ints], slots: Ints, per_node: int) -> Ints:
    """Return the device of each rank of the new plan.

    Args:
        items: State that both plans hold.
        stages: Stage of each rank of the running and of the new plan.
        slots: Devices with their running ranks (`standing`).
        per_node: Consecutive ranks of the new plan that stand on one node.
    """
    groups = np.arange(len(stages[1])).reshape(-1, per_node)
    able = np.flatnonzero((slots != GONE).sum(axis=1) >= per_node)
    exact = len(groups) * len(able) <= _EXACT
    value, inner = _values(items, stages, slots[able], groups, exact)
    found = np.empty(groups.shape, dtype=np.int64)
    for group, node in enumerate(assign(value).tolist()):
        found[group] = able[node] * slots.shape[1] + inner(group, node)
    return found.reshape(-1)


def _values(
    items: Sequence[StatePiece], stages: tuple[Ints, Ints], slots: Ints, groups: Ints, exact: bool
) -> tuple[Floats, Callable[[int, int], Ints]]:
    """Return the bytes kept by each group of ranks on each node, and the devices that its ranks then take."""
    old_kind, olds = _kinds([item.old if exact else item.old_rough for item in items], stages[0], slots)
    new_kind, news = _kinds([item.new if exact else item.new_rough for item in items], stages[1], groups)
    value = np.zeros((len(groups), len(slots)))
    order: dict[tuple[int, int], Ints] = {}
    known: dict[bytes, Ints] = {}
    met: dict[tuple[int, bytes, bytes], Floats] = {}
    shared = sum((item.shared for item in items), np.zeros_like(items[0].shared)) > 0
    for new_number, group in news:
        for old_number, node in olds:
            present = node[node >= 0]
            if not shared[np.ix_(np.unique(stages[0][present]), np.unique(stages[1][group]))].any():
                order[new_number, old_number] = np.flatnonzero(node != GONE)[: len(group)]
                continue
            table = _table(items, stages, node, group, exact)
            key = table.tobytes()
            if key not in known:
                known[key] = assign(table)
            chosen = order[new_number, old_number] = known[key]
            rows, columns = np.flatnonzero(new_kind == new_number), np.flatnonzero(old_kind == old_number)
            block = _block(items, stages, groups[rows], slots[columns][:, chosen], met)
            value[np.ix_(rows, columns)] = block
    return value, lambda group, node: order[int(new_kind[group]), int(old_kind[node])]


def _kinds(shares: Sequence[Ints], stage: Ints, slots: Ints) -> tuple[Ints, list[tuple[int, Ints]]]:
    """Return the kind of each node, and one node of each kind; nodes are of one kind if their devices hold the same."""
    columns = [np.where(slots >= 0, one[np.maximum(slots, 0)], slots) for one in (stage, *shares)]
    _, first, kind = np.unique(np.concatenate(columns, axis=1), axis=0, return_index=True, return_inverse=True)
    return kind.reshape(-1), [(number, slots[at]) for number, at in enumerate(first.tolist())]


def _table(items: Sequence[StatePiece], stages: tuple[Ints, Ints], node: Ints, group: Ints, exact: bool) -> Floats:
    """Return the bytes that each rank of a group finds on each device of a node, (ranks, devices); of lost devices so
    little that none is taken. Of equal ones the nearest in order is taken."""
    total = np.zeros((len(group), len(node)))
    place, rank = np.broadcast_arrays(node[None, :], group[:, None])
    at = np.maximum(place, 0)
    for item in items:
        size = item.shared[stages[0][at], stages[1][rank]]
        if exact:
            total += size * overlap(item.old[at], item.old_count, item.new[rank], item.new_count)
        else:
            total += size * overlap(item.old_rough[at], item.old_parts, item.new_rough[rank], item.new_parts)
    total[place < 0] = 0.0
    scale = float(total.max()) or 1.0
    apart = np.abs(np.arange(len(group))[:, None] / len(group) - np.arange(len(node)) / len(node))
    found = total / scale - 1e-9 * apart
    return np.asarray(np.where(place == GONE, -2.0 * len(group), found))


def _block(
    items: Sequence[StatePiece],
    stages: tuple[Ints, Ints],
    groups: Ints,
    nodes: Ints,
    met: dict[tuple[int, bytes, bytes], Floats],
) -> Floats:
    """Return the bytes kept by each group (groups, ranks) on each node (nodes, ranks), rank by rank; all groups are of
    one kind, and all nodes. met: overlaps that were worked out before."""
    total = np.zeros((len(groups), len(nodes)))
    for column in range(groups.shape[1]):
        at, rank = nodes[:, column], groups[:, column]
        if at[0] < 0:
            continue
        for index, item in enumerate(items):
            size = item.shared[stages[0][at[0]], stages[1][rank[0]]]
            if size:
                old, new = item.old[at], item.new[rank]
                key = index, old.tobytes(), new.tobytes()
                if key not in met:
                    met[key] = overlap(old[None, :], item.old_count, new[:, None], item.new_count)
                total += size * met[key]
    return total
