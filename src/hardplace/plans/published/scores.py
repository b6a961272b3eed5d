"""Predictions of published training runs beside what was measured, with a summary of their errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hardplace.errors import BadInput
from hardplace.hardware.catalogue import device
from hardplace.plans.chain import of_shape
from hardplace.plans.estimate import PlanEstimate, estimate_plan
from hardplace.plans.fleet import Fleet, Pricers, fleet_of
from hardplace.plans.intervals import Interval
from hardplace.plans.placement.enumeration import MICRO_BATCHES
from hardplace.plans.plan import Plan
from hardplace.plans.plan_problems import problems
from hardplace.plans.published.counted import fullest_bytes
from hardplace.plans.published.rows import (
    NotModelled,
    measured_s,
    memory_unstated,
    published_bytes,
    source_of,
)
from hardplace.plans.published.runs import PublishedRun, run_of, spelled
from hardplace.units import GIB
from hardplace.workload.types import Recompute


@dataclass(frozen=True, slots=True, kw_only=True)
class RunScore:
    """The prediction of one row beside its measurement.

    Attributes:
        id: Identifier of the row.
        source: Source of the row.
        device: Name of the device.
        split: Calibration or test.
        predicted_s: Predicted seconds of a step.
        measured_s: Measured seconds of a step.
        error: Relative error of the prediction.
        not_modelled: Why there is no prediction; "": there is one.
        sound: Whether the row counts where something was measured and predicted of it (grade A or B, no flag).
        memory_gib: Predicted memory of the fullest stage, as the source measured it (`counted.fullest_bytes`).
        published_gib: Measured memory.
        fits: Whether the plan fits the device.
        oom: Whether the run ran out of memory.
        unstated: Whether the source leaves out recompute, or how much is offloaded.
        interval: The 80 % interval of step and memory.
        run: The run as it was read and priced, with what its source leaves out settled.
        left_open: Columns that its source leaves out.
    """

    id: str
    source: str
    device: str
    split: str
    predicted_s: float | None
    measured_s: float | None
    error: float | None
    not_modelled: str
    sound: bool
    memory_gib: float | None = None
    published_gib: float | None = None
    fits: bool | None = None
    oom: bool = False
    unstated: bool = False
    interval: Interval | None = None
    run: PublishedRun | None = None
    left_open: tuple[str, ...] = ()

    @property
    def counted(self) -> bool:
        """Return whether its step counts in the summary."""
        return self.sound and self.error is not None

    @property
    def inside(self) -> bool | None:
        """Return whether the measured step lies in the predicted interval; None without both."""
        if self.interval is None or self.measured_s is None:
            return None
        return self.interval.low_s <= self.measured_s <= self.interval.high_s

    @property
    def memory_inside(self) -> bool | None:
        """Return whether the measured memory lies in the predicted interval; None without both."""
        if self.interval is None or self.memory_error is None:
            return None
        return abs(math.log1p(self.memory_error)) <= self.interval.memory

    @property
    def memory_error(self) -> float | None:
        """Return the relative error of the memory; None without a published one."""
        if self.memory_gib is None or self.published_gib is None:
            return None
        return self.memory_gib / self.published_gib - 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorSummary:
    """Absolute relative errors over rows.

    Attributes:
        name: Which rows.
        rows: Number of rows.
        mean: Mean error.
        median: Median error.
        worst: Largest error.
        worst_id: Row of that.
        bias: Mean of the signed errors.
        rank: Spearman's rank correlation of predicted and measured times.
    """

    name: str
    rows: int
    mean: float
    median: float
    worst: float
    worst_id: str
    bias: float
    rank: float | None


def fleet_of_run(run: PublishedRun, known: Pricers | None = None) -> Fleet:
    """Return the run's devices as `estimate` and `place` have them; `known` is what prices devices already."""
    return fleet_of([(device(run.device), run.node, run.plan.devices)], run.plan, known)


