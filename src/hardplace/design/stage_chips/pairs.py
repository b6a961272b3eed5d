"""Pairs of chips for the stages of a pipeline: each pair of a few good chips with its best plan, exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from hardplace.branch_and_bound.loop import TimeUp
from hardplace.branch_and_bound.types import Stop
from hardplace.design.exact.layer_kernels import LayerTimes
from hardplace.design.goals import Costs
from hardplace.design.partition.several_kinds import StagesOnKinds, place_on_kinds
from hardplace.design.partition.types import PartitionProblem
from hardplace.design.search.layout import Group, group_of
from hardplace.design.search.scoring import Scoring
from hardplace.design.types import PlanFamily
from hardplace.ndtypes import Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class StageChip:
    """A chip that stages may be on.

    Attributes:
        section: Index of its section of the space.
        places: Its places on the axes, shape (axes, 1).
    """

    section: int
    places: Ints

    @property
    def key(self) -> tuple[int, bytes]:
        """Return what tells it from others."""
        return self.section, self.places.astype(np.int64).tobytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class PairPlan:
    """The best plan of a family on two chips, or on one.

    Attributes:
        chips: The chips.
        family: The family of plans, with the largest memory of the chips that have stages.
        found: Stages with the chip of each.
    """

    chips: tuple[StageChip, ...]
    family: PlanFamily
    found: StagesOnKinds


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedPairs:
    """What trying pairs came to.

    Attributes:
        plan: The best plan; None: none costs less than the cutoff.
        count: Pairs that were tried under one family at least.
        stop: What ended it before every pair was tried; None: nothing.
    """

    plan: PairPlan | None = None
    count: int = 0
    stop: Stop | None = None


@dataclass
class ChipPairs:
    """Plans on pairs of chips of a space.

    Attributes:
        scoring: The space's sections and the model, laid out.
        check: Called between pairs; may raise to end.
    """

    scoring: Scoring
    check: Callable[[], None]
    _seconds: dict[tuple[int, bytes, Group], LayerTimes] = field(default_factory=dict, init=False)

    def best(self, chips: Iterable[StageChip], families: Sequence[PlanFamily], cutoff: float) -> TriedPairs:
        """Return the best plan on any two of some chips, of those that there was time for.

        Args:
            chips: The chips.
            families: The families to try, whatever their memory, the most promising first.
            cutoff: Cost that is of no interest any more.
        """
        best, tried = None, set()
        every = list({one.key: one for one in chips}.values())
        try:
            for family in families:
                for pair in combinations(every, 2) if len(every) > 1 else [tuple(every)]:
                    self.check()
                    found = self.placed(pair, family, cutoff if best is None else best.found.cost)
                    best = found or best
                    tried |= {tuple(one.key for one in pair)} if len(pair) > 1 else set()
        except TimeUp:
            return TriedPairs(plan=best, count=len(tried), stop=Stop.SECONDS)
        except KeyboardInterrupt:
            return TriedPairs(plan=best, count=len(tried), stop=Stop.INTERRUPTED)
        return TriedPairs(plan=best, count=len(tried))

    def placed(self, pair: tuple[StageChip, ...], family: PlanFamily, cutoff: float = math.inf) -> PairPlan | None:
        """Return the best plan of a family on these chips by list schedules; None where none costs less than cutoff."""
        return self.placed_in(pair, family, [self._of(one, group_of(family)) for one in pair], cutoff)

    def placed_in(
        self, pair: tuple[StageChip, ...], family: PlanFamily, seconds: Sequence[LayerTimes], cutoff: float = math.inf
    ) -> PairPlan | None:
        """Return the best plan of a family on these chips where layers take these seconds."""
        problems = [self.problem(one, family, each) for one, each in zip(pair, seconds, strict=True)]
        found = place_on_kinds(problems, cutoff=cutoff)
        if found is None:
            return None
        largest = max(self.scoring.sections[pair[kind].section].capacity_bytes for kind in found.kinds)
        return PairPlan(chips=pair, family=replace(family, memory_bytes=largest), found=found)

    def problem(self, chip: StageChip, family: PlanFamily, seconds: LayerTimes) -> PartitionProblem:
        """Return the partition problem of a family on one of the chips."""
        section = self.scoring.sections[chip.section]
        degrees = self.scoring.there[chip.section][0].replications[group_of(family)]
        own = replace(family, memory_bytes=section.capacity_bytes)
        return self.scoring.models[0].problem(own, section.setting, seconds, degrees)

    def costs(self, chip: StageChip) -> Costs:
        """Return the costs of a chip."""
        costs, _, _ = self.scoring.limits.costs(self.scoring.sections[chip.section], self.scoring.space.at(chip.places))
        return costs

    def _of(self, chip: StageChip, group: Group) -> LayerTimes:
        """Return the seconds of list schedules of the layers."""
        key = (*chip.key, group)
        if key not in self._seconds:
            kernels, section = self.scoring.models[0].kernels[group], self.scoring.sections[chip.section]
            self._seconds[key] = kernels.list_schedules(self.scoring.space.at(chip.places), section.setting)
        return self._seconds[key]
