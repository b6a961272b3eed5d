"""What moves an answer: each assumption 20 % lower and higher, and from where another chip near it is faster.

Chips near the answer differ from it by one step on at most two axes of the space; they keep its plan, memory and links.
Speeds are of list schedules under the answer's plan, so that the answer and its neighbours are compared alike
(docs/model-search.md, "Sensitivity").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np

from hardplace.answers import Infeasible
from hardplace.design.cloud import plan_seconds
from hardplace.design.exact.evaluator import ChipEvaluator
from hardplace.design.goals import Costs
from hardplace.design.search.candidates import Reached
from hardplace.design.search.explore import DesignSearch
from hardplace.design.search.layout import group_of
from hardplace.design.search.sections import Section
from hardplace.design.types import Evaluation, Job, Sensitivity, Variation
from hardplace.hardware.money import cost
from hardplace.hardware.phaze import name
from hardplace.hardware.technology import technology
from hardplace.hardware.types import Chips, Setting
from hardplace.ndtypes import BoolVector, Floats

STEP = 0.2
_LEVELS = (0.1, STEP)  # changes at which speeds are looked at
_SPEED = ("HBM bandwidth", "link bandwidth", "clock")
_LIMITED = {"die area": "area", "TDP": "TDP"}  # factor, and the limit that it tightens
_SAME = 1.0 + 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class _Near:
    """Chips near the answer, the answer first, in its section, and what they cost."""

    section: Section
    chips: Chips
    costs: Costs


def sensitivity(
    search: DesignSearch,
    reached: Reached,
    best: Evaluation,
    evaluator: ChipEvaluator,
    check: Callable[[], None] = lambda: None,
) -> Iterator[Sensitivity]:
    """Yield what each assumption does to an answer of one model by throughput, in a space by parts.

    Args:
        search: The search that the answer is of.
        reached: The answer's chip.
        best: Its plan.
        evaluator: Where the answer is priced again; with list schedules.
        check: Called before each change; may raise to end it.
    """
    near = _near(search, reached)
    base = _speeds(search, best, search.scoring.sections[reached.section].setting, near.chips)
    for factor in (*_SPEED, *_LIMITED, "wafer price"):
        if factor in _SPEED:
            speeds = {}
            for change in _changes():
                check()
                speeds[change] = _varied(search, reached, near, best, evaluator, factor, change)
            allowed = _within(search, near, {})
            made = [_variation(search, near, speeds[change], allowed, {}, change) for change in (-STEP, STEP)]
            wins = [_first({0.0: base, **speeds}, allowed, side) for side in (-1, 1)]
        else:
            made, wins = [], []
            for change in (-STEP, STEP):
                scale = {factor: 1.0 + change}
                made.append(_variation(search, near, base, _within(search, near, scale), scale, change))
                wins.append(_limit_change(search, near, base, factor, change))
        yield Sensitivity(factor=factor, low=made[0], high=made[1], wins_below=wins[0], wins_above=wins[1])


def _changes() -> tuple[float, ...]:
    return tuple(side * level for side in (-1, 1) for level in _LEVELS)


def _near(search: DesignSearch, reached: Reached) -> _Near:
    space = search.question.space
    own = reached.places[:, 0]
    found = [own]
    for axes in combinations(range(len(own)), 2):
        for steps in product((-1, 0, 1), repeat=2):
            place = own.copy()
            place[list(axes)] += steps
            if all(0 <= at < high for at, high in zip(place, space.whole.high, strict=True)):
                found.append(place)
    places = np.unique(np.array(found), axis=0)
    first = int(np.flatnonzero((places == own).all(axis=1))[0])
    order = [first, *(index for index in range(len(places)) if index != first)]
    chosen = places[order].T
    chips = space.at(chosen)
    section = search.scoring.sections[reached.section]
    bill, made, energies = section.pricer.bill(chips)
    costs = Costs(
        area_mm2=bill.die_mm2, die_mm2=bill.die_mm2, tdp_w=bill.tdp_w, usd=made.usd, embodied_kg=made.embodied_kg,
        idle_w=energies.idle_w,
    )  # fmt: skip
    return _Near(section=section, chips=replace(chips, area_mm2=bill.die_mm2), costs=costs)


def _speeds(search: DesignSearch, best: Evaluation, setting: Setting, chips: Chips) -> Floats:
    """Return samples a second of chips under the answer's plan with list schedules."""
    layout = search.scoring.models[0]
    seconds = layout.kernels[group_of(best.family)].list_schedules(chips, setting)
    return np.asarray(layout.batch / plan_seconds(best, seconds))


