"""Where a training run's state lies under one plan and where another needs it (docs/model-replan.md).

Read `moves` first. State is weights and optimizer states; gradients and activations do not outlive a step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hardplace.placement.assignment import assign
from hardplace.placement.plan import Dimension, Plan
from hardplace.placement.room import state_bytes, weight_bytes

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
EMPTY, GONE = -1, -2  # a device that holds nothing of the run; one that is lost
_EXACT = 1024  # pairs of nodes up to which every pair's devices are matched exactly


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Parameters that are divided alike: elements at each layer of the model, and into how many equal parts tensor (or,
    of experts, expert) parallelism cuts them under the running and the new plan (1: every rank holds them whole)."""

    elements: tuple[int, ...]
    old_parts: int
    new_parts: int
    expert: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A plan and the stage of every layer of the model, chunks of interleaved stages where they really are."""

    plan: Plan
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """Bytes between two plans. needed: of all devices of the new plan; kept: where they are already; moved: from other
    devices; checkpoint: that no device holds any more, each once. across: of moved and checkpoint bytes as received,
    those that come from another node. busiest: received by one device within its node, and from other nodes (each
    the most of any). least_moved: no mapping of ranks to devices moves less. devices: of each rank, as numbered."""

    needed_bytes: float
    kept_bytes: float
    moved_bytes: float
    checkpoint_bytes: float
    across_bytes: float
    busiest_inside_bytes: float
    busiest_across_bytes: float
    least_moved_bytes: float
    devices: tuple[int, ...]


def standing(running: int, size: int, lost: frozenset[int], gained: int) -> Ints:
    """Return the rank of the running plan on every device, (nodes, size), EMPTY or GONE where there is none.

    running: devices of the running plan, numbered by rank, `size` to a node; gained: devices after these, empty.
    """
    nodes = -(-(running + gained) // size)
    found = np.full(nodes * size, GONE)
    found[: running + gained] = EMPTY
    found[:running] = np.arange(running)
    found[list(lost)] = GONE
    return found.reshape(nodes, size)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """One kind of state of one part: bytes that stages of both plans share, (old stages, new stages); which of how many
    equal intervals each rank holds. rough: the same without ZeRO's division."""

    shared: Floats
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


