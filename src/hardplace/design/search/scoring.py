"""From bounds on seconds to what the front compares: throughput, scores, and how far they exceed what was reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hardplace.branch_and_bound.front import Front, Scores
from hardplace.design.exact.layer_kernels import LayerTimes
from hardplace.design.goals import OF_COSTS, Costs, Goal, Objective
from hardplace.design.search.bands import Band
from hardplace.design.search.bounds import batch_bound_s, rough_batch_s
from hardplace.design.search.ceilings import ceilings
from hardplace.design.search.energy import Prices, joules, prices
from hardplace.design.search.layout import Group, ModelInSection, ModelLayout
from hardplace.design.search.least_work import Rates, busiest_seconds, least_seconds, part_seconds, rates, taken_s
from hardplace.design.search.price_lines import PriceLine, price_lines
from hardplace.design.search.sections import SLACK, Limits, Section
from hardplace.design.types import Evaluation
from hardplace.hardware.blueprint import Blueprint
from hardplace.hardware.space import ChipSpace
from hardplace.ndtypes import Bools, Floats, Ints

NOTHING = 1e-300  # samples a second that are none


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyBounds:
    """Bounds of boxes or chips, for each model and family.

    Attributes:
        samples_per_s: Upper bound on the throughput, (families, chips) for each model.
        joules: Lower bound on the energy of a sample, (families, chips) for each model.
        costs: Lower bounds on the costs.
    """

    samples_per_s: tuple[Floats, ...]
    joules: tuple[Floats, ...]
    costs: Costs

    def take(self, index: Ints) -> FamilyBounds:
        """Return the bounds of the chips at these positions."""
        return FamilyBounds(
            samples_per_s=tuple(table[:, index] for table in self.samples_per_s),
            joules=tuple(table[:, index] for table in self.joules),
            costs=self.costs.take(index),
        )


@dataclass(slots=True, kw_only=True)
class Scoring:
    """What all candidates of a search are judged by.

    Attributes:
        goal: Objectives, and how several models become one score.
        gap: Relative gap at which the search may stop.
        space: The chips.
        limits: Limits on chips, and what they left out.
        models: The models' layouts.
        sections: Sections of the space.
        there: The models in each section.
        front: What was reached; another front stands here while a refinement is done elsewhere.
    """

    goal: Goal
    gap: float
    space: ChipSpace
    limits: Limits
    models: tuple[ModelLayout, ...]
    sections: tuple[Section, ...]
    there: tuple[tuple[ModelInSection, ...], ...]
    front: Front[Any]

    def known(
        self,
        section: int,
        low: Ints,
        high: Ints,
        among: Bools | None = None,
        bands: Sequence[Band | None] = (),
        *,
        best: bool = False,
    ) -> FamilyBounds:
        """Return the bounds of boxes from the least work of parts alone.

        Args:
            section: Index of the section.
            low: Lowest places, shape (axes, boxes).
            high: Highest places, shape (axes, boxes).
            among: Families of the only model that are asked for, (families,), the others are 0; None: all.
            bands: What chips of each box take; (): whatever they take.
            best: Whether the best family of each box alone is asked for: others may be bounded less well, by no less
                than its speed.
        """
        place, limits = self.sections[section], self.limits.on(bands)
        least, most = self.space.at(low), self.space.at(high)
        alone = np.array_equal(low, high)
        costs, energies, plan = limits.costs(place, least) if alone else limits.least(place, least, most)
        on = rates(self.space, low, high, place.setting, None if alone else ceilings(limits, place, low, high))
        lines: list[PriceLine] = []
        if on.shares and self.goal.objectives == (Objective.PER_DOLLAR,):
            lines = price_lines(limits, place, least, most, on.shares)
        each = prices(energies, _given(plan)) if energies is not None and self.goal.needs_energy else None
        pairs = [
            self._of_model(layout, there, on, each, place, among, costs, lines, best)
            for layout, there in zip(self.models, self.there[section], strict=True)
        ]
        return FamilyBounds(
            samples_per_s=tuple(table for table, _ in pairs), joules=tuple(table for _, table in pairs), costs=costs
        )

    def _of_model(
        self,
        layout: ModelLayout,
        there: ModelInSection,
        on: Rates,
        each: Prices | None,
        section: Section,
        among: Bools | None,
        costs: Costs,
        lines: list[PriceLine],
        best: bool,
    ) -> tuple[Floats, Floats]:
        boxes = len(on.arrays_per_s)
        speed, energy = np.zeros((2, len(there.families), boxes))
        watts = on.shares[1:] if self._over_tdp else ()
        by_speed = len(self.models) == 1 and self._by_speed
        needed = self.needed(costs) if by_speed else np.zeros(boxes)
        # What cores take of each limit for a sample at least, in mm2 s and J.
        taken = np.zeros((len(on.shares), len(there.families), boxes))
        promising: list[tuple[int, Group, Ints, LayerTimes]] = []
        for group, every in there.members.items():
            members = every if among is None else tuple(member for member in every if among[member])
            if not members:
                continue
            done, links = layout.work[group], there.chains[group]
            quick = busiest_seconds(done, on, there.collectives_s[group], section.setting)
            for member in members:
                speed[member] = layout.batch / rough_batch_s(quick, links, there.shapes[member])
            if each is not None:
                once, again = joules(done, on, each, links.counts, group[1], group[0])
                for member in members:
                    energy[member] = again if there.families[member].recompute else once
            for row, share in zip(taken, on.shares if lines or watts else (), strict=False):
                row[list(members)] = taken_s(done, on, share, links.counts, group[1]) / group[0]
            matter = speed[list(members)] > needed
            members = tuple(member for member, row in zip(members, matter, strict=True) if row.any())
            open_ = np.flatnonzero(matter.any(axis=0))
            if not members:
                continue
            some = on.take(open_)
            parts = part_seconds(done, some, there.collectives_s[group], section.setting)
            seconds = least_seconds(done, some, parts, section.setting)
            promising += [(member, group, open_, seconds) for member in members]
        best = best and by_speed
        for whole in (False, True) if best else (True,):
            if best and whole:
                promising.sort(key=lambda one: -float(speed[one[0]].max()))
            for member, group, open_, seconds in promising:
                if best and not (speed[member, open_] > needed[open_]).any():
                    continue
                bound_s = batch_bound_s(
                    seconds,
                    there.chains[group],
                    there.families[member].recompute,
                    there.shapes[member],
                    enough_s=layout.batch / np.maximum(needed[open_], NOTHING),
                    whole=whole,
                )
                speed[member, open_] = np.minimum(speed[member, open_], layout.batch / bound_s)
                if best and whole:
                    needed[open_] = np.maximum(needed[open_], speed[member, open_])
        speed = self.in_time(layout, speed)
        per_watt = [
            self._per_watt(speed, drawn_j, share.taken, costs.tdp_w)
            for share, drawn_j in zip(watts, taken[1:], strict=False)
        ]
        # Each takes the samples a second, not what another made of them.
        for most in (*per_watt, *(self._per_dollar(speed, taken, line, costs) for line in lines)):
            speed = np.minimum(speed, most)
        return speed, energy

    @property
    def _by_speed(self) -> bool:
        """Return whether the best family is the fastest: all other objectives, or what the only one is over, are costs
        of chips.
        """
        first, *others = self.goal.objectives
        return (first is Objective.THROUGHPUT and set(others) <= OF_COSTS) or self._over_tdp

    @property
    def _over_tdp(self) -> bool:
        return self.goal.objectives == (Objective.PER_WATT,)

    @property
    def costs_beside(self) -> bool:
        """Return whether the throughput of one model and costs of chips are asked for, as a front or as a ratio."""
        return self._by_speed and self.goal.objectives != (Objective.THROUGHPUT,) and len(self.models) == 1

    def needed(self, costs: Costs) -> Floats:
        """Return samples a second up to which no plan of the only model matters, shape (boxes,); 0 where that is not
        known: with a score beside the throughput that is none of costs alone. Where costs count too, those within the
        gap of a point do not.

        Args:
            costs: Least costs of each box.
        """
        others = self.goal.objectives[1:]
        if not self.front.points or not self._by_speed or len(self.models) > 1:
            return np.zeros(len(costs.area_mm2))
        ones, factor = np.ones(len(costs.area_mm2)), 1.0 + (self.gap if others else 0.0)
        most = np.array([self.goal.scores(one, ones, ones, costs) for one in others]).reshape(len(others), len(ones))
        if self._over_tdp:
            return np.asarray(self.front.best * (1.0 + self.gap) * self.goal.devices * costs.tdp_w)
        reached = np.array([point for point, _ in self.front.points])
        as_good = (reached[:, 1:, None] * factor >= most[None, :, :]).all(axis=1)
        return np.asarray(np.where(as_good, reached[:, :1] * factor, 0.0).max(axis=0))

    def _per_watt(self, speed: Floats, drawn_j: Floats, taken_w: Floats, tdp_w: Floats) -> Floats:
        """Return speeds which over the least TDP of each box bound samples a second and W (proof in
        docs/model-search.md, "Limits together").

        Args:
            speed: Upper bounds on samples a second, (families, boxes).
            drawn_j: TDP times seconds that cores take for a sample at least, in J, (families, boxes).
            taken_w: TDP beside the cores at least, (boxes,).
            tdp_w: Least TDP, (boxes,).
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            most = self.goal.devices * tdp_w / (self.goal.devices * taken_w / speed + drawn_j)
        return np.where(speed > 0.0, np.minimum(speed, most), 0.0)

    def _per_dollar(self, speed: Floats, taken: Floats, line: PriceLine, costs: Costs) -> Floats:
        """Return speeds which over the least costs of each box bound samples a USD (proof: `_per_watt`).

        Args:
            speed: Upper bounds on samples a second, (families, boxes).
            taken: What cores take of area, and of TDP, times seconds for a sample at least, (limits, families, boxes).
            line: A line below the price of chips.
            costs: Least costs.
        """
        usd_s = taken[0] * line.usd_per_mm2
        if len(taken) > 1:
            usd_s = usd_s + taken[1] * line.usd_per_w
        use = line.fixed_usd > 0.0

        def paid(usd: Floats, idle_w: Floats) -> Floats:
            """Return what all devices cost a second, in USD."""
            nothing = np.zeros_like(usd)
            per_usd = self.goal.scores(
                Objective.PER_DOLLAR, nothing + 1.0, nothing, replace(costs, usd=usd, idle_w=idle_w)
            )
            return np.asarray(1.0 / per_usd)

        fixed = paid(np.where(use, line.fixed_usd, 1.0), costs.idle_w)
        one = paid(np.ones_like(costs.usd), np.zeros_like(costs.usd)) / self.goal.devices
        with np.errstate(divide="ignore", invalid="ignore"):
            most = paid(costs.usd, costs.idle_w) / (fixed / speed + one * usd_s)
        return np.where((speed > 0.0) & use, np.minimum(speed, most), speed)

    def in_time(self, layout: ModelLayout, samples_per_s: Floats) -> Floats:
        """Return the throughput, 0 where a step takes longer than the limit."""
        limit_s = self.limits.budget.step_s
        if limit_s is None:
            return samples_per_s
        slow = samples_per_s * limit_s * (1.0 + SLACK) < layout.batch
        possible = samples_per_s[slow & (samples_per_s > 0.0)]
        if len(possible):
            excluded = self.limits.excluded
            excluded.step_s = min(excluded.step_s, layout.batch / float(possible.max()))
        return np.where(slow, 0.0, samples_per_s)

    def vectors(self, known: FamilyBounds) -> Floats:
        """Return upper bounds of the scores, shape (objectives, chips): of each model the best family, for each
        objective.
        """
        chips = len(known.costs.area_mm2)
        best = np.zeros((len(self.goal.objectives), len(self.models), chips))
        for row, objective in enumerate(self.goal.objectives):
            for column, (speed, energy) in enumerate(zip(known.samples_per_s, known.joules, strict=True)):
                if len(speed):
                    scores = self.goal.scores(objective, speed, energy, known.costs)
                    best[row, column] = scores.max(axis=0)
        return self.goal.vectors(best)

    def matter(self, known: FamilyBounds) -> Bools | None:
        """Return which families of the only model exceed the front, shape (families, boxes); None: several models."""
        if len(self.models) > 1:
            return None
        (speed,), (energy,) = known.samples_per_s, known.joules
        scores = [self.goal.scores(objective, speed, energy, known.costs) for objective in self.goal.objectives]
        return np.asarray(self.excess(np.stack(scores).reshape(len(scores), -1)) > 0.0).reshape(speed.shape)

    def excess(self, vectors: Floats) -> Floats:
        """Return by how much each column exceeds the front, shape (chips,); -1 where nothing is possible."""
        found = self.front.excesses(vectors)
        return np.where(self.possible(vectors), found, -1.0)

    def possible(self, vectors: Floats) -> Bools:
        """Return which columns can be an answer, or one of the chips of a set, on which one model has to run."""
        positive = vectors > 0.0
        return np.asarray(positive.any(axis=0) if self.goal.shared else positive.all(axis=0))


