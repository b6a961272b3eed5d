"""Sections of a space: chips with one memory and one kind of link each, their costs, and the limits on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np

from hardplace.answers import Infeasible
from hardplace.design.goals import Costs
from hardplace.design.search.bands import Band, Bands, bands_of
from hardplace.hardware.bill import Energies
from hardplace.hardware.blueprint import Blueprint
from hardplace.hardware.chip_pricer import ChipPricer, Preset
from hardplace.hardware.money import dies_of
from hardplace.hardware.space import AXES, Box, ChipSpace, corners
from hardplace.hardware.types import Budget, Chips, Setting
from hardplace.ndtypes import BoolVector, Floats, Ints

Part = tuple[Box, Band | None]  # a box, and what its chips take; None: whatever they take
SLACK = 1e-9  # of a limit, within which a chip counts as inside


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Chips that share memory and links.

    Attributes:
        setting: The setting with both.
        capacities: Memory capacities that a plan chooses from, in bytes.
        pricer: Pricer of chips with this memory.
        links: Whether the links are the chip's own choice.
    """

    setting: Setting
    capacities: tuple[float, ...]
    pricer: ChipPricer
    links: bool  # whether the links are the chip's own choice

    @property
    def capacity_bytes(self) -> float:
        """Return the largest capacity, which is never slower than a smaller one."""
        return max(self.capacities)

    @property
    def bandwidths(self) -> tuple[float, float]:
        """Return the bandwidths of memory and of a link, in bytes a second."""
        return (
            self.setting.memory_bandwidth_bytes_per_s,
            self.setting.cluster.levels[0].bandwidth_bytes_per_s,
        )


def sections(
    space: ChipSpace, setting: Setting, capacities: tuple[float, ...], budget: Budget, *, apart: bool
) -> tuple[Section, ...]:
    """Return the sections of a space within the limit on memory.

    Args:
        space: The chips.
        setting: What they share.
        capacities: Memory capacities, where the space has no memories itself.
        budget: The limits.
        apart: Each capacity is a section of its own, as it must be where it has a price.
    """
    limit = budget.memory_bytes if budget.memory_bytes is not None else np.inf
    level = setting.cluster.levels[0]
    links = space.links_bytes_per_s or (level.bandwidth_bytes_per_s,)
    found = []
    allowed = tuple(one for one in sorted(capacities) if one <= limit)
    groups = tuple((one,) for one in allowed) if apart else ((allowed,) if allowed else ())
    own = [one for one in space.memories if one.bytes <= limit]
    memories: list[tuple[tuple[float, ...], float, str, float | None]] = [
        ((one.bytes,), one.bandwidth_bytes_per_s, one.kind, float(one.stacks)) for one in own
    ]
    if not space.memories:
        memories = [(group, setting.memory_bandwidth_bytes_per_s, "HBM3", None) for group in groups]
    for (sizes, bandwidth, kind, stacks), link in product(memories, links):
        levels = (replace(level, bandwidth_bytes_per_s=link), *setting.cluster.levels[1:])
        shared = replace(
            setting,
            memory_bandwidth_bytes_per_s=bandwidth,
            memory_capacities_bytes=sizes,
            cluster=replace(setting.cluster, levels=levels),
        )
        pricer = ChipPricer(
            setting=shared,
            preset=space.area_model,
            node_nm=space.node_nm,
            dtype=space.dtype,
            memory_kind=kind,
            stacks=stacks,
        )
        found.append(Section(setting=shared, capacities=sizes, pricer=pricer, links=bool(space.links_bytes_per_s)))
    return tuple(found)


@dataclass(slots=True)
class Excluded:
    """What limits left out.

    Attributes:
        chips: Number of chips, by name of the limit.
        least: Least that one of them takes, by name of the limit.
        step_s: Least seconds of a step of a plan that the limit on it left out.
    """

    chips: dict[str, int] = field(default_factory=dict)
    least: dict[str, float] = field(default_factory=dict)
    step_s: float = np.inf

    def add(self, other: Excluded) -> None:
        """Add what was left out elsewhere."""
        for name, chips in other.chips.items():
            self.note(name, chips, other.least[name])
        self.step_s = min(self.step_s, other.step_s)

    def note(self, name: str, chips: int, least: float) -> None:
        """Count chips that a limit left out."""
        self.chips[name] = self.chips.get(name, 0) + chips
        self.least[name] = min(self.least.get(name, np.inf), least)