class _Ranks:
    """Coordinates of the ranks of a plan."""

    def __init__(self, plan: Plan) -> None:
        rank = np.arange(plan.devices)

        def of(dimension: Dimension, degree: int) -> Ints:
            return np.asarray(rank // plan.stride(dimension) % degree)

        self.plan = plan
        self.stage, self.tensor = of(Dimension.PIPELINE, plan.pipeline), of(Dimension.TENSOR, plan.tensor)
        self.replica = rank // plan.replica_stride % plan.replicas
        self.folded = rank // plan.stage_stride % plan.stage_ranks  # position of a rank among those of its stage

    def shares(self, parts: int, expert: bool, divided: bool) -> tuple[Ints, Ints, int]:
        """Return (part, interval, number of intervals) of each rank; divided: by ZeRO."""
        plan = self.plan
        if expert:
            part, replica = self.folded % parts, self.folded // parts
            over = min(plan.stage_ranks // parts, plan.sharded_over)
        else:
            part, replica = self.tensor * parts // plan.tensor, self.replica
            over = plan.sharded_over
        if not divided:
            return part, part, parts
        return part, part * over + replica % over, parts * over


def _items(parts: Sequence[Part], old: Spread, new: Spread) -> list[_Item]:
    before, after = _Ranks(old.plan), _Ranks(new.plan)
    one = np.equal.outer(np.arange(old.plan.pipeline), old.places).astype(np.float64)
    two = np.equal.outer(np.arange(new.plan.pipeline), new.places).astype(np.float64)
    found = []
    for part in parts:
        elements = np.array(part.elements, dtype=np.float64)
        for each, from_zero in ((weight_bytes(old.plan), 3), (state_bytes(old.plan), 1)):
            old_part, old_interval, old_count = before.shares(part.old_parts, part.expert, old.plan.zero >= from_zero)
            new_part, new_interval, new_count = after.shares(part.new_parts, part.expert, new.plan.zero >= from_zero)
            size = each * elements
            found.append(
                _Item(
                    shared=(one * size) @ two.T,
                    whole=one @ size,
                    needed=two @ size,
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


def _overlap(a: Ints, count_a: int, b: Ints, count_b: int) -> Floats:
    """Return the length that the a-th of count_a equal intervals of [0, 1] and the b-th of count_b share."""
    low, high = np.maximum(a * count_b, b * count_a), np.minimum((a + 1) * count_b, (b + 1) * count_a)
    return np.asarray(np.maximum(0, high - low) / (count_a * count_b))


def moves(parts: Sequence[Part], old: Spread, new: Spread, slots: Ints, per_node: int) -> Moves:
    """Return what moves when the new plan takes over on the devices at hand.

    slots: `standing` of the running plan. per_node: consecutive ranks of the new plan that stand on one node. Nodes are
    given to groups of ranks, and devices within a node to ranks, so that most bytes stay where they are: exactly for
    up to 1,024 pairs of nodes; for more, the devices of a pair are matched by stage and tensor part only, and
    the nodes exactly.
    """
    items = _items(parts, old, new)
    stages = _Ranks(old.plan).stage, _Ranks(new.plan).stage
    chosen = _mapped(items, stages, slots, per_node)
    ranks = np.arange(new.plan.devices)
    rank_at = slots.reshape(-1)[chosen]
    needed = sum((item.needed[stages[1]] / item.new_count for item in items), np.zeros(len(ranks)))
    kept = sum((_held(item, stages, rank_at, ranks) for item in items), np.zeros(len(ranks)))
    node = slots[chosen // slots.shape[1]]
    near = sum((_near(item, stages, node, ranks) for item in items), np.zeros(len(ranks)))
    lost_once, lost = _lost(items, stages, slots, ranks)
    most = sum((_most(item, stages) for item in items), np.zeros(len(ranks)))
    return Moves(
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


def _held(item: _Item, stages: tuple[Ints, Ints], at: Ints, ranks: Ints) -> Floats:
    """Return the bytes of a rank's state that the device with rank `at` of the running plan holds."""
    size = item.shared[stages[0][at], stages[1][ranks]]
    found = size * _overlap(item.old[at], item.old_count, item.new[ranks], item.new_count)
    return np.asarray(np.where(at >= 0, found, 0.0))


def _near(item: _Item, stages: tuple[Ints, Ints], node: Ints, ranks: Ints) -> Floats:
    """Return the bytes of each rank's state that its node holds; node: (ranks, devices). Copies count once."""
    names = np.where(node >= 0, stages[0][node] * item.old_count + item.old[node], -1)
    total = np.zeros(len(ranks))
    for column in range(node.shape[1]):
        again = (names[:, :column] == names[:, column : column + 1]).any(axis=1)
        total += np.where(again, 0.0, _held(item, stages, node[:, column], ranks))
    return total


def _lost(items: Sequence[_Item], stages: tuple[Ints, Ints], slots: Ints, ranks: Ints) -> tuple[float, float]:
    """Return the bytes that no device holds any more: each once, and as often as ranks of the new plan need them."""
    alive = slots[slots >= 0]
    gone = np.setdiff1d(np.arange(len(stages[0])), alive)
    once = often = 0.0
    for item in items:
        names = stages[0] * item.old_count + item.old
        missing, first = np.unique(names[gone], return_index=True)
        first = first[~np.isin(missing, names[alive])]
        once += float(item.whole[stages[0][gone[first]]].sum()) / item.old_count
        for at in gone[first].tolist():
            often += float(_held(item, stages, np.full(len(ranks), at), ranks).sum())
    return once, often


def _most(item: _Item, stages: tuple[Ints, Ints]) -> Floats:
    """Return the most bytes of each new rank's state that any rank of the running plan held."""
    names, back = np.unique(stages[1] * item.new_count + item.new, return_inverse=True)
    start = names % item.new_count
    first = start * item.old_count // item.new_count
    best = np.zeros(len(names))
    for ahead in range(2 + item.old_count // item.new_count):
        near = np.minimum(first + ahead, item.old_count - 1)
        best = np.maximum(best, _overlap(near, item.old_count, start, item.new_count))
    return np.asarray((best * item.shared.max(axis=0)[names // item.new_count])[back])


# -- ranks to devices -------------------------------------------------------------------------------------------------


def _mapped(items: Sequence[_Item], stages: tuple[Ints, Ints], slots: Ints, per_node: int) -> Ints:
    """Return the device of each rank of the new plan."""
    groups = np.arange(len(stages[1])).reshape(-1, per_node)
    able = np.flatnonzero((slots != GONE).sum(axis=1) >= per_node)
    exact = len(groups) * len(able) <= _EXACT
    value, inner = _values(items, stages, slots[able], groups, exact)
    found = np.empty(groups.shape, dtype=np.int64)
    for group, node in enumerate(assign(value).tolist()):
        found[group] = able[node] * slots.shape[1] + inner(group, node)
    return found.reshape(-1)


def _values(
    items: Sequence[_Item], stages: tuple[Ints, Ints], slots: Ints, groups: Ints, exact: bool
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
    columns = [np.where(slots >= 0, one[slots], slots) for one in (stage, *shares)]
    _, first, kind = np.unique(np.concatenate(columns, axis=1), axis=0, return_index=True, return_inverse=True)
    return kind.reshape(-1), [(number, slots[at]) for number, at in enumerate(first.tolist())]


def _table(items: Sequence[_Item], stages: tuple[Ints, Ints], node: Ints, group: Ints, exact: bool) -> Floats:
    """Return the bytes that each rank of a group finds on each device of a node, (ranks, devices); of lost devices so
    little that none is taken. Of equal ones the nearest in order is taken."""
    total = np.zeros((len(group), len(node)))
    at, rank = np.broadcast_arrays(node[None, :], group[:, None])
    for item in items:
        size = item.shared[stages[0][at], stages[1][rank]]
        if exact:
            total += size * _overlap(item.old[at], item.old_count, item.new[rank], item.new_count)
        else:
            total += size * _overlap(item.old_rough[at], item.old_parts, item.new_rough[rank], item.new_parts)
    scale = float(total.max()) or 1.0
    apart = np.abs(np.arange(len(group))[:, None] / len(group) - np.arange(len(node)) / len(node))
    found = np.where(at >= 0, total / scale, 0.0) - 1e-9 * apart
    return np.asarray(np.where(at == GONE, -2.0 * len(group), found))


def _block(
    items: Sequence[_Item],
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
                    met[key] = _overlap(old[None, :], item.old_count, new[:, None], item.new_count)
                total += size * met[key]
    return total
