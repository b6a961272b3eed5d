"""A placement of many operators that keeps the busiest device and link short: a start by weights, then single moves."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence

import numpy as np

from hardplace.graph_split.types import SplitProblem

_ROUNDS = 400
_POWER = 12.0  # of loads over the target: the busiest few decide
_SAMPLE = 24  # groups that are tried at a time


def weighted_placement(problem: SplitProblem) -> tuple[int, ...]:
    """Return the device of each operator: its group's least weighted time, with the weights (multiplicative) whose
    placement has the least busiest device; memories and links are left out."""
    times = np.array([[math.fsum(problem.times[one][d] for one in group) for d in range(len(problem.devices))]
                      for group in problem.groups])  # fmt: skip
    weights = np.full(times.shape[1], 1.0 / times.shape[1])
    best, chosen_best = math.inf, times.argmin(axis=1)
    rows = np.arange(len(times))
    for step in range(_ROUNDS):
        chosen = (times * weights).argmin(axis=1)
        load = np.bincount(chosen, weights=times[rows, chosen], minlength=times.shape[1])
        if load.max() < best:
            best, chosen_best = float(load.max()), chosen
        weights = weights * np.exp(0.5 / (1 + step) ** 0.5 * (load - load.mean()) / load.max())
        weights = weights / weights.sum()
    found = [0] * len(problem.operators)
    for group, device in zip(problem.groups, chosen_best.tolist(), strict=True):
        for one in group:
            found[one] = int(device)
    return tuple(found)


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
