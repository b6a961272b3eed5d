"""The chips of a space with a chosen plan held fixed, for the page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hardplace.branch_and_bound.front import Front
from hardplace.branch_and_bound.loop import Deadline
from hardplace.design.exact.layer_kernels import LayerTimes
from hardplace.design.search.explore import DesignSearch
from hardplace.design.types import Cloud, Evaluation
from hardplace.hardware.phaze import name
from hardplace.ndtypes import Floats, Ints

_ALL = 6_000  # chips of a space that are all looked at
_SOME = 1_500  # of a larger one, drawn at random: as many dots as a figure shows; list schedules of 6,000 take 1.5 s
_TOGETHER = 500  # chips that are priced at once
_HURRIED = 1_500  # where the search has a time limit: all of PHAZE's space take 18 s for dlrm, longer than its limit


def cloud(search: DesignSearch, section: int, best: Evaluation, within: Deadline) -> Cloud:
    """Return the chips of the answer's section within the limits, its plan held fixed, with what list schedules reach.

    All chips of a small space; of a large one, and where the search has a time limit, a random choice with a fixed
    seed, and the answer; the first of these, as far as the time reaches.
    """
    scoring = search.scoring
    places = _places(search, best)
    costs, _, _ = scoring.limits.costs(scoring.sections[section], scoring.space.at(places))
    kept = np.flatnonzero(scoring.limits.within(costs) & scoring.limits.large(scoring.space.at(places), costs))
    layout, setting = scoring.models[0], scoring.sections[section].setting
    group = (best.family.micro_batch, best.family.tensor_parallel)
    found = Cloud(
        area_mm2=(), samples_per_s=(), bound_samples_per_s=(), label=(),
        sampled=scoring.space.whole.size > _most(search),
    )  # fmt: skip
    for some in np.split(kept, range(_TOGETHER, len(kept), _TOGETHER)):
        if within.over and found.label:
            return replace(found, sampled=True)
        chips = replace(scoring.space.at(places[:, some]), area_mm2=costs.area_mm2[some])
        seconds = layout.kernels[group].list_schedules(chips, setting)
        # Whatever was reached: the figure shows how far below its bound each chip is.
        known = replace(scoring, front=Front[Any]()).known(section, places[:, some], places[:, some], best=True)
        bound = known.samples_per_s[0].max(axis=0) if len(known.samples_per_s[0]) else np.zeros(len(chips))
        found = replace(
            found,
            area_mm2=found.area_mm2 + tuple(chips.area_mm2.tolist()),
            samples_per_s=found.samples_per_s + tuple((layout.batch / plan_seconds(best, seconds)).tolist()),
            bound_samples_per_s=found.bound_samples_per_s + tuple(bound.tolist()),
            label=found.label + tuple(name(chips, index) for index in range(len(chips))),
        )
    return found


def _most(search: DesignSearch) -> int:
    """Return how many chips a space may have of which all are looked at."""
    return _ALL if search.ends.limit_s is None else _HURRIED


def _places(search: DesignSearch, best: Evaluation) -> Ints:
    """Return the places of the chips to look at, with that of the answer."""
    space = search.question.space
    some = _SOME if search.ends.limit_s is None else _HURRIED
    if space.whole.size <= _most(search):
        return space.whole.places()
    random = np.random.default_rng(0)
    drawn = np.stack([random.integers(0, high, some) for high in space.whole.high])
    own = space.place_of(best.chip, search.question.setting.clock_hz)
    mixed = random.permutation(np.unique(drawn, axis=1), axis=1)
    return mixed if own is None else np.concatenate([own, mixed[:, (mixed != own).any(axis=0)]], axis=1)


def plan_seconds(best: Evaluation, seconds: LayerTimes) -> Floats:
    """Return the batch time of one placement on each chip: the placement's closed form with other layer times."""
    placement = best.placement
    loads, ends = [], []
    for stage in placement.stages:
        held = [best.order[index] for index in stage.layers]
        forward_s = seconds.forward_s[held].sum(axis=0)
        again = best.family.recompute and stage is not placement.stages[-1]
        loads.append(forward_s * (2 if again else 1) + seconds.backward_s[held].sum(axis=0) + stage.transfer_s)
        own = sum(best.layers[index].optimizer_s for index in held)
        scale = stage.optimizer_s / own if own else 0.0
        ends.append(stage.reduction_s + scale * seconds.optimizer_s[held].sum(axis=0))
    rounds = placement.micro_batches_per_replica + len(placement.stages) - 1
    return np.asarray(np.max(loads, axis=0) * rounds + np.max(ends, axis=0))