def _varied(
    search: DesignSearch, reached: Reached, near: _Near, best: Evaluation, evaluator: ChipEvaluator, factor: str,
    change: float,
) -> Floats:  # fmt: skip
    """Return samples a second of the chips where one rate of all of them changes."""
    scale, chip = 1.0 + change, best.chip
    setting, chips = search.scoring.sections[reached.section].setting, near.chips
    levels = setting.cluster.levels
    if factor == "clock":
        # The buffer's bandwidth goes with the clock, as everything on the die does.
        chips = replace(chips, clock_hz=chips.clocks_hz(setting) * scale)
        chip = replace(chip, clock_hz=chip.clock_hz * scale)
    elif factor == "HBM bandwidth":
        bandwidth = setting.memory_bandwidth_bytes_per_s * scale
        setting = replace(setting, memory_bandwidth_bytes_per_s=bandwidth)
        chip = replace(chip, memory_bandwidth_bytes_per_s=bandwidth)
    else:
        inner = replace(levels[0], bandwidth_bytes_per_s=levels[0].bandwidth_bytes_per_s * scale)
        setting = replace(setting, cluster=replace(setting.cluster, levels=(inner, *levels[1:])))
        chip = replace(chip, link_bandwidth_bytes_per_s=inner.bandwidth_bytes_per_s)
        # What a stage hands on and reduces is taken from the answer with these links.
        again = evaluator.evaluate(Job(model=search.question.workloads[0].name, chip=chip, family=best.family))
        same = not isinstance(again, Infeasible) and len(again.placement.stages) == len(best.placement.stages)
        best = again if same and not isinstance(again, Infeasible) else best
    return _speeds(search, best, setting, chips)


def _within(search: DesignSearch, near: _Near, scale: dict[str, float]) -> BoolVector:
    """Return which chips are within the limits where what they take is scaled."""
    costs, budget = near.costs, search.question.budget
    inside = costs.area_mm2 * scale.get("die area", 1.0) <= budget.area_mm2 * _SAME
    if budget.tdp_w is not None:
        inside &= costs.tdp_w * scale.get("TDP", 1.0) <= budget.tdp_w * _SAME
    if budget.usd is not None:
        inside &= _usd(search, near, scale) <= budget.usd * _SAME
    return np.asarray(inside)


def _usd(search: DesignSearch, near: _Near, scale: dict[str, float]) -> Floats:
    tech = technology(search.question.space.node_nm)
    wafer = replace(tech, wafer_usd=tech.wafer_usd * scale.get("wafer price", 1.0))
    die = near.costs.die_mm2 * scale.get("die area", 1.0)
    return cost(near.section.pricer.plan(near.chips), wafer, die, near.costs.tdp_w * scale.get("TDP", 1.0)).usd


def _variation(
    search: DesignSearch, near: _Near, speeds: Floats, allowed: BoolVector, scale: dict[str, float], change: float
) -> Variation:
    kept = np.where(allowed, speeds, 0.0)
    top = int(np.argmax(kept))
    if kept[0] >= kept[top] / _SAME:
        top = 0
    return Variation(
        change=change,
        samples_per_s=float(speeds[0]) if allowed[0] else 0.0,
        usd=float(_usd(search, near, scale)[0]),
        best_samples_per_s=float(kept[top]),
        best_chip=name(near.chips, top) if kept[top] > 0.0 else "",
        best_is_answer=top == 0 and bool(allowed[0]),
    )


def _first(speeds: dict[float, Floats], allowed: BoolVector, side: int) -> float | None:
    """Return the least change to a side, of those looked at, at which another chip is faster; 0: already within the
    gap.
    """
    for level in (0.0, *_LEVELS):
        of = np.where(allowed, speeds[side * level], 0.0)
        if of.max() > of[0] * _SAME:
            return side * level
    return None


def _limit_change(search: DesignSearch, near: _Near, speeds: Floats, factor: str, change: float) -> float | None:
    """Return the least change of what chips take, to the side of `change`, at which another chip is the answer.

    Upwards the answer itself no longer fits; downwards a faster one does.
    """
    limit = {"die area": search.question.budget.area_mm2, "TDP": search.question.budget.tdp_w}.get(factor)
    if limit is None:
        return None
    taken = near.costs.area_mm2 if factor == "die area" else near.costs.tdp_w
    if change > 0.0:
        room = limit / float(taken[0]) - 1.0
        return room if room <= STEP else None
    others = _within(search, near, {factor: 1.0 - STEP}) & (speeds > speeds[0] * _SAME)
    if not others.any():
        return None
    return min(0.0, float((limit / taken[others]).max()) - 1.0)
