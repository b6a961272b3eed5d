"""Where a model may be cut into pipeline stages: parts that its own containers name, in the order they run."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

import torch

from hardplace.workload.recording.step import parameters_of
from hardplace.workload.recording.trace import Trace
from hardplace.workload.types import OperatorKind, Phase

_CONTAINERS = (torch.nn.ModuleList, torch.nn.Sequential)
_MOSTLY = 0.9  # share of a part's parameters that a container within it must hold to be cut instead


@dataclass(frozen=True, slots=True)
class ModelPart:
    """A stage-able part: path of its module ("" for what runs between parts), first moment, its number in the order."""

    path: str
    start: int


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _containers(path: str, module: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    """Return the outermost containers within a module, with their paths."""
    found = []
    for name, child in module.named_children():
        where = _joined(path, name)
        if isinstance(child, _CONTAINERS) and len(list(child.children())) >= (
            1 if isinstance(child, torch.nn.ModuleList) else 2
        ):
            found.append((where, child))
        else:
            found += _containers(where, child)
    return found


class ModelParts:
    """The parts of a trace: which one each event belongs to."""

    def __init__(self, model: torch.nn.Module, trace: Trace) -> None:
        self._trace = trace
        self._paths: set[str] = set()
        self._groups: set[str] = set()  # containers whose children run side by side: one part together
        outermost = [("", model)] if isinstance(model, _CONTAINERS) else _containers("", model)
        for path, container in outermost:
            self._add(path, container)
        self.parts, self._of_call = self._instances()
        self._starts = [part.start for part in self.parts]

    def _add(self, path: str, container: torch.nn.Module) -> None:
        """Cut a container at its children, or at those of the containers within them that hold nearly all."""
        children = [_joined(path, name) for name, _ in container.named_children()]
        if not self._chained(children):
            self._groups.add(path)
            return
        for child, module in zip(children, container.children(), strict=True):
            inner = _containers(child, module)
            if module.__class__ in _CONTAINERS:
                inner = [(child, module)]
            if len(inner) == 1 and self._finer(module, *inner[0]):
                self._add(*inner[0])
            else:
                self._paths.add(child)

    def _finer(self, whole: torch.nn.Module, path: str, container: torch.nn.Module) -> bool:
        """Return whether a container's children are alike, hold nearly all and hand on one tensor at a time."""
        alike = len({type(child) for child in container.children()}) == 1
        if not alike or parameters_of(container) < _MOSTLY * parameters_of(whole):
            return False
        return self._crossings([_joined(path, name) for name, _ in container.named_children()]) <= 1

    def _spans(self, paths: list[str]) -> list[tuple[int, int]]:
        """Return first and last forward event of modules, in the order they ran."""
        spans: dict[str, tuple[int, int]] = {}
        wanted = set(paths)
        owner: list[str] = []
        for call in self._trace.calls:
            owner.append(call.path if call.path in wanted else (owner[call.caller] if owner else ""))
        for index, event in enumerate(self._trace.events):
            if event.phase is not Phase.FORWARD:
                break
            path = owner[event.call]
            if path:
                spans[path] = (spans.get(path, (index, index))[0], index)
        return sorted(spans.values())

    def _chained(self, paths: list[str]) -> bool:
        """Return whether each module's forward pass needs what the one before made."""
        spans = self._spans(paths)
        events = self._trace.events
        for (start, end), (after, last) in pairwise(spans):
            reached = set().union(*(self._trace.storages(event.writes) for event in events[start : end + 1]))
            for index in range(end + 1, last + 1):
                if reached & self._trace.storages(events[index].reads):
                    reached |= self._trace.storages(events[index].writes)
                    if index >= after:
                        break
            else:
                return False
        return True

    def _crossings(self, paths: list[str]) -> int:
        """Return the most computed storages that pass from before to after a boundary between modules."""
        trace, spans = self._trace, self._spans(paths)
        made: dict[int, int] = {}
        used: dict[int, int] = {}
        for index, event in enumerate(trace.events):
            if event.phase is not Phase.FORWARD:
                break
            if event.kind is not OperatorKind.VIEW:
                used.update(dict.fromkeys(trace.storages(event.reads), index))
                for storage in trace.storages(event.writes) & trace.computed:
                    made.setdefault(storage, index)
        return max(
            (sum(index <= end < used.get(storage, -1) for storage, index in made.items()) for _, end in spans[:-1]),
            default=0,
        )

    def _instances(self) -> tuple[list[ModelPart], dict[int, int]]:
        """Return the parts in the order they ran, what lies between among them, and the part of each call."""
        trace = self._trace
        owner: list[int] = []
        first_of: dict[str, int] = {}
        for number, call in enumerate(trace.calls):
            above = owner[call.caller] if number else -1
            group = call.path.rpartition(".")[0]
            if above < 0 and group in self._groups:
                above = first_of.setdefault(group, number)
            owner.append(above if above >= 0 else (number if call.path in self._paths else -1))
        paths = {number: path for path, number in first_of.items()}
        parts = [ModelPart("", 0)]
        numbers: dict[int, int] = {}
        inside = -1
        for index, event in enumerate(trace.events):
            if event.phase is not Phase.FORWARD:
                break
            instance = owner[event.call]
            if instance == inside or instance in numbers:
                continue
            inside = instance
            if instance >= 0:
                numbers[instance] = len(parts)
            parts.append(ModelPart(paths.get(instance, trace.calls[instance].path) if instance >= 0 else "", index))
        return parts, {call: numbers[one] for call, one in enumerate(owner) if one in numbers}

    def of(self, call: int, moment: int) -> int:
        """Return the part that an event of a call at a moment belongs to."""
        found = self._of_call.get(call)
        if found is not None:
            return found
        number = bisect_right(self._starts, moment) - 1
        # What a call outside all parts does at a boundary belongs to what follows there.
        between = number + 1 < len(self.parts) and not self.parts[number + 1].path
        return number + 1 if self.parts[number].path and between else number