@dataclass
class Limits:
    """The limits on chips, and what they left out.

    Attributes:
        space: The chips.
        budget: The limits.
        billed: Whether any cost beside the area is asked for.
        excluded: What they left out.
        bands: What of the chips of each box is asked for; None: all.
    """

    space: ChipSpace
    budget: Budget
    billed: bool
    excluded: Excluded = field(default_factory=Excluded)
    bands: Bands | None = None

    @property
    def area_mm2(self) -> Floats:
        """Return the most area of a chip."""
        return np.asarray(self.budget.area_mm2 * (1.0 + SLACK))

    @property
    def tdp_w(self) -> Floats | None:
        """Return the most TDP of a chip, of each box where there are bands; None: no limit."""
        most = None if self.budget.tdp_w is None else np.asarray(self.budget.tdp_w * (1.0 + SLACK))
        if self.bands is None:
            return most
        return self.bands.most_w if most is None else np.minimum(most, self.bands.most_w)

    def costs(
        self, section: Section, chips: Chips, floor_w: Floats | float = 0.0
    ) -> tuple[Costs, Energies | None, Blueprint | None]:
        """Return the costs of chips; where only the area is asked for, the rest is nan.

        Args:
            section: Their section.
            chips: The chips.
            floor_w: Least TDP that is counted.
        """
        if not self.billed:
            nothing = np.full(len(chips), np.nan)
            area = section.pricer.area_mm2(chips)
            costs = Costs(
                area_mm2=area, die_mm2=nothing, tdp_w=nothing, usd=nothing, embodied_kg=nothing, idle_w=nothing
            )
            return costs, None, None
        plan = section.pricer.plan(chips)
        bill, cost, energies = section.pricer.bill_of(plan, floor_w)
        die_mm2 = bill.die_mm2
        costs = Costs(
            area_mm2=die_mm2 if section.pricer.preset is Preset.PARTS else section.pricer.area_mm2(chips),
            die_mm2=die_mm2,
            tdp_w=np.maximum(bill.tdp_w, floor_w),
            usd=cost.usd,
            embodied_kg=cost.embodied_kg,
            idle_w=energies.idle_w,
        )
        return costs, energies, plan

    def rows(self, costs: Costs) -> list[tuple[str, Floats, float]]:
        """Return (name, what chips take, limit) of each limit that there is."""
        limits = (
            ("area", costs.area_mm2, self.budget.area_mm2),
            ("TDP", costs.tdp_w, self.budget.tdp_w),
            ("price", costs.usd, self.budget.usd),
        )
        return [(name, taken, limit) for name, taken, limit in limits if limit is not None]

    def on(self, bands: Sequence[Band | None]) -> Limits:
        """Return the limits in the bands of boxes, if they have any."""
        given = [band for band in bands if band is not None]
        return replace(self, bands=bands_of(given)) if given else self

    def within(self, costs: Costs) -> BoolVector:
        """Return which chips are within every limit, or which lowest chips of boxes in their band, shape (chips,)."""
        inside = np.ones(len(costs.area_mm2), dtype=bool)
        for _, taken, limit in self.rows(costs):
            inside &= taken <= limit * (1.0 + SLACK)
        if self.bands is not None:
            inside &= costs.tdp_w <= self.bands.most_w
        return inside

    def large(self, chips: Chips, costs: Costs) -> BoolVector:
        """Return which chips are not too small for the space."""
        least = self.space.least_area_share * self.budget.area_mm2
        single = (chips.tensor_cores == 1) | (chips.vector_cores == 1)
        return np.asarray((costs.area_mm2 >= least * (1.0 - SLACK)) | single)

    def note(self, costs: Costs, sizes: Ints) -> None:
        """Count what the limits leave out: boxes of these sizes, by the costs of their least chips."""
        for name, taken, limit in self.rows(costs):
            beyond = taken > limit * (1.0 + SLACK)
            if beyond.any():
                self.excluded.note(name, int(sizes[beyond].sum()), float(taken[beyond].min()))

    def shortage(self) -> Infeasible | None:
        """Return the limit that leaves out most chips, with the least that one of them takes; None if none does."""
        chips = self.excluded.chips
        if not chips:
            return None
        name = max(chips, key=lambda one: chips[one])
        limit = {"area": self.budget.area_mm2, "TDP": self.budget.tdp_w, "price": self.budget.usd}[name]
        return Infeasible(
            what=f"{name} of a chip: no chip of space {self.space.name} is within every limit; the limit on {name} "
            f"excludes most, {chips[name]:,}, the least of which",
            needed=self.excluded.least[name],
            available=float(limit or 0.0),
            unit={"area": "mm2", "TDP": "W", "price": "USD"}[name],
            remedy="a higher limit, or a space with smaller chips",
        )

    def least(self, section: Section, low: Chips, high: Chips) -> tuple[Costs, Energies | None, Blueprint | None]:
        """Return lower bounds on the costs in boxes, from their lowest and highest chips and their bands; energies
        likewise, and the blueprint of the highest chips.

        All rise with every size, but for costs of dies: at a multiple of the reticle there is one die more, each
        smaller, with a better yield. A box that reaches over one within the limit on area is given no cost of making.
        """
        costs, energies, _ = self.costs(section, low, 0.0 if self.bands is None else self.bands.over_w)
        if not self.billed:
            return costs, energies, None
        top, _, plan = self.costs(section, high)
        largest = top.die_mm2
        if self.space.area_model is Preset.PARTS:
            largest = np.minimum(largest, self.area_mm2)
        crosses = dies_of(largest) > dies_of(costs.die_mm2)
        if crosses.any():
            costs = replace(
                costs,
                usd=np.where(crosses, 0.0, costs.usd),
                embodied_kg=np.where(crosses, 0.0, costs.embodied_kg),
            )
        return costs, energies, plan

    def limited(self, section: Section, low: Chips, high: Chips) -> Costs:
        """Return what limits and bands of boxes are compared with: of `least` what rises with every size is the lowest
        chip's, so without a limit on the price the highest chip need not be billed.
        """
        if self.budget.usd is not None:
            return self.least(section, low, high)[0]
        return self.costs(section, low, 0.0 if self.bands is None else self.bands.over_w)[0]


