"""A schedule of a graph on unlike devices, and a placement for a pipeline, by CP-SAT: whole, or with most of it fixed.

docs/model-split.md, "One sample as a constraint model" and "A pipeline as a constraint model". Durations are rounded
down, so the bound holds; what is found is timed again with the true ones.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hardplace.graph_split.solver import new_model, solve, whole_bytes
from hardplace.graph_split.types import OperatorRun, SplitProblem, SplitSchedule, TensorTransfer

_UNITS = 1_000_000  # steps of time up to the value to start from


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactOutcome:
    """What CP-SAT reached.

    Attributes:
        schedule: The best schedule; None: nothing was found, or a placement was asked for.
        devices: Device of each operator of the best placement; None likewise.
        bound_s: Seconds that nothing is below; 0 where parts were fixed.
        impossible: Whether it is proven that there is nothing within what it started from.
    """

    schedule: SplitSchedule | None
    devices: tuple[int, ...] | None
    bound_s: float
    impossible: bool = False


def scheduled(
    problem: SplitProblem,
    start: SplitSchedule,
    limit_s: float,
    *,
    free: Collection[int] | None = None,
    gap: float = 0.0,
) -> ExactOutcome:
    """Solve for the schedule with the least makespan.

    Args:
        problem: Operators, devices and links.
        start: Schedule to start from, which the answer is never above.
        limit_s: Seconds of the search.
        free: Groups that may change device; None: all.
        gap: Relative gap of rates at which it may stop.
    """
    upper_s = start.makespan_s
    model, x, units, scale = _placed_model(problem, start.devices, upper_s, free)
    horizon = math.ceil(upper_s * scale * (1 + 1e-9)) + 1
    home = {one: index for index, group in enumerate(problem.groups) for one in group}
    most = model.new_int_var(0, horizon, "")
    starts = [model.new_int_var(0, horizon, "") for _ in problem.operators]
    ends: list[Any] = []
    queues: dict[object, list[Any]] = {}
    for one in range(len(problem.operators)):
        mine = x[home[one]]
        ends.append(starts[one] + sum(units(problem.times[one][device]) * here for device, here in mine.items()))
        model.add(most >= ends[one])
        for device, here in mine.items():
            takes = units(problem.times[one][device])
            if takes and not _never(here):
                queues.setdefault(device, []).append(
                    model.new_optional_fixed_size_interval_var(starts[one], takes, here, "")
                )
    begins: dict[tuple[int, int, int], Any] = {}
    for index, tensor in enumerate(problem.tensors):
        for reader in tensor.readers:
            model.add(starts[reader] >= ends[tensor.source])
        for a, b, here, readers in _links(model, problem, x, index):
            takes, moves = units(problem.move_s(index, a, b)), _moved(model, here, readers)
            begin = model.new_int_var(0, horizon, "")
            begins[index, a, b] = begin
            model.add(begin >= ends[tensor.source]).only_enforce_if(moves)
            if takes and problem.link_of[a, b].queued:
                queues.setdefault((a, b), []).append(
                    model.new_optional_fixed_size_interval_var(begin, takes, moves, "")
                )
            for r in tensor.readers:
                there = x[home[r]].get(b, 0)
                if not _never(there):
                    model.add(starts[r] >= begin + takes).only_enforce_if([moves, there])
            if len(tensor.readers) == 1:
                model.add(starts[tensor.readers[0]] >= ends[tensor.source] + takes * moves)
    for intervals in queues.values():
        model.add_no_overlap(intervals)
    for device in range(len(problem.devices)):
        model.add(
            sum(units(problem.times[one][device]) * x[home[one]].get(device, 0) for one in range(len(starts))
                if device in x[home[one]]) <= most
        )  # fmt: skip
    model.minimize(most)
    hint = {starts[one]: units(run.start_s) for one, run in enumerate(start.runs)} | _hint(problem, x, start.devices)
    solved = solve(model, limit_s, hint=hint, gap=gap / (1 + gap))
    bound_s = 0.0 if free is not None else solved.bound / scale
    if solved.impossible and free is None:
        bound_s = upper_s
    if solved.value is None:
        return ExactOutcome(schedule=None, devices=None, bound_s=max(0.0, bound_s))
    devices = _read(problem, x, solved.value)
    position = {one: index for index, one in enumerate(problem.order)}
    items: list[tuple[float, float, tuple[int, int] | int]] = [
        (solved.value(starts[one]), position[one], one) for one in position
    ]
    for index, tensor in enumerate(problem.tensors):
        a = devices[tensor.source]
        for b in {devices[reader] for reader in tensor.readers} - {a}:
            items.append((solved.value(begins[index, a, b]), position[tensor.source] + 0.5, (index, b)))
    items.sort(key=lambda item: item[:2])
    return ExactOutcome(
        schedule=replayed(problem, devices, [item[2] for item in items]), devices=devices, bound_s=max(0.0, bound_s)
    )


def pipelined(
    problem: SplitProblem,
    devices: Sequence[int],
    upper_s: float,
    limit_s: float,
    *,
    free: Collection[int] | None = None,
    gap: float = 0.0,
) -> ExactOutcome:
    """Solve for the placement whose busiest device or link takes least.

    Args:
        problem: Operators, devices and links.
        devices: Placement to start from.
        upper_s: Seconds that it takes.
        limit_s: Seconds of the search.
        free: Groups that may change device; None: all.
        gap: Relative gap of rates at which it may stop.
    """
    model, x, units, scale = _placed_model(problem, devices, upper_s, free)
    horizon = math.ceil(upper_s * scale * (1 + 1e-9)) + 1
    home = {one: index for index, group in enumerate(problem.groups) for one in group}
    most = model.new_int_var(0, horizon, "")
    busy: dict[tuple[int, int], list[Any]] = {}
    for one in range(len(problem.operators)):
        for device, here in x[home[one]].items():
            busy.setdefault((device, device), []).append(units(problem.times[one][device]) * here)
    for index in range(len(problem.tensors)):
        for a, b, here, readers in _links(model, problem, x, index):
            if problem.link_of[a, b].queued:
                moves = _moved(model, here, readers)
                busy.setdefault((a, b), []).append(units(problem.move_s(index, a, b)) * moves)
    for terms in busy.values():
        model.add(sum(terms) <= most)
    model.minimize(most)
    solved = solve(model, limit_s, hint=_hint(problem, x, devices), gap=gap / (1 + gap))
    bound_s = 0.0 if free is not None else upper_s if solved.impossible else max(0.0, solved.bound) / scale
    found = None if solved.value is None else _read(problem, x, solved.value)
    return ExactOutcome(schedule=None, devices=found, bound_s=bound_s, impossible=free is None and solved.impossible)


def replayed(problem: SplitProblem, devices: Sequence[int], order: Sequence[tuple[int, int] | int]) -> SplitSchedule:
    """Return the schedule that does everything as early as it can in a given order.

    Args:
        problem: Operators, devices and links.
        devices: Device of each operator.
        order: Operators by index, and transfers as (tensor, device).
    """
    runs: dict[int, OperatorRun] = {}
    moves: dict[tuple[int, int], TensorTransfer] = {}
    free_s: dict[object, float] = {}
    for item in order:
        if isinstance(item, int):
            device = devices[item]
            takes_s = problem.times[item][device]
            ready = [free_s.get(device, 0.0) if takes_s > 0.0 else 0.0]  # what takes no time waits for no device
            for tensor in problem.inputs[item]:
                source = problem.tensors[tensor].source
                ready.append(runs[source].end_s if devices[source] == device else moves[tensor, device].end_s)
            start_s = max(ready)
            end_s = start_s + takes_s
            free_s[device] = max(free_s.get(device, 0.0), end_s)
            runs[item] = OperatorRun(operator=item, device=device, start_s=start_s, end_s=end_s)
        else:
            tensor, target = item
            source = problem.tensors[tensor].source
            link = problem.link_of[devices[source], target]
            start_s = max(runs[source].end_s, free_s.get((link.source, target), 0.0) if link.queued else 0.0)
            end_s = start_s + problem.move_s(tensor, link.source, target)
            free_s[link.source, target] = end_s
            moves[item] = TensorTransfer(tensor=tensor, source=link.source, target=target, start_s=start_s, end_s=end_s)
    return SplitSchedule(
        runs=tuple(runs[one] for one in range(len(problem.operators))), transfers=tuple(moves.values())
    )


def _placed_model(
    problem: SplitProblem, devices: Sequence[int], upper_s: float, free: Collection[int] | None
) -> tuple[Any, list[dict[int, Any]], Any, float]:
    """Return a model with the placement's variables, by group and device, the rounding of seconds, and its scale."""
    scale = _scale(problem, upper_s)

    def units(seconds: float) -> int:
        return math.floor(seconds * scale * (1 + 1e-12) + 1e-9)

    model = new_model()
    x: list[dict[int, Any]] = []
    for index, group in enumerate(problem.groups):
        if free is not None and index not in free:
            x.append({devices[group[0]]: 1})
            continue
        allowed = [
            device for device in range(len(problem.devices))
            if all(problem.times[one][device] < math.inf for one in group)
        ]  # fmt: skip
        x.append({device: model.new_bool_var("") for device in allowed})
        model.add_exactly_one(x[-1].values())
    held_bytes = [sum(problem.operators[one].memory_bytes for one in group) for group in problem.groups]
    for device, noun in enumerate(problem.devices):
        if noun.memory_bytes < math.inf:
            sizes, room = whole_bytes(held_bytes, noun.memory_bytes)
            model.add(sum(size * here[device] for size, here in zip(sizes, x, strict=True) if device in here) <= room)
    return model, x, units, scale


