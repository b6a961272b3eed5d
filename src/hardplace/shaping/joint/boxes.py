"""Bounds of many shapes with one group of plans over all chips; most chips are left out for boxes of shapes at once.

A shape whose every size is at most another's is never slower on a chip: the smallest sizes of a box of shapes bound all
of them. Chips on which not even those reach what is known are left out; boxes are divided, and single shapes priced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from hardplace.design.question import Question
from hardplace.design.search.layout import Group
from hardplace.design.search.sections import Limits, Section, sections
from hardplace.errors import BadInput
from hardplace.hardware.space import AXES
from hardplace.hardware.types import Chips
from hardplace.ndtypes import Floats, Ints
from hardplace.shaping.joint.bounds import Plans, most_samples_per_s
from hardplace.shaping.joint.kernels import Columns, kernels
from hardplace.shaping.joint.layouts import SymbolicLayout, alike, layouts
from hardplace.shaping.types import FIELDS, ShapeColumns
from hardplace.workload.reshaping.reshape import Reshaping
from hardplace.workload.types import Workload

_LEAF = 16  # shapes of a box
_MOST_CHIPS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionChips:
    """A section of the space and its chips within the limits, none of which differs from another in the buffer only."""

    section: Section
    chips: Chips


def places_of(question: Question) -> tuple[SectionChips, ...]:
    """Return the sections of a space with their chips; BadInput for a space too large to be listed.

    Of chips that differ in the buffer only, all take at least as long as the one with the largest.
    """
    space = question.space
    if space.whole.size > _MOST_CHIPS:
        raise BadInput("space", f"{space.name}: {space.whole.size:,} chips", f"at most {_MOST_CHIPS:,} with shapes")
    billed = question.budget.tdp_w is not None or question.budget.usd is not None
    limits = Limits(space=space, budget=question.budget, billed=billed)
    places = space.whole.places()
    chips = space.at(places)
    found = []
    for section in sections(space, question.setting, question.choices.memory_bytes, question.budget, apart=billed):
        costs, _, _ = limits.costs(section, chips)
        inside = np.flatnonzero(limits.within(costs) & limits.large(chips, costs))
        buffers, others = (
            places[AXES.index("buffer_bytes"), inside],
            np.delete(places[:, inside], AXES.index("buffer_bytes"), 0),
        )
        order = np.lexsort((buffers, *others))
        last = np.ones(len(order), dtype=bool)
        last[:-1] = (np.diff(others[:, order], axis=1) != 0).any(axis=0)
        found.append(SectionChips(section=section, chips=chips.take(inside[order[last]])))
    return tuple(found)


@dataclass(kw_only=True)
class Layouts:
    """How shapes are sharded and fused, by one of them; kept, since only kernels depend on the micro-batch.

    make: gives the Workload of a shape.
    """

    reshaping: Reshaping
    make: Callable[[int], Workload]
    cycles: Mapping[str, int]
    _made: dict[int, Workload] = field(default_factory=dict, init=False)
    _known: dict[tuple[int, int], tuple[SymbolicLayout, ...] | None] = field(default_factory=dict, init=False)

    def workload(self, row: int) -> Workload:
        """Return the Workload of a shape, made once."""
        if row not in self._made:
            self._made[row] = self.make(row)
        return self._made[row]

    def of(self, row: int, group: Group) -> tuple[SymbolicLayout, ...] | None:
        """Return embedding, block and head of the shapes that are like one of them; None if they cannot be told."""
        micro_batch, ranks = group
        if (row, ranks) not in self._known and not self.reshaping.possible:
            self._known[row, ranks] = None
        if (row, ranks) not in self._known:
            self._known[row, ranks] = layouts(self.reshaping, self.workload(row), ranks, micro_batch, self.cycles)
        found = self._known[row, ranks]
        return None if found is None else tuple(one.at(micro_batch, self.cycles) for one in found)


def macs(made: Sequence[SymbolicLayout], shapes: ShapeColumns, cycles: Mapping[str, int]) -> Floats:
    """Return the multiply-accumulates of one sample of each shape on one rank, shape (shapes,)."""
    columns = Columns(shapes=shapes, micro_batch=1)
    total = np.zeros(len(shapes))
    for place, layout in enumerate(made):
        for phase in kernels(layout.at(1, cycles), columns, cycles):
            for alike_ in phase:
                each = np.array([sum(one.macs for one in kernel.matmuls) for kernel in alike_], dtype=np.float64)
                total += each * (shapes.layers if place == 1 else 1)
    return total


def fastest_macs_per_s(place: SectionChips) -> float:
    """Return what the fastest arrays of a section do; 0 where it has no chip within the limits."""
    return float(_macs_per_s(place).max(initial=0.0))


def fast_enough(place: SectionChips, least_macs_per_s: float) -> SectionChips:
    """Return a section with the chips whose arrays do more than so many multiply-accumulates a second."""
    return SectionChips(
        section=place.section, chips=place.chips.take(np.flatnonzero(_macs_per_s(place) > least_macs_per_s))
    )


def _macs_per_s(place: SectionChips) -> Floats:
    chips = place.chips
    each = chips.tensor_cores * chips.array_rows * chips.array_columns
    return np.asarray(each * chips.clocks_hz(place.section.setting))


@dataclass(kw_only=True)
class Bounding:
    """Shapes with a group of plans, on the chips of places. check: raises when time is up."""

    question: Question
    shapes: ShapeColumns
    weights: Floats
    layouts: Layouts
    group: Group
    places: tuple[SectionChips, ...]
    check: Callable[[], None]

    @cached_property
    def classes(self) -> list[tuple[Ints, tuple[SymbolicLayout, ...] | None]]:
        """Return the shapes whose sizes the ranks divide alike, and how each such class is sharded and fused."""
        numbers = alike(self.shapes, self.group[1])
        found = []
        for number in np.unique(numbers):
            rows = np.flatnonzero(numbers == number)
            found.append((rows, self.layouts.of(int(rows[0]), self.group)))
        return found

    def bounds(self, known: float) -> Floats:
        """Return what each shape does not exceed, shape (shapes,); exact work stops where that is at most `known`."""
        found = np.zeros(len(self.shapes))
        for rows, made in self.classes:
            if made is None:
                found[rows] = np.inf
                continue
            boxes = self._boxes(rows)
            for place in self.places:
                if len(place.chips):
                    self._raise(made, boxes, place, known, found)
        return found

    def _raise(
        self, made: Sequence[SymbolicLayout], boxes: list[Ints], place: SectionChips, known: float, found: Floats
    ) -> None:
        """Raise the bounds of shapes to what the chips of a section may reach with them.

        Chips on which no box of shapes may exceed what is known are left out for all; the rest is priced by shape.
        """
        corners = self._corners(made, boxes, place)
        matter = corners > known
        chips, alive = np.asarray(matter.any(axis=0)), np.asarray(matter.any(axis=1)).tolist()
        left = corners[:, ~chips].max(axis=1, initial=0.0)
        open_ = [box for box, some in zip(boxes, alive, strict=True) if some]
        for box, corner, some, rest in zip(boxes, corners.max(axis=1), alive, left, strict=True):
            found[box] = np.maximum(found[box], rest if some else corner)
        if open_:
            rows = np.concatenate(open_)
            few = place.chips.take(np.flatnonzero(chips))
            speed = most_samples_per_s(made, self.shapes.take(rows), few, self._plans(place), self.check)
            found[rows] = np.maximum(found[rows], speed.max(axis=1) * self.weights[rows])

    def _corners(self, made: Sequence[SymbolicLayout], boxes: list[Ints], place: SectionChips) -> Floats:
        """Return what no shape of each box exceeds on each chip, shape (boxes, chips): of the smallest sizes in it.

        They need not divide as the shapes do: they are taken as if they did.
        """
        least = {name: np.array([getattr(self.shapes, name)[box].min() for box in boxes]) for name in FIELDS}
        speed = most_samples_per_s(
            made, ShapeColumns(base=self.shapes.base, **least), place.chips, self._plans(place), self.check
        )
        return np.asarray(speed * np.array([self.weights[box].max() for box in boxes])[:, None])

    def _boxes(self, rows: Ints) -> list[Ints]:
        """Return shapes in boxes of at most _LEAF."""
        if len(rows) <= _LEAF:
            return [rows]
        low, high = self._halves(rows)
        return [*self._boxes(low), *self._boxes(high)]

    def _plans(self, place: SectionChips) -> Plans:
        return Plans(
            group=self.group,
            setting=place.section.setting,
            memory_bytes=place.section.capacity_bytes,
            recompute=True in self.question.choices.recompute,
        )

    def _halves(self, rows: Ints) -> tuple[Ints, Ints]:
        """Return the shapes on either side of the middle of the field in which they differ most."""
        spread = {name: np.ptp(np.log(getattr(self.shapes, name)[rows])) for name in FIELDS}
        values = getattr(self.shapes, max(spread, key=lambda name: spread[name]))[rows]
        middle = np.sort(values)[len(values) // 2]
        low = values < middle if (values < middle).any() else values <= middle
        return rows[low], rows[~low]