def settled(run: PublishedRun, known: Pricers | None = None) -> PublishedRun:
    """Return the run with what its source leaves out.

    Of the micro-batches 1, 2, 4, ... that divide the batch, of the numbers of virtual stages that divide a stage's
    layers, and of the software's usual ways to recompute, the fastest that fits. Recompute is tried only where
    nothing fits without it; where nothing fits at all, it is what lacks least memory: the run ran.
    """
    if not run.open:
        return run
    each = run.plan.global_batch // run.plan.data
    sizes = [size for size in MICRO_BATCHES if each % size == 0] if "micro_batch" in run.open else []
    layers = -(-run.shape.layers // run.plan.pipeline)
    chunks = [one for one in range(1, layers + 1) if layers % one == 0] if "vpp" in run.open else [run.plan.virtual]
    plans = [
        replace(run.plan, micro_batch=size, virtual=virtual)
        for size in sizes or (run.plan.micro_batch,)
        for virtual in chunks
    ]
    tried = _tried(run, plans, known)
    if "recompute" in run.open and all(lacking for lacking, _, _ in tried):
        tried += _tried(run, [again for plan in plans for again in _recomputed(plan)], known)
    return min(tried, key=lambda item: item[:2])[2] if tried else run


def _tried(run: PublishedRun, plans: Sequence[Plan], known: Pricers | None) -> list[tuple[float, float, PublishedRun]]:
    """Return, of the plans that are none by themselves wrong, the bytes that each lacks, its seconds, the run."""
    found = []
    for plan in plans:
        if next(problems(plan), None) is None:
            one = replace(run, plan=plan, open=())
            tried = estimate_plan(of_shape(one.shape, plan), plan, fleet_of_run(one, known))
            lacking = [used.total_bytes - room for used, room in zip(tried.memory, tried.memory_bytes, strict=True)]
            found.append((max(0.0, *lacking), tried.step_s, one))
    return found


def _recomputed(plan: Plan) -> list[Plan]:
    """Return a plan with the software's usual ways to recompute."""
    some = [replace(plan, recompute=Recompute.SELECTIVE, recompute_modules=modules) for modules in plan.habits.policies]
    return [*some, replace(plan, recompute=Recompute.FULL)]


def estimated(run: PublishedRun, known: Pricers | None = None) -> PlanEstimate:
    """Return the estimate of a run; `known` is what prices devices already."""
    one = settled(run, known)
    return estimate_plan(of_shape(one.shape, one.plan), one.plan, fleet_of_run(one, known))


def score(row: Mapping[str, str], known: Pricers | None = None) -> RunScore:
    """Return a row's prediction beside its measurement; `known` is what prices devices already."""
    row = spelled(row)
    seconds = measured_s(row)
    found, run, reason = None, None, ""
    left: tuple[str, ...] = ()
    try:
        asked = run_of(row)
        run = settled(asked, known)
        found, left = _possible(estimated(run, known), row), asked.open
    except (NotModelled, BadInput) as problem:
        run, reason = None, str(problem)
    predicted_s = found.step_s if found else None
    return RunScore(
        id=row["id"],
        source=source_of(row),
        device=row["device"],
        split=row["split"],
        predicted_s=predicted_s,
        measured_s=seconds,
        error=predicted_s / seconds - 1.0 if predicted_s is not None and seconds is not None else None,
        not_modelled=reason,
        sound=row["grade"].strip().upper() != "C" and not row["flag"],
        memory_gib=fullest_bytes(row, found.memory) / GIB if found else None,
        published_gib=published_bytes(row) / GIB or None,
        fits=found.fits if found else None,
        oom=row.get("oom", "").strip().lower() in ("1", "1.0", "yes", "true"),
        unstated=memory_unstated(row),
        interval=found.interval if found else None,
        run=run,
        left_open=left,
    )


def _possible(found: PlanEstimate, row: Mapping[str, str]) -> PlanEstimate:
    """Return an estimate; NotModelled where the measured step is faster than the devices' peak."""
    seconds = measured_s(row)
    if seconds is not None and seconds < found.least_s:
        raise NotModelled(f"{seconds:g} s a step: expected at least {found.least_s:.4g} s, what the peak takes")
    return found


def summary(name: str, rows: Sequence[RunScore], *, memory: bool = False) -> ErrorSummary | None:
    """Return the summary of the rows that count, of seconds or of memory; None if none does."""
    counted = [
        (one.memory_error, one.memory_gib, one.published_gib, one)
        if memory
        else (one.error, one.predicted_s, one.measured_s, one)
        for one in rows
        if one.sound
    ]
    known = [(error, found, true, one) for error, found, true, one in counted if error is not None]
    if not known:
        return None
    errors = np.array([abs(error) for error, *_ in known])
    worst = max(known, key=lambda item: abs(item[0]))
    return ErrorSummary(
        name=name,
        rows=len(known),
        mean=float(errors.mean()),
        median=float(np.median(errors)),
        worst=abs(worst[0]),
        worst_id=worst[3].id,
        bias=float(np.mean([error for error, *_ in known])),
        rank=rank_correlation([(found or 0.0, true or 0.0) for _, found, true, _ in known]),
    )


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Return the rank correlation, ties ranked by their mean; None below three rows or without spread."""
    if len(pairs) < 3:
        return None
    ranks = [_ranks(np.array(side)) for side in zip(*pairs, strict=True)]
    if any(side.std() == 0.0 for side in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([(values < one).sum() + ((values == one).sum() - 1) / 2.0 for one in values])


def by_source(rows: Iterable[RunScore], *, memory: bool = False) -> list[ErrorSummary]:
    """Return the summary of each source, then of all rows; of seconds, or of memory."""
    listed = list(rows)
    names = dict.fromkeys(one.source for one in listed)
    found = [summary(name, [one for one in listed if one.source == name], memory=memory) for name in names]
    return [one for one in (*found, summary("all rows", listed, memory=memory)) if one is not None]
