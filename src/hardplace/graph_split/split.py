"""An operator graph on unlike devices: the solvers in turn, the best of them checked, and a bound beside it."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hardplace.errors import Contradiction
from hardplace.graph_split.balance import balanced_placement, heft_at_prices, weighted_placement
from hardplace.graph_split.bounds import critical_path_s, fitting_problem, load_s, makespan_bound_s
from hardplace.graph_split.checker import busiest_s, placement_violations, violations
from hardplace.graph_split.coarsen import chains, lifted, merged
from hardplace.graph_split.exact import ExactOutcome, pipelined, scheduled
from hardplace.graph_split.lists import heft, peft, placed
from hardplace.graph_split.series import in_series
from hardplace.graph_split.types import OperatorRun, SplitProblem, SplitSchedule, TensorTransfer

_WHOLE = 12_000  # operators and transfers, by device, up to which CP-SAT takes the whole graph
_FACTORS = (4.0, 2.0, 8.0)  # of what an operator takes beyond its price
_LARGEST = 60_000  # up to which it takes it with most of it fixed


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitOutcome:
    """The best split that was found, with a bound.

    Attributes:
        schedule: The schedule; of a pipeline, that of one sample.
        value_s: Seconds of one sample, or between two.
        bound_s: Seconds that no split is below.
        methods: Solver and seconds that it reached, in the order in which they ran.
        seconds: Seconds of the search.
    """

    schedule: SplitSchedule
    value_s: float
    bound_s: float
    methods: tuple[tuple[str, float], ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryShortage:
    """What is short where no placement fits.

    Attributes:
        needed_bytes: Bytes of all operators.
        available_bytes: Bytes of all devices.
        operator: The largest operator or group.
        operator_bytes: Its bytes.
        largest_bytes: Bytes of the largest device.
        proven: Whether no placement fits; false: none was found in the time.
    """

    needed_bytes: float
    available_bytes: float
    operator: str
    operator_bytes: float
    largest_bytes: float
    proven: bool


def split_latency(problem: SplitProblem, *, limit_s: float = 10.0, gap: float = 0.0) -> SplitOutcome | MemoryShortage:
    """Solve for the schedule of one sample with the least makespan: lists, exchanges, CP-SAT in turn.

    Args:
        problem: Operators, devices and links.
        limit_s: Seconds of the search.
        gap: Relative gap at which it may stop.

    Returns:
        The best schedule, checked against the rules, with a bound; or what memory is short.
    """
    return _split(problem, limit_s, gap, pipeline=False)


def split_pipeline(problem: SplitProblem, *, limit_s: float = 10.0, gap: float = 0.0) -> SplitOutcome | MemoryShortage:
    """Solve for the placement with the least seconds between two samples.

    Args:
        problem: Operators, devices and links.
        limit_s: Seconds of the search.
        gap: Relative gap at which it may stop.

    Returns:
        The best placement with a bound; or what memory is short.
    """
    return _split(problem, limit_s, gap, pipeline=True)


def _split(problem: SplitProblem, limit_s: float, gap: float, *, pipeline: bool) -> SplitOutcome | MemoryShortage:
    began_s = time.monotonic()
    ends_s = began_s + limit_s
    parts = chains(problem, lossless=True)
    if len(parts) == len(problem.operators):
        parts, small = [[one] for one in range(len(parts))], problem
    else:
        small = merged(problem, parts)
    bound_s = load_s(problem) if pipeline else max(critical_path_s(problem), load_s(problem))
    search = _Search(problem, pipeline=pipeline, gap=gap)
    for name, found in _starts(problem):
        search.offer(name, found)
        late = time.monotonic() > began_s + 0.6 * limit_s or search.value_s <= bound_s * (1 + gap) * (1 + 1e-9)
        if late and search.best is not None:
            break
    if search.best is None:
        fitted = _fitted(problem, min(limit_s, 10.0))
        if fitted.devices is None:
            return _shortage(problem, impossible=fitted.impossible)
        search.offer("within memory", placed(problem, fitted.devices))
    if not pipeline and search.value_s > bound_s:
        bound_s = max(bound_s, makespan_bound_s(problem, search.value_s))
        if search.value_s > bound_s * (1 + gap) * (1 + 1e-9):
            joined = in_series(problem, search.value_s, 0.5 * (ends_s - time.monotonic()))
            bound_s = max(bound_s, joined.bound_s)
            search.offer("segments by CP-SAT", joined.schedule)
    size = _size(small)
    if size > _WHOLE and search.value_s > bound_s * (1 + max(gap, 1e-3)):
        for name, start in (("balanced", weighted_placement(problem)), ("balanced from the best", _best_of(search))):
            if start is not None and (left_s := ends_s - time.monotonic()) > 0.05:
                devices = balanced_placement(problem, start, bound_s, 0.4 * left_s)
                if not placement_violations(problem, devices):
                    search.offer(name, placed(problem, devices))
    while (
        search.value_s > bound_s * (1 + gap) * (1 + 1e-9)
        and size <= _LARGEST
        and (left_s := ends_s - time.monotonic()) > 0.05
    ):
        if size <= _WHOLE:
            share_s = left_s * (1.0 if search.tried else 0.6)
            bound_s = max(bound_s, search.exact(small, parts, share_s))
            if search.tried > 1:
                break
        else:
            search.neighbourhood(small, parts, min(left_s, 5.0))
            if search.tried > 200:
                break
    assert search.best is not None
    schedule = search.best
    broken = placement_violations(problem, schedule.devices) if pipeline else violations(problem, schedule)
    if broken:
        raise Contradiction(f"a split of {problem.name} breaks a rule: {broken[0]}")
    return SplitOutcome(
        schedule=schedule, value_s=search.value_s, bound_s=min(bound_s, search.value_s),
        methods=tuple(search.methods), seconds=time.monotonic() - began_s,
    )  # fmt: skip


def _best_of(search: _Search) -> tuple[int, ...] | None:
    return None if search.best is None else search.best.devices


def _starts(problem: SplitProblem) -> Iterator[tuple[str, SplitSchedule | None]]:
    """Yield the schedules to start from, None where a rule has no place left; of equal devices one."""
    equal = {(noun.kind, noun.memory_bytes): device for device, noun in reversed(list(enumerate(problem.devices)))}
    for device in sorted(equal.values()):
        devices = [device] * len(problem.operators)
        if not placement_violations(problem, devices):
            yield f"all on {problem.devices[device].name}", placed(problem, devices)
    first, *others = _FACTORS
    yield "HEFT", heft(problem)
    yield "HEFT at prices", heft_at_prices(problem, first)
    yield "PEFT", peft(problem)
    for factor in others:
        yield "HEFT at prices", heft_at_prices(problem, factor)
    rough = chains(problem, lossless=False)
    if len(rough) < len(problem.operators):
        coarse = merged(problem, rough)
        for name, rule in (("HEFT of chains", heft), ("PEFT of chains", peft)):
            schedule = rule(coarse)
            if schedule is not None:
                devices = list(lifted(rough, schedule.devices, len(problem.operators)))
                if not placement_violations(problem, devices):
                    yield name, placed(problem, devices)


class _Search:
    """The best so far by the value that is asked for, always timed again from the placement or by the
    checker's rules."""

    def __init__(self, problem: SplitProblem, *, pipeline: bool, gap: float) -> None:
        self.problem, self.pipeline, self.gap = problem, pipeline, gap
        self.best: SplitSchedule | None = None
        self.value_s = math.inf
        self.methods: list[tuple[str, float]] = []
        self.tried = 0
        self._draw = random.Random(1)

    def offer(self, name: str, schedule: SplitSchedule | None) -> bool:
        """Take a schedule if it is better; return whether it was."""
        if schedule is None:
            return False
        value_s = busiest_s(self.problem, schedule.devices) if self.pipeline else schedule.makespan_s
        self.methods.append((name, value_s))
        if value_s < self.value_s * (1 - 1e-12):
            self.best, self.value_s = schedule, value_s
            return True
        return False

    def exact(self, small: SplitProblem, parts: Sequence[Sequence[int]], limit_s: float) -> float:
        """Try the whole graph; return the bound."""
        self.tried += 1
        return self._model("CP-SAT", small, parts, limit_s, None)[1]

    def neighbourhood(self, small: SplitProblem, parts: Sequence[Sequence[int]], limit_s: float) -> bool:
        """Free the groups of a stretch of time, leave the others where they are; return whether it gained."""
        self.tried += 1
        assert self.best is not None
        span_s = self.best.makespan_s
        width = 0.02 + 0.2 * self._draw.random()
        start_s = span_s * self._draw.random() * (1 - width)
        runs = self.best.runs
        free = {
            index
            for index, group in enumerate(small.groups)
            if any(start_s <= runs[parts[one][0]].start_s <= start_s + width * span_s for one in group)
        }
        return bool(free) and self._model("neighbourhoods by CP-SAT", small, parts, limit_s, free)[0]

    def _model(
        self, name: str, small: SplitProblem, parts: Sequence[Sequence[int]], limit_s: float, free: set[int] | None
    ) -> tuple[bool, float]:
        assert self.best is not None
        devices = [self.best.devices[part[0]] for part in parts]
        if any(self.best.devices[one] != device for part, device in zip(parts, devices, strict=True) for one in part):
            return False, 0.0
        count = len(self.problem.operators)
        if self.pipeline:
            outcome = pipelined(small, devices, self.value_s, limit_s, free=free, gap=self.gap)
            if outcome.devices is None:
                return False, outcome.bound_s
            return self.offer(name, placed(self.problem, lifted(parts, outcome.devices, count))), outcome.bound_s
        start = placed(small, devices) if small is not self.problem else self.best
        model = small if free is not None else fitting_problem(small, start.makespan_s)
        outcome = scheduled(model, start, limit_s, free=free, gap=self.gap)
        if outcome.schedule is None:
            return False, outcome.bound_s
        if small is self.problem:
            return self.offer(name, outcome.schedule), outcome.bound_s
        devices_of = lifted(parts, outcome.schedule.devices, count)
        timed = unmerged(self.problem, parts, outcome.schedule)
        gained = self.offer(name, timed)
        return self.offer(name, placed(self.problem, devices_of)) or gained, outcome.bound_s


