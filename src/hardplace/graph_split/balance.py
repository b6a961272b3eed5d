"""A placement of many operators that keeps the busiest device and link short: a start by weights, then single moves."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence

import numpy as np

from hardplace.graph_split.lists import listed, upward_ranks
from hardplace.graph_split.types import SplitProblem, SplitSchedule
from hardplace.ndtypes import Floats

_ROUNDS = 400
_POWER = 12.0  # of loads over the target: the busiest few decide
_SAMPLE = 24  # groups that are tried at a time


def device_prices(problem: SplitProblem) -> Floats:
    """Return prices of a second on each device, the same for devices with equal times: those (multiplicative weights)
    at which the cheapest device of every group leaves the busiest kind of device the least busy."""
    return _prices(_group_times(problem))


def _group_times(problem: SplitProblem) -> Floats:
    return np.array([[math.fsum(problem.times[one][d] for one in group) for d in range(len(problem.devices))]
                     for group in problem.groups])  # fmt: skip


def _prices(times: Floats) -> Floats:
    columns, kind = np.unique(times, axis=1, return_inverse=True)
    number = np.bincount(kind)
    weights = number / number.sum()
    best, kept = math.inf, weights
    rows = np.arange(len(times))
    for step in range(_ROUNDS):
        chosen = (columns * weights / number).argmin(axis=1)
        load = np.bincount(chosen, weights=columns[rows, chosen], minlength=len(number)) / number
        if load.max() < best:
            best, kept = float(load.max()), weights
        weights = weights * np.exp(0.5 / (1 + step) ** 0.5 * (load - load.mean()) / max(load.max(), 1e-300))
        weights = weights / weights.sum()
    return np.asarray((kept / number)[kind])


def weighted_placement(problem: SplitProblem) -> tuple[int, ...]:
    """Return the device of each operator: one that is cheapest for its group at `device_prices`, of equal ones the
    least busy, the longest group first; memories and links are left out."""
    times = _group_times(problem)
    cost = times * _prices(times)
    least = cost.min(axis=1)
    busy = np.zeros(len(problem.devices))
    found = [0] * len(problem.operators)
    takes = times[np.arange(len(times)), cost.argmin(axis=1)]
    for row in np.argsort(-takes, kind="stable").tolist():
        able = np.flatnonzero(cost[row] <= least[row] * (1 + 1e-12))
        device = int(able[busy[able].argmin()])
        busy[device] += times[row, device]
        for one in problem.groups[row]:
            found[one] = device
    return tuple(found)


def heft_at_prices(problem: SplitProblem, factor: float) -> SplitSchedule | None:
    """Return HEFT with each operator where its end, and `factor` times what it takes there beyond the seconds that its
    cheapest device's price buys, is least: devices keep to the work that they do best (docs/model-split.md, "Lists").
    """
    prices = device_prices(problem)
    times = np.array(problem.times)
    excess_s = times - (times * prices).min(axis=1)[:, None] / prices
    return listed(
        problem, upward_ranks(problem), lambda one, device, end_s: end_s + factor * float(excess_s[one, device])
    )


def balanced_placement(problem: SplitProblem, start: Sequence[int], bound_s: float, limit_s: float) -> tuple[int, ...]:
    """Return a placement after moves of single groups that make the busiest devices and queued links less busy.

    start: a placement; where it exceeds memories, moves out of full devices come first. Stops at the bound, when
    nothing gains, or after so many seconds.
    """
    moves = _Moves(problem, start)
    ends_s = time.monotonic() + limit_s
    stalled = 0
    while stalled < 60 and time.monotonic() < ends_s and moves.busiest_s() > bound_s * (1 + 1e-6):
        stalled = 0 if moves.step() else stalled + 1
    return tuple(moves.devices)


class _Moves:
    """Loads of devices and links of a placement, kept up to date by single moves of groups."""

    def __init__(self, problem: SplitProblem, start: Sequence[int]) -> None:
        self.problem = problem
        self.devices = list(start)
        self.count = len(problem.devices)
        self.load = [0.0] * self.count
        self.held = [0.0] * self.count
        self.links: dict[tuple[int, int], float] = {}
        self.draw = random.Random(1)
        self.linked = len(problem.link_of) == self.count * (self.count - 1)
        self.on: list[list[int]] = [[] for _ in range(self.count)]
        self.tensors = [
            sorted({t for one in group for t in (*problem.inputs[one], *problem.outputs[one])})
            for group in problem.groups
        ]
        self.sizes = [math.fsum(problem.operators[one].memory_bytes for one in group) for group in problem.groups]
        self.times = [
            [math.fsum(problem.times[one][d] for one in group) for d in range(self.count)] for group in problem.groups
        ]
        for number, group in enumerate(problem.groups):
            device = self.devices[group[0]]
            self.load[device] += self.times[number][device]
            self.held[device] += self.sizes[number]
            self.on[device].append(number)
        for tensor in range(len(problem.tensors)):
            self._count(tensor, 1.0, self.links)

    def busiest_s(self) -> float:
        """Return the busiest of devices and links."""
        return max([*self.load, *self.links.values()], default=0.0)

    def step(self) -> bool:
        """Try groups of the busiest device (or of a link's source) elsewhere, take the best move; False: none gains."""
        full = [d for d in range(self.count) if self.held[d] > self.problem.devices[d].memory_bytes * (1 + 1e-12)]
        worst_link = max(self.links, key=self.links.__getitem__, default=None)
        source = max(range(self.count), key=self.load.__getitem__)
        if worst_link is not None and self.links[worst_link] > self.load[source]:
            source = worst_link[self.draw.randrange(2)]
        if full:
            source = full[0]
        if not self.on[source]:
            return False
        target_s = max(self.busiest_s(), 1e-300)
        best: tuple[float, int, int] | None = None
        for number in self.draw.sample(self.on[source], min(_SAMPLE, len(self.on[source]))):
            for device in range(self.count):
                room = self.problem.devices[device].memory_bytes - self.held[device]
                if device == source or self.times[number][device] == math.inf or self.sizes[number] > room:
                    continue
                gain = self._gain(number, source, device, target_s)
                if gain is not None and (best is None or gain > best[0]):
                    best = (gain, number, device)
        if best is None or (best[0] <= 0 and not full):
            return False
        self._move(best[1], source, best[2])
        return True

    def _gain(self, number: int, source: int, device: int, target_s: float) -> float | None:
        """Return by how much the sum of powers of loads falls, None where a link is missing."""
        changed: dict[tuple[int, int], float] = {}
        for tensor in self.tensors[number]:
            self._count(tensor, -1.0, changed)
        self._place(number, device)
        for tensor in self.tensors[number]:
            self._count(tensor, 1.0, changed)
        reachable = self.linked or self._reachable(number)
        self._place(number, source)
        if not reachable:
            return None

        def power(value: float) -> float:
            return float((value / target_s) ** _POWER)

        takes, leaves = self.times[number][device], self.times[number][source]
        gain = power(self.load[source]) - power(self.load[source] - leaves)
        gain += power(self.load[device]) - power(self.load[device] + takes)
        for pair, change in changed.items():
            now = self.links.get(pair, 0.0)
            gain += power(max(0.0, now)) - power(max(0.0, now + change))
        return gain

    def _reachable(self, number: int) -> bool:
        """Return whether every tensor of a group has the links that it takes."""
        for tensor in self.tensors[number]:
            noun = self.problem.tensors[tensor]
            home = self.devices[noun.source]
            if any(
                self.devices[reader] != home and (home, self.devices[reader]) not in self.problem.link_of
                for reader in noun.readers
            ):
                return False
        return True

    def _move(self, number: int, source: int, device: int) -> None:
        for tensor in self.tensors[number]:
            self._count(tensor, -1.0, self.links)
        self._place(number, device)
        for tensor in self.tensors[number]:
            self._count(tensor, 1.0, self.links)
        self.load[source] -= self.times[number][source]
        self.load[device] += self.times[number][device]
        self.held[source] -= self.sizes[number]
        self.held[device] += self.sizes[number]
        self.on[source].remove(number)
        self.on[device].append(number)

    def _place(self, number: int, device: int) -> None:
        for one in self.problem.groups[number]:
            self.devices[one] = device

    def _count(self, tensor: int, sign: float, links: dict[tuple[int, int], float]) -> None:
        """Add what a tensor moves where to the loads of queued links."""
        noun = self.problem.tensors[tensor]
        home = self.devices[noun.source]
        for target in {self.devices[reader] for reader in noun.readers} - {home}:
            link = self.problem.link_of.get((home, target))
            if link is not None and link.queued:
                links[home, target] = links.get((home, target), 0.0) + sign * self.problem.move_s(tensor, home, target)
