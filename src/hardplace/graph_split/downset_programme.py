"""The split of a graph on a line of devices with the least maximal load, by dynamic programming over downsets.

docs/model-split.md, "The downset programme", has the recurrence and why what is pruned cannot be better. Exact for the
shape `ordered`: a device holds the difference of two nested downsets of the contracted graph.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hardplace.graph_split.groups import ContractedGraph, contracted
from hardplace.graph_split.staged import StagedProblem
from hardplace.ndtypes import Bools, Floats, Ints

Bits = npt.NDArray[np.uint8]  # 0 or 1
Words = npt.NDArray[np.uint64]

MOST_DOWNSETS = 600_000
_NOISE = 1e-9  # relative: what sums of doubles leave


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderedSplit:
    """A split on a line of devices.

    Attributes:
        devices: Device of each node.
        load: Its greatest load, in the problem's unit of time.
        exact: Whether all downsets were gone through, else prefixes of a few linear orders.
        downsets: Number of downsets, or of prefixes.
    """

    devices: tuple[int, ...]
    load: float
    exact: bool
    downsets: int


def ordered_split(problem: StagedProblem, *, limit_s: float = 60.0) -> OrderedSplit | None:
    """Return the split of shape `ordered` with the least load, by dynamic programming over downsets.

    Where there are more than MOST_DOWNSETS downsets or the time runs out, the best over prefixes of linear orders.

    Args:
        problem: The graph with its accelerators and cores.
        limit_s: Seconds of the programme.

    Returns:
        The split; None where the memory admits none.

    Source: Tarnawski et al. 2020 (dnn-partitioning), algorithm of the max-load objective.
    """
    ends_s = time.monotonic() + limit_s
    graph = contracted(problem)
    table = _Programme(problem, graph)
    best: OrderedSplit | None = None
    for order in linear_orders(graph):
        masks = [0]
        for group in order:
            masks.append(masks[-1] | 1 << group)
        best = _better(best, table.solved(masks, best.load if best else np.inf, np.inf, exact=False))
    masks_found = downset_masks(graph, MOST_DOWNSETS)
    if masks_found is None:
        return best
    found = table.solved(masks_found, best.load if best else np.inf, ends_s, exact=True)
    if found is None:  # the time ran out
        return best
    if best is not None and (not found.devices or best.load <= found.load):
        return OrderedSplit(devices=best.devices, load=best.load, exact=True, downsets=len(masks_found))
    return found if found.devices else None


def _better(one: OrderedSplit | None, other: OrderedSplit | None) -> OrderedSplit | None:
    if other is None or not other.devices or (one is not None and one.load <= other.load):
        return one
    return other


def downset_masks(graph: ContractedGraph, most: int) -> list[int] | None:
    """Return the downsets of a graph as bit masks over its groups.

    Args:
        graph: Groups in topological order.
        most: Number above which it gives up.

    Returns:
        The masks; None where there are more than `most`.
    """
    count = len(graph.members)
    before = [0] * count
    after: list[list[int]] = [[] for _ in range(count)]
    for source, target in graph.edges:
        before[target] |= 1 << source
        after[source].append(target)
    level = {0: tuple(group for group in range(count) if before[group] == 0)}
    found = [0]
    while level:
        following: dict[int, tuple[int, ...]] = {}
        for mask, ready in level.items():
            for group in ready:
                larger = mask | 1 << group
                if larger not in following:
                    opened = [one for one in after[group] if before[one] & ~larger == 0]
                    following[larger] = (*(one for one in ready if one != group), *opened)
        found += following
        if len(found) > most:
            return None
        level = following
    return found


def linear_orders(graph: ContractedGraph) -> Iterator[list[int]]:
    """Yield linear orders of a graph: depth first, breadth first, and by distance to the end."""
    count = len(graph.members)
    after: list[list[int]] = [[] for _ in range(count)]
    for source, target in graph.edges:
        after[source].append(target)
    height = [0] * count
    for source, target in sorted(graph.edges, reverse=True):
        height[source] = max(height[source], height[target] + 1)
    for rule in ("depth", "breadth", "height"):
        missing = [0] * count
        for _, target in graph.edges:
            missing[target] += 1
        ready = [group for group in range(count) if missing[group] == 0]
        order: list[int] = []
        while ready:
            if rule == "height":
                ready.sort(key=lambda group: (height[group], -group))
            group = ready.pop(0 if rule == "breadth" else -1)
            order.append(group)
            for one in after[group]:
                missing[one] -= 1
                if missing[one] == 0:
                    ready.append(one)
        yield order


class _Programme:
    """The recurrence over any family of nested downsets; a state is a downset and how many devices of each
    kind hold it."""

    def __init__(self, problem: StagedProblem, graph: ContractedGraph) -> None:
        self.problem, self.graph = problem, graph
        nodes = problem.nodes
        total = [[nodes[one] for one in part] for part in graph.members]
        self.accelerator = np.array([sum(one.accelerator_s for one in part) for part in total], dtype=np.float64)
        self.accelerator[[any(not one.on_accelerator for one in part) for part in total]] = np.inf
        self.cpu = np.array([sum(one.cpu_s for one in part) for part in total], dtype=np.float64)
        self.memory = np.array([sum(one.memory_bytes for one in part) for part in total], dtype=np.float64)
        home = {one: index for index, part in enumerate(graph.members) for one in part}
        cuts: dict[int, float] = {}  # groups that hold or read an output -> what moving it takes
        for one, node in enumerate(nodes):
            touched = 1 << home[one]
            for reader in problem.successors[one]:
                touched |= 1 << home[reader]
            if touched & (touched - 1) and node.transfer_s > 0:
                cuts[touched] = cuts.get(touched, 0.0) + node.transfer_s
        self.cut_masks, self.cut_s = list(cuts), np.array(list(cuts.values()))
        self.words = max(1, -(-len(graph.members) // 64))

    def _packed(self, masks: Sequence[int]) -> Words:
        """Return masks as words, (masks, words)."""
        content = b"".join(mask.to_bytes(self.words * 8, "little") for mask in masks)
        return np.frombuffer(content, dtype="<u8").reshape(len(masks), self.words).astype(np.uint64)

    def solved(self, masks: Sequence[int], upper: float, ends_s: float, *, exact: bool) -> OrderedSplit | None:
        """Return the best split whose parts are differences of these downsets, with no devices if none is
        below `upper`.

        None where the time ran out. masks: with the empty one and the whole.
        """
        groups = len(self.graph.members)
        packed = self._packed(masks)
        least = np.minimum(self.accelerator, self.cpu)
        scale = 2**40 / max(float(least.sum()), 1e-300)
        members = np.unpackbits(packed.view(np.uint8), axis=1, bitorder="little")[:, :groups]
        key = _sums(members, np.round(least * scale))
        sizes = _sums(members, np.ones(groups))
        order = np.lexsort((sizes, key))
        packed, members, key = packed[order], members[order], key[order]
        blocked = np.isinf(self.accelerator)
        acc_s = _sums(members, np.where(blocked, 0.0, self.accelerator))
        blocks = _sums(members, blocked.astype(np.float64))
        cpu_s, memory = _sums(members, self.cpu), _sums(members, self.memory)
        part, cut_words = self._parts(packed)
        boundary = part @ self.cut_s if len(self.cut_s) else np.zeros(len(masks))
        accelerators, cores = self.problem.accelerators, self.problem.cpu_cores
        best = np.full((accelerators + 1, cores + 1, len(masks)), np.inf)
        parent = np.full(best.shape, -1, dtype=np.int64)  # the downset before, and by sign which kind came last
        best[0, 0, 0] = 0.0
        limit = upper * (1 + _NOISE) if np.isfinite(upper) else np.inf
        usable = self.cpu > 0
        share = float(np.max(least[usable] / self.cpu[usable], initial=0.0))
        rest = key[-1] - key
        whole = len(masks) - 1
        for index in range(whole):
            if index % 256 == 0 and time.monotonic() > ends_s:
                return None
            alive = [
                (a, c)
                for a in range(accelerators + 1)
                for c in range(cores + 1)
                if best[a, c, index] < limit
                and rest[index] <= ((accelerators - a) + (cores - c) * share) * limit * scale + groups
            ]
            if not alive:
                continue
            stop = (
                int(np.searchsorted(key, key[index] + limit * scale + groups, "right")) if limit < np.inf else len(key)
            )
            span = slice(index + 1, stop)
            fit = np.all((packed[index] & ~packed[span]) == 0, axis=1)
            after = np.flatnonzero(fit) + index + 1
            if not len(after):
                continue
            cpu_load = cpu_s[after] - cpu_s[index]
            ok = (acc_s[after] - acc_s[index] <= limit) & (blocks[after] == blocks[index])
            ok &= memory[after] - memory[index] <= self.problem.accelerator_memory_bytes * (1 + 1e-12)
            on_acc = after[ok]
            load = acc_s[on_acc] - acc_s[index] + boundary[on_acc]
            for cut in np.flatnonzero(part[index]):
                words = cut_words[cut]
                both = part[on_acc, cut]
                same = np.ones(len(on_acc), dtype=bool)
                for word, bits in words:
                    same &= (packed[on_acc, word] & bits) == (packed[index, word] & bits)
                load += self.cut_s[cut] * (1.0 - both - (both & same))
            for a, c in alive:
                value = best[a, c, index]
                for targets, loads, da, dc in ((on_acc, load, 1, 0), (after, cpu_load, 0, 1)):
                    if a + da > accelerators or c + dc > cores:
                        continue
                    reached = np.maximum(loads, value)
                    into = best[a + da, c + dc]
                    gain = (reached < into[targets]) & (reached <= limit)
                    chosen = targets[gain]
                    into[chosen] = reached[gain]
                    parent[a + da, c + dc, chosen] = 2 * index + dc
            final = best[:, :, whole].min()
            if final < limit:
                limit = final * (1 + _NOISE)
        if not np.isfinite(best[:, :, whole].min()):
            return OrderedSplit(devices=(), load=np.inf, exact=exact, downsets=len(masks))
        return self._read(best, parent, members, exact)

    def _parts(self, packed: Words) -> tuple[Bools, list[list[tuple[int, np.uint64]]]]:
        """Return which tensors each downset cuts, (downsets, cuts), and the words of each tensor's groups."""
        part = np.zeros((len(packed), len(self.cut_masks)), dtype=bool)
        words_of = []
        for cut, mask in enumerate(self.cut_masks):
            words = [
                (word, np.uint64(mask >> 64 * word & 2**64 - 1))
                for word in range(self.words)
                if mask >> 64 * word & 2**64 - 1
            ]
            some = np.zeros(len(packed), dtype=bool)
            all_of = np.ones(len(packed), dtype=bool)
            for word, bits in words:
                held = packed[:, word] & bits
                some |= held != 0
                all_of &= held == bits
            part[:, cut] = some & ~all_of
            words_of.append(words)
        return part, words_of

    def _read(self, best: Floats, parent: Ints, members: Bits, exact: bool) -> OrderedSplit:
        """Return the split that the least value of the whole comes from."""
        whole = best.shape[2] - 1
        a, c = np.unravel_index(int(np.argmin(best[:, :, whole])), best.shape[:2])
        devices = [0] * len(self.problem.nodes)
        at = whole
        while at:
            before, core = divmod(int(parent[a, c, at]), 2)
            device = self.problem.accelerators + int(c) - 1 if core else int(a) - 1
            for group in np.flatnonzero(members[at] & ~members[before] & 1):
                for one in self.graph.members[group]:
                    devices[one] = device
            a, c, at = a - (1 - core), c - core, before
        return OrderedSplit(
            devices=tuple(devices), load=self.problem.max_load(devices), exact=exact, downsets=best.shape[2]
        )


def _sums(members: Bits, values: Floats) -> Floats:
    """Return the sum of a value over each downset, in blocks of rows."""
    return np.concatenate([members[row : row + 65536] @ values for row in range(0, len(members), 65536)])