def unmerged(problem: SplitProblem, parts: Sequence[Sequence[int]], schedule: SplitSchedule) -> SplitSchedule:
    """Return the schedule of the graph from that of its chains, whose later operators take no time.

    Args:
        problem: The graph.
        parts: Operators of each chain.
        schedule: Schedule of the chains.
    """
    runs: dict[int, OperatorRun] = {}
    for part, run in zip(parts, schedule.runs, strict=True):
        at = run.start_s
        for one in part:
            end_s = at + problem.times[one][run.device]
            runs[one] = OperatorRun(operator=one, device=run.device, start_s=at, end_s=end_s)
            at = end_s
    home = {one: index for index, part in enumerate(parts) for one in part}
    kept = [
        index for index, tensor in enumerate(problem.tensors)
        if any(home[reader] != home[tensor.source] for reader in tensor.readers)
    ]  # fmt: skip
    moves = tuple(
        TensorTransfer(
            tensor=kept[move.tensor], source=move.source, target=move.target, start_s=move.start_s, end_s=move.end_s
        )
        for move in schedule.transfers
    )
    return SplitSchedule(runs=tuple(runs[one] for one in range(len(problem.operators))), transfers=moves)


def _size(problem: SplitProblem) -> int:
    """Return how many optional intervals the whole model has at most."""
    count = len(problem.devices)
    return len(problem.operators) * count + sum(min(count * (count - 1), 64) for _ in problem.tensors)


