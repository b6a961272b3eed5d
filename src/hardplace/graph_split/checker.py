"""Whether a schedule keeps the rules of docs/model-split.md, read from the rules alone: no solver is trusted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hardplace.graph_split.types import SplitProblem, SplitSchedule

_NOISE = 1e-9


def violations(problem: SplitProblem, schedule: SplitSchedule) -> list[str]:
    """Return the rules of docs/model-split.md that a schedule breaks.

    Args:
        problem: Operators, devices and links.
        schedule: Device, start and end of each operator, and transfers, in seconds.

    Returns:
        One line for each; empty where the schedule is valid.
    """
    found: list[str] = placement_violations(problem, schedule.devices)
    slack = _NOISE * max(schedule.makespan_s, 1e-300)
    runs = schedule.runs
    for index, run in enumerate(runs):
        takes = problem.times[index][run.device]
        if run.operator != index or run.start_s < -slack or not abs(run.end_s - run.start_s - takes) <= slack:
            found.append(f"{problem.operators[index].name}: runs {run.start_s} to {run.end_s}, takes {takes}")
    for device in range(len(problem.devices)):
        mine = sorted((run.start_s, run.end_s) for run in runs if run.device == device)
        found += [f"device {device}: two operators at {after[0]}" for before, after in _overlaps(mine, slack)]
    arrives = {}
    for move in schedule.transfers:
        tensor = problem.tensors[move.tensor]
        takes = problem.move_s(move.tensor, move.source, move.target)
        if move.source != runs[tensor.source].device or move.start_s < runs[tensor.source].end_s - slack:
            found.append(f"tensor {move.tensor}: moves before it is there")
        if not abs(move.end_s - move.start_s - takes) <= slack:
            found.append(f"tensor {move.tensor}: moves in {move.end_s - move.start_s}, takes {takes}")
        arrives[move.tensor, move.target] = move.end_s
    for link in problem.links:
        if link.queued:
            mine = sorted(
                (move.start_s, move.end_s)
                for move in schedule.transfers
                if (move.source, move.target) == (link.source, link.target)
            )
            found += [
                f"link {link.source} to {link.target}: two tensors at {after[0]}"
                for before, after in _overlaps(mine, slack)
            ]
    for index, tensor in enumerate(problem.tensors):
        for reader in tensor.readers:
            home, there = runs[tensor.source].device, runs[reader].device
            at = runs[tensor.source].end_s if home == there else arrives.get((index, there))
            if at is None or runs[reader].start_s < at - slack:
                found.append(f"{problem.operators[reader].name}: starts before tensor {index} is there")
    return found


def placement_violations(problem: SplitProblem, devices: Sequence[int]) -> list[str]:
    """Return what a placement breaks: support, groups, memory, links.

    Args:
        problem: Operators, devices and links.
        devices: Device of each operator, by index.
    """
    found = []
    held = [0.0] * len(problem.devices)
    for index, device in enumerate(devices):
        one = problem.operators[index]
        if problem.devices[device].kind not in one.time_s:
            found.append(f"{one.name}: not supported on {problem.devices[device].name}")
        held[device] += one.memory_bytes
    for group in problem.groups:
        if len({devices[one] for one in group}) > 1:
            found.append(f"{problem.operators[group[0]].name}: apart from its group")
    for noun, size in zip(problem.devices, held, strict=True):
        if size > noun.memory_bytes * (1 + 1e-12):
            found.append(f"{noun.name}: holds {size:.6g} of {noun.memory_bytes:.6g} bytes")
    for tensor in problem.tensors:
        for reader in tensor.readers:
            pair = (devices[tensor.source], devices[reader])
            if pair[0] != pair[1] and pair not in problem.link_of:
                found.append(f"no link from {problem.devices[pair[0]].name} to {problem.devices[pair[1]].name}")
    return found


def busiest_s(problem: SplitProblem, devices: Sequence[int]) -> float:
    """Return the seconds between two samples of a pipeline: the busiest of devices and queued links.

    A device is busy for its operators, a link for the tensors that cross it, each once for each device that reads
    it; devices and links work on different samples at the same time.

    Args:
        problem: Operators, devices and links.
        devices: Device of each operator, by index.
    """
    compute = [0.0] * len(problem.devices)
    for index, device in enumerate(devices):
        compute[device] += problem.times[index][device]
    moved: dict[tuple[int, int], float] = {}
    for index, tensor in enumerate(problem.tensors):
        home = devices[tensor.source]
        for target in {devices[reader] for reader in tensor.readers} - {home}:
            if problem.link_of[home, target].queued:
                moved[home, target] = moved.get((home, target), 0.0) + problem.move_s(index, home, target)
    return max([*compute, *moved.values()])


def _overlaps(
    spans: Sequence[tuple[float, float]], slack: float
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Return neighbours, in order of their starts, of which the second starts before the first ends."""
    longer = [one for one in spans if one[1] - one[0] > slack]
    return [(one, two) for one, two in pairwise(longer) if two[0] < one[1] - slack]