def tightened(limits: Limits, section: Section, parts: list[Part]) -> list[Part]:
    """Return boxes without the upper places of each axis that no chip within the limits has, and their bands.

    A place is out if the chip that has it and the lowest place on every other axis is beyond a limit or the band. Boxes
    whose lowest chip is beyond one are left out, and counted where it is a limit; so are those whose highest chip is
    not over the band. Bands are cut to what these two chips take.
    """
    parts = _inside(limits, section, parts)
    rows, tops, owners = [], [], []
    for index, (box, _) in enumerate(parts):
        for axis in range(len(AXES)):
            for place in range(box.low[axis] + 1, box.high[axis]):
                rows.append((*box.low[:axis], place, *box.low[axis + 1 :]))
                tops.append(box.high)
                owners.append((index, axis, place))
    if not rows:
        return parts
    within = limits.on([parts[index][1] for index, _, _ in owners])
    costs = within.limited(section, limits.space.at(np.array(rows).T), limits.space.at(np.array(tops).T - 1))
    tops_of = [list(box.high) for box, _ in parts]
    for which in np.flatnonzero(~within.within(costs)).tolist():
        index, axis, place = owners[which]
        tops_of[index][axis] = min(tops_of[index][axis], place)
    return [(Box(low=box.low, high=tuple(top)), band) for (box, band), top in zip(parts, tops_of, strict=True)]


def _inside(limits: Limits, section: Section, parts: list[Part]) -> list[Part]:
    """Return the boxes that have chips within the limits and in their bands, as far as their corners tell."""
    if not parts:
        return []
    boxes, bands = [box for box, _ in parts], [band for _, band in parts]
    low, high = (limits.space.at(places) for places in corners(boxes))
    within = limits.on(bands)
    costs = within.limited(section, low, high)
    limits.note(costs, np.array([box.size for box in boxes]))
    inside = within.within(costs)
    if within.bands is None:
        return [part for part, kept in zip(parts, inside, strict=True) if kept]
    top, _, _ = limits.costs(section, high)
    inside &= top.tdp_w > within.bands.over_w
    cut = within.bands.cut(costs, top)
    return [(boxes[index], cut.at(index)) for index in np.flatnonzero(inside).tolist()]