def _fitted(problem: SplitProblem, limit_s: float) -> ExactOutcome:
    """Return a placement within the memories where lists found none, or whether there is none."""
    upper_s = sum(max(one for one in row if one < math.inf) for row in problem.times) + sum(
        max((problem.move_s(index, *pair) for pair in problem.link_of), default=0.0)
        for index in range(len(problem.tensors))
    )
    first = [min(device for device, takes in enumerate(row) if takes < math.inf) for row in problem.times]
    return pipelined(problem, first, max(upper_s, 1e-300), limit_s)


def _shortage(problem: SplitProblem, *, impossible: bool) -> MemoryShortage:
    """Return what is short: of the group that lacks most on the devices that support it, or of all."""
    memories = [device.memory_bytes for device in problem.devices]

    def held(group: tuple[int, ...]) -> float:
        return sum(problem.operators[one].memory_bytes for one in group)

    def room(group: tuple[int, ...]) -> float:
        able = [
            size for device, size in enumerate(memories) if all(problem.times[one][device] < math.inf for one in group)
        ]
        return max(able, default=0.0)

    largest = max(problem.groups, key=lambda group: held(group) - room(group))
    return MemoryShortage(
        needed_bytes=sum(map(held, problem.groups)),
        available_bytes=sum(memories),
        operator=problem.operators[largest[0]].name,
        operator_bytes=held(largest),
        largest_bytes=room(largest),
        proven=impossible or held(largest) > room(largest) or sum(map(held, problem.groups)) > sum(memories),
    )
