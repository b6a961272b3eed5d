"""List schedules: HEFT with insertion (Topcuoglu, Hariri, Wu 2002), PEFT (Arabnejad, Barbosa 2014), a fixed
placement."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence

from hardplace.graph_split.types import OperatorRun, SplitProblem, SplitSchedule, TensorTransfer

Choice = Callable[[int, int, float], float]  # operator, device, end -> what to minimise


class _Timeline:
    """What is busy when; a new item goes into the first gap that it fits (insertion)."""

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.ends: list[float] = []

    def first(self, ready_s: float, takes_s: float) -> float:
        """Return the earliest start from `ready_s` on."""
        index = bisect.bisect_right(self.ends, ready_s)
        at = ready_s
        for position in range(index, len(self.starts)):
            if at + takes_s <= self.starts[position] + 1e-15:
                return at
            at = max(at, self.ends[position])
        return at

    def take(self, start_s: float, takes_s: float) -> None:
        """Mark a stretch as busy."""
        if takes_s > 0.0:
            index = bisect.bisect_right(self.starts, start_s)
            self.starts.insert(index, start_s)
            self.ends.insert(index, start_s + takes_s)


def upward_ranks(problem: SplitProblem) -> tuple[float, ...]:
    """Return the upward rank of each operator: its mean time and the longest way of mean times and moves to the end.

    Means over the devices that support it, and over ordered pairs of devices with a link.
    """
    means = [_mean([one for one in row if one < math.inf]) for row in problem.times]
    ranks = [0.0] * len(problem.operators)
    moves = [_mean([problem.move_s(index, *pair) for pair in problem.link_of]) for index in range(len(problem.tensors))]
    for one in reversed(problem.order):
        ways = [
            moves[tensor] + ranks[reader]
            for tensor in problem.outputs[one]
            for reader in problem.tensors[tensor].readers
        ]
        ranks[one] = means[one] + max(ways, default=0.0)
    return tuple(ranks)


def heft(problem: SplitProblem) -> SplitSchedule | None:
    """Return the schedule of HEFT: operators by falling upward rank, each where it ends first, with insertion.

    Returns:
        The schedule; None where memory leaves no place for an operator.

    Source: Topcuoglu, Hariri, Wu 2002 (IEEE TPDS 13(3)).
    """
    return listed(problem, upward_ranks(problem), lambda one, device, end_s: end_s)


def peft(problem: SplitProblem) -> SplitSchedule | None:
    """Return the schedule of PEFT: by falling mean of the optimistic costs, each where its end and the cost after it is
    least.

    Returns:
        The schedule; None where memory leaves no place for an operator.

    Source: Arabnejad, Barbosa 2014 (IEEE TPDS 25(3)).
    """
    costs = optimistic_costs(problem)
    ranks = [_mean([one for one in row if one < math.inf]) for row in costs]
    return listed(problem, ranks, lambda one, device, end_s: end_s + costs[one][device])


def optimistic_costs(problem: SplitProblem) -> list[list[float]]:
    """Return the optimistic cost table: the longest way from an operator's end, each one after it where that is best.

    Returns:
        Seconds, (operators, devices).

    Source: Arabnejad, Barbosa 2014, equation 2.
    """
    count = len(problem.devices)
    costs = [[0.0] * count for _ in problem.operators]
    for one in reversed(problem.order):
        for tensor in problem.outputs[one]:
            for reader in problem.tensors[tensor].readers:
                for device in range(count):
                    way = min(
                        costs[reader][other] + problem.times[reader][other] + problem.move_s(tensor, device, other)
                        for other in range(count)
                    )
                    costs[one][device] = max(costs[one][device], way)
    return costs


def placed(problem: SplitProblem, devices: Sequence[int]) -> SplitSchedule:
    """Return the list schedule of a given placement, by the longest way to the end.

    Args:
        problem: Operators, devices and links.
        devices: Device of each operator.
    """
    tails = [0.0] * len(problem.operators)
    for one in reversed(problem.order):
        ways = [
            problem.move_s(tensor, devices[one], devices[reader]) + tails[reader]
            for tensor in problem.outputs[one]
            for reader in problem.tensors[tensor].readers
        ]
        tails[one] = problem.times[one][devices[one]] + max(ways, default=0.0)
    found = listed(problem, tails, lambda one, device, end_s: end_s, fixed=devices)
    assert found is not None  # nothing is chosen
    return found


def listed(
    problem: SplitProblem, ranks: Sequence[float], choice: Choice, *, fixed: Sequence[int] | None = None
) -> SplitSchedule | None:
    """Return a list schedule.

    Args:
        problem: Operators, devices and links.
        ranks: Rank of each operator; the greatest of those whose inputs are there goes first.
        choice: Says which of the devices with memory an operator goes to.
        fixed: Device of each operator; None: `choice` says.

    Returns:
        The schedule; None where memory leaves no place for an operator.
    """
    position = {one: index for index, one in enumerate(problem.order)}
    order = sorted(position, key=lambda one: (-ranks[one], position[one]))
    if any(ranks[problem.tensors[tensor].source] <= ranks[one] for one in order for tensor in problem.inputs[one]):
        order = _by_rank(problem, ranks)
    cores = [_Timeline() for _ in problem.devices]
    ways = {pair: _Timeline() for pair in problem.link_of}
    left = [device.memory_bytes for device in problem.devices]
    group_of = {one: group for group in problem.groups for one in group}
    homes: dict[tuple[int, ...], int] = {}
    runs: dict[int, OperatorRun] = {}
    arrived: dict[tuple[int, int], float] = {}
    moves: list[TensorTransfer] = []
    for one in order:
        group = group_of[one]
        needs = sum(problem.operators[other].memory_bytes for other in group)
        best: tuple[float, float, int, list[TensorTransfer]] | None = None
        for device in range(len(problem.devices)):
            if (fixed is not None and fixed[one] != device) or homes.get(group, device) != device:
                continue
            if any(problem.times[other][device] == math.inf for other in group):
                continue
            if group not in homes and fixed is None and needs > left[device]:
                continue
            ready_s, added = _inputs(problem, one, device, runs, arrived, ways)
            if ready_s == math.inf:
                continue
            takes_s = problem.times[one][device]
            start_s = cores[device].first(ready_s, takes_s)
            score = choice(one, device, start_s + takes_s)
            if best is None or score < best[0]:
                best = (score, start_s, device, added)
        if best is None:
            return None
        _, start_s, device, added = best
        if group not in homes:
            homes[group] = device
            left[device] -= needs
        for move in added:
            if problem.link_of[move.source, move.target].queued:
                ways[move.source, move.target].take(move.start_s, move.end_s - move.start_s)
            arrived[move.tensor, move.target] = move.end_s
        moves += added
        takes_s = problem.times[one][device]
        cores[device].take(start_s, takes_s)
        runs[one] = OperatorRun(operator=one, device=device, start_s=start_s, end_s=start_s + takes_s)
    return SplitSchedule(runs=tuple(runs[one] for one in range(len(problem.operators))), transfers=tuple(moves))


def _by_rank(problem: SplitProblem, ranks: Sequence[float]) -> list[int]:
    """Return the operators by falling rank among those whose inputs are there."""
    import heapq

    missing = [len(one) for one in problem.inputs]
    ready = [(-ranks[one], one) for one, count in enumerate(missing) if count == 0]
    heapq.heapify(ready)
    order = []
    while ready:
        one = heapq.heappop(ready)[1]
        order.append(one)
        for tensor in problem.outputs[one]:
            for reader in problem.tensors[tensor].readers:
                missing[reader] -= 1
                if missing[reader] == 0:
                    heapq.heappush(ready, (-ranks[reader], reader))
    return order


def _inputs(
    problem: SplitProblem,
    one: int,
    device: int,
    runs: dict[int, OperatorRun],
    arrived: dict[tuple[int, int], float],
    ways: dict[tuple[int, int], _Timeline],
) -> tuple[float, list[TensorTransfer]]:
    """Return when the inputs of an operator are on a device, and the transfers that this adds."""
    ready_s = 0.0
    added: list[TensorTransfer] = []
    extra: dict[int, _Timeline] = {}
    for tensor in sorted(problem.inputs[one], key=lambda index: runs[problem.tensors[index].source].end_s):
        made = runs[problem.tensors[tensor].source]
        if made.device == device:
            ready_s = max(ready_s, made.end_s)
            continue
        if (tensor, device) in arrived:
            ready_s = max(ready_s, arrived[tensor, device])
            continue
        takes_s = problem.move_s(tensor, made.device, device)
        if takes_s == math.inf:
            return math.inf, []
        start_s = made.end_s
        if problem.link_of[made.device, device].queued:
            line = ways[made.device, device]
            start_s = line.first(start_s, takes_s)
            mine = extra.setdefault(made.device, _Timeline())
            while (later := mine.first(start_s, takes_s)) > start_s:  # after what this operator itself moves
                start_s = line.first(later, takes_s)
            mine.take(start_s, takes_s)
        added.append(
            TensorTransfer(tensor=tensor, source=made.device, target=device, start_s=start_s, end_s=start_s + takes_s)
        )
        ready_s = max(ready_s, start_s + takes_s)
    return ready_s, added


def _mean(values: Sequence[float]) -> float:
    finite = [one for one in values if one < math.inf]
    return sum(finite) / len(finite) if finite else 0.0