def _scale(problem: SplitProblem, upper_s: float) -> float:
    """Return units a second: a power of ten in which all durations are whole, so that what is proven is exact, or as
    many as keep the numbers below a billion."""
    durations = [one for row in problem.times for one in row if one < math.inf] + [
        problem.move_s(index, *pair) for index in range(len(problem.tensors)) for pair in problem.link_of
    ]
    for power in range(-3, 16):
        scale = 10.0**power
        if upper_s * scale > 1e9:
            break
        if all(abs(one * scale - round(one * scale)) <= 1e-9 * max(1.0, one * scale) for one in durations):
            return scale
    return _UNITS / upper_s


def _links(
    model: Any, problem: SplitProblem, x: Sequence[dict[int, Any]], index: int
) -> Iterator[tuple[int, int, Any, list[Any]]]:
    """Yield each link that a tensor may take: its ends, whether the source is at the one, which readers at the other.
    Where there is no link, not both are allowed."""
    tensor = problem.tensors[index]
    home = {one: group for group, members in enumerate(problem.groups) for one in members}
    elsewhere = [home[one] for one in tensor.readers if home[one] != home[tensor.source]]
    for a, here in x[home[tensor.source]].items():
        for b in range(len(problem.devices)):
            readers = [there for there in (x[group].get(b, 0) for group in elsewhere) if not _never(there)]
            if a == b or _never(here) or not readers:
                continue
            if (a, b) in problem.link_of:
                yield a, b, here, readers
                continue
            for there in readers:
                model.add(here + there <= 1)


def _moved(model: Any, here: Any, readers: Sequence[Any]) -> Any:
    """Return whether a tensor takes a link, as a variable."""
    moves = model.new_bool_var("")
    for there in readers:
        model.add(moves >= here + there - 1)
    return moves


def _never(literal: Any) -> bool:
    return isinstance(literal, int) and literal == 0


def _hint(problem: SplitProblem, x: Sequence[dict[int, Any]], devices: Sequence[int]) -> dict[Any, int]:
    return {
        literal: int(devices[group[0]] == device)
        for index, group in enumerate(problem.groups)
        for device, literal in x[index].items()
        if not isinstance(literal, int)
    }


def _read(problem: SplitProblem, x: Sequence[dict[int, Any]], value: Any) -> tuple[int, ...]:
    found = [0] * len(problem.operators)
    for index, group in enumerate(problem.groups):
        device = next(device for device, here in x[index].items() if (here if isinstance(here, int) else value(here)))
        for one in group:
            found[one] = device
    return tuple(found)
