"""Refinement of a block of chips: kernels priced and lower bounds of their schedules, for all chips at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from hardplace.branch_and_bound.front import Scores
from hardplace.design.exact.layer_kernels import LayerTimes
from hardplace.design.partition.many_chips import least_bottlenecks
from hardplace.design.search.bounds import batch_bound_s
from hardplace.design.search.candidates import ChipBlock, ChipCandidate, Refinement
from hardplace.design.search.layout import Group, ModelInSection, ModelLayout
from hardplace.design.search.scoring import NOTHING, FamilyBounds, Scoring
from hardplace.design.search.single import scores
from hardplace.ndtypes import Floats, Ints

_MANY = 16  # open chips of a block from which the placement of all at once pays


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """The result of refining a block.

    Attributes:
        left: Chips that may still matter, with their scores.
        priced: Number of (chip, family) that were priced.
    """

    left: list[tuple[Scores, ChipCandidate]]
    priced: int


def scheduled(scoring: Scoring, block: ChipBlock, check: Callable[[], None]) -> Scheduled:
    """Return the chips of a block that may matter, one by one.

    The groups of each model are taken by what they promise; only chips that may still matter are priced in each.

    Args:
        scoring: What candidates are judged by.
        block: The chips.
        check: Called now and then; may raise to end the refinement.
    """
    known = replace(block.known, samples_per_s=tuple(table.copy() for table in block.known.samples_per_s))
    chips = scoring.space.at(block.places)
    seconds: dict[tuple[int, Group], tuple[LayerTimes, dict[int, int]]] = {}
    priced = 0
    needed = np.maximum(scoring.needed(known.costs), NOTHING)  # a slower family does not matter
    for model, group in _groups(scoring, block):
        check()
        layout, there = scoring.models[model], scoring.there[block.section][model]
        members = there.members[group]
        open_ = np.flatnonzero(_matter(scoring, known, model, members))
        if not len(open_):
            continue
        setting = scoring.sections[block.section].setting
        lower = layout.kernels[group].lower_bounds(chips.take(open_), setting, check)
        seconds[model, group] = (lower, {int(chip): column for column, chip in enumerate(open_)})
        priced += len(open_) * len(members)
        for member in members:
            recompute = there.families[member].recompute
            bound_s = batch_bound_s(
                lower, there.chains[group], recompute, there.shapes[member], enough_s=layout.batch / needed[open_]
            )
            _cut(scoring, known, model, member, open_, layout.batch / bound_s)
        for member in members:
            _sharpen(scoring, known, block.section, model, member, open_, lower)
    vectors = scoring.vectors(known)
    kept = np.flatnonzero(scoring.excess(vectors) > 0.0)
    left = [
        (tuple(vectors[:, chip].tolist()) if len(vectors) == 1 else scores(scoring, one), one)
        for chip in kept.tolist()
        for one in _ones(scoring, block, known, chip, seconds)
    ]
    return Scheduled(left=left, priced=priced)


def _groups(scoring: Scoring, block: ChipBlock) -> list[tuple[int, Group]]:
    """Return (model, group) pairs with a family that fits, the fastest for any chip of the block first."""
    found = []
    for model, there in enumerate(scoring.there[block.section]):
        for group, members in there.members.items():
            if members:
                best = float(block.known.samples_per_s[model][list(members)].max())
                found.append((best, model, group))
    return [(model, group) for _, model, group in sorted(found, key=lambda one: -one[0])]


def _matter(scoring: Scoring, known: FamilyBounds, model: int, members: tuple[int, ...]) -> Floats:
    """Return which chips exceed the gap with one of these families for a model and the best ones for the others.

    Chips within the gap are left as they are: they need not be known any better.
    """
    speed, energy = list(known.samples_per_s), list(known.joules)
    speed[model], energy[model] = speed[model][list(members)], energy[model][list(members)]
    some = replace(known, samples_per_s=tuple(speed), joules=tuple(energy))
    vectors = scoring.vectors(some)
    if scoring.goal.fleet > 1:
        # A chip of a fleet matters by the model that it is for.
        return np.asarray((scoring.excess(vectors) > scoring.gap) & (speed[model].max(axis=0) > 0.0))
    return np.asarray(scoring.excess(vectors) > scoring.gap)


def _cut(scoring: Scoring, known: FamilyBounds, model: int, member: int, chips: Ints, samples_per_s: Floats) -> None:
    table = known.samples_per_s[model]
    table[member, chips] = scoring.in_time(scoring.models[model], np.minimum(table[member, chips], samples_per_s))


def _sharpen(
    scoring: Scoring, known: FamilyBounds, section: int, model: int, member: int, chips: Ints, lower: LayerTimes
) -> None:
    """Lower what a family reaches on the chips that are still open by the placement programme on all of them."""
    if not scoring.front.points:
        return  # nothing to compare with yet: better reach something first
    still = np.flatnonzero(_matter(scoring, known, model, (member,))[chips])
    if len(still) < _MANY:
        return
    layout: ModelLayout = scoring.models[model]
    there: ModelInSection = scoring.there[section][model]
    family, options = there.families[member], there.shapes[member]
    group = (family.micro_batch, family.tensor_parallel)
    some = LayerTimes(
        forward_s=lower.forward_s[:, still],
        backward_s=lower.backward_s[:, still],
        optimizer_s=lower.optimizer_s[:, still],
    )
    order = list(layout.workload.order)
    problem = layout.problem(family, scoring.sections[section].setting, some.at(0), there.replications[group])
    loads = least_bottlenecks(problem, some.forward_s[order], some.backward_s[order], int(options.stages.max()))
    sharp_s = batch_bound_s(some, there.chains[group], family.recompute, options, loads)
    _cut(scoring, known, model, member, chips[still], layout.batch / sharp_s)


def _ones(
    scoring: Scoring,
    block: ChipBlock,
    known: FamilyBounds,
    chip: int,
    seconds: dict[tuple[int, Group], tuple[LayerTimes, dict[int, int]]],
) -> list[ChipCandidate]:
    """Return a chip as a candidate; with several objectives each of its families is one, since plans differ in all."""
    held: dict[tuple[int, Group], LayerTimes] = {}
    stages = tuple(np.full(len(table), int(Refinement.PARTS)) for table in known.samples_per_s)
    for (model, group), (lower, columns) in seconds.items():
        if chip in columns:
            held[model, group] = lower.at(columns[chip])
            stages[model][list(scoring.there[block.section][model].members[group])] = Refinement.SCHEDULE_BOUNDS
    speeds = tuple(table[:, chip].copy() for table in known.samples_per_s)

    def one(speed: tuple[Floats, ...]) -> ChipCandidate:
        return ChipCandidate(
            section=block.section,
            places=block.places[:, chip : chip + 1],
            costs=known.costs.take(np.array([chip])),
            samples_per_s=speed,
            joules=tuple(table[:, chip] for table in known.joules),
            stages=tuple(stage.copy() for stage in stages),
            seconds=held,
        )

    if len(scoring.goal.objectives) == 1:
        return [one(speeds)]
    alone = [np.where(np.arange(len(speeds[0])) == member, speeds[0], 0.0) for member in range(len(speeds[0]))]
    return [one((speed,)) for speed in alone if speed.any()]


def alone(scoring: Scoring, block: ChipBlock, chip: int) -> list[ChipCandidate]:
    """Return one chip of a block, none of whose families is priced yet; with several objectives each of its families.

    Args:
        scoring: What candidates are judged by.
        block: The chips.
        chip: Its position in the block.
    """
    return _ones(scoring, block, block.known, chip, {})
