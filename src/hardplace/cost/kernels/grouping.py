"""Which recorded operators run as one kernel (docs/model-cost.md, "Fusion")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hardplace.cost.types import Fusion
from hardplace.workload.types import Layer, OperatorKind

PRODUCTS = {OperatorKind.MATMUL, OperatorKind.GROUPED_MATMUL, OperatorKind.CONVOLUTION}
_POINTWISE = {OperatorKind.ELEMENTWISE, OperatorKind.COPY}
_VECTOR = _POINTWISE | {
    OperatorKind.REDUCTION,
    OperatorKind.NORMALISATION,
    OperatorKind.SOFTMAX,
    OperatorKind.CROSS_ENTROPY,
}


@dataclass(slots=True)
class FusionGroup:
    """Operators, by index, that run as one kernel, and the groups that it waits for."""

    operators: list[int]
    before: set[int]  # direct predecessors, as group numbers


def _dependencies(layer: Layer, chosen: list[int]) -> dict[int, set[int]]:
    """Return the operators that each chosen one waits for: writers of what it reads, readers of what it overwrites."""
    writer: dict[int, int] = {}
    readers: dict[int, set[int]] = {}
    waits: dict[int, set[int]] = {}
    for index in chosen:
        operator = layer.operators[index]
        reads, writes = layer.storages_of(operator.reads), layer.storages_of(operator.writes)
        found = {writer[storage] for storage in reads if storage in writer}
        for storage in writes:
            found |= readers.get(storage, set())
            if storage in writer:
                found.add(writer[storage])
        for storage in reads:
            readers.setdefault(storage, set()).add(index)
        for storage in writes:
            writer[storage], readers[storage] = index, set()
        waits[index] = found - {index}
    return waits


def _ancestors(groups: Mapping[int, FusionGroup], start: set[int]) -> set[int]:
    """Return all groups from which one of `start` can be reached, those included."""
    seen: set[int] = set()
    stack = list(start)
    while stack:
        group = stack.pop()
        if group not in seen:
            seen.add(group)
            stack.extend(groups[group].before)
    return seen


def _apart(groups: Mapping[int, FusionGroup], one: int, other: int) -> bool:
    """Return whether a path joins two groups through a third, so that they cannot become one."""
    return one in _ancestors(groups, groups[other].before - {one}) or other in _ancestors(
        groups, groups[one].before - {other}
    )


def _absorb(groups: dict[int, FusionGroup], into: int, number: int) -> None:
    """Merge group `number` into group `into`."""
    gone = groups.pop(number)
    groups[into].operators += gone.operators
    groups[into].before = (groups[into].before | gone.before) - {into, number}
    for group in groups.values():
        if number in group.before:
            group.before = (group.before - {number}) | {into}


def _chains(layer: Layer, chosen: list[int]) -> dict[int, FusionGroup]:
    """Return groups by number; a vector operator joins the vector groups that feed it, or one that reads the same."""
    groups: dict[int, FusionGroup] = {}
    home: dict[int, int] = {}

    def is_vector(number: int) -> bool:
        return layer.operators[number].kind in _VECTOR

    for index, waits in _dependencies(layer, chosen).items():
        before = {home[other] for other in waits}
        groups[index] = FusionGroup(operators=[index], before=before)
        home[index] = index
        if not is_vector(index):
            continue
        siblings = [number for number in groups if number != index and groups[number].before == before]
        for number in sorted(before, reverse=True):
            if number in groups and is_vector(number) and not _apart(groups, number, home[index]):
                _absorb(groups, number, home[index])
                for operator in groups[number].operators:
                    home[operator] = number
        if before and home[index] == index:
            for number in siblings:
                if is_vector(number) and _pointwise(layer, groups[number]) and not _apart(groups, number, index):
                    _absorb(groups, number, index)
                    home[index] = number
                    break
    return groups


def _pointwise(layer: Layer, group: FusionGroup) -> bool:
    return all(layer.operators[index].kind in _POINTWISE for index in group.operators)


def _merge_epilogues(layer: Layer, groups: dict[int, FusionGroup]) -> dict[int, FusionGroup]:
    """Return groups with pointwise ones joined to the matmul whose result only they read."""
    matmuls = [number for number in groups if layer.operators[number].kind in PRODUCTS]
    for number in sorted(matmuls):
        followers = [other for other, group in groups.items() if number in group.before]
        if len(followers) != 1:
            continue
        epilogue = groups[followers[0]]
        if not _pointwise(layer, epilogue) or number in _ancestors(groups, epilogue.before - {number}):
            continue
        _absorb(groups, number, followers[0])
    return groups


def _alone(layer: Layer, chosen: list[int]) -> dict[int, FusionGroup]:
    """Return a group for each operator."""
    return {
        index: FusionGroup(operators=[index], before=set(waits))
        for index, waits in _dependencies(layer, chosen).items()
    }


def _with_only_successor(layer: Layer, groups: dict[int, FusionGroup]) -> dict[int, FusionGroup]:
    """Return groups by PHAZE's rules: an operator takes its only successor's group, where the kinds allow it.

    A product takes what is element-wise, a copy, a normalisation; an element-wise operator what is element-wise, a
    copy, a reduction. Last operators first, so that a product finds the chain behind its successor whole.
    """
    for number in sorted(groups, reverse=True):
        kind = layer.operators[number].kind
        followers = [other for other, group in groups.items() if number in group.before]
        if len(followers) != 1 or not (kind in PRODUCTS or kind in _POINTWISE):
            continue
        taken = _POINTWISE | {OperatorKind.NORMALISATION if kind in PRODUCTS else OperatorKind.REDUCTION}
        joined = layer.operators[followers[0]].kind in taken
        if joined and number not in _ancestors(groups, groups[followers[0]].before - {number}):
            _absorb(groups, number, followers[0])
    return groups


def _scheduled(groups: Mapping[int, FusionGroup]) -> list[int]:
    """Return group numbers so that each comes after those it waits for, else in recorded order."""
    done: list[int] = []
    placed: set[int] = set()
    pending = sorted(groups)
    while pending:
        number = next(number for number in pending if groups[number].before <= placed)
        pending.remove(number)
        done.append(number)
        placed.add(number)
    return done


def grouped(layer: Layer, chosen: list[int], rules: Fusion) -> list[tuple[int, FusionGroup]]:
    """Return the groups of the chosen operators with their numbers, each after those that it waits for."""
    if rules.only_successor:
        groups = _with_only_successor(layer, _alone(layer, chosen))
    else:
        groups = _chains(layer, chosen) if rules.chains else _alone(layer, chosen)
        if rules.epilogues:
            groups = _merge_epilogues(layer, groups)
    return [(number, groups[number]) for number in _scheduled(groups)]