def scores_of(vectors: Floats) -> Scores:
    """Return the largest of each row."""
    return tuple(vectors.max(axis=1).tolist())


def _given(plan: Blueprint | None) -> Blueprint:
    assert plan is not None
    return plan


def score_of(scoring: Scoring, section: int, places: Ints, evaluation: Evaluation) -> float | None:
    """Return the score of a plan of the only model on one chip, in the first objective; more is better.

    None where no section with the chip's memory system and links has the plan's memory, or its family.

    Args:
        scoring: What candidates are judged by.
        section: Index of a section with the chip's memory system and links.
        places: Places of the chip on the axes, shape (axes, 1).
        evaluation: Its exact evaluation.
    """
    wanted, own = evaluation.family, scoring.sections[section]
    for section, place in enumerate(scoring.sections):
        if wanted.memory_bytes not in place.capacities or place.bandwidths != own.bandwidths:
            continue
        for number, family in enumerate(scoring.there[section][0].families):
            if (family.micro_batch, family.recompute, family.tensor_parallel) == (
                wanted.micro_batch, wanted.recompute, wanted.tensor_parallel,
            ):  # fmt: skip
                joules = float(scoring.known(section, places, places).joules[0][number, 0])
                costs, _, _ = scoring.limits.costs(place, scoring.space.at(places))
                return scoring.goal.score(scoring.goal.objectives[0], evaluation.samples_per_s, joules, costs)
    return None
