"""Predictions of published training runs beside what was measured, and the summary of their errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from hardplace.cost.gpu.efficiencies import FittedEfficiencies, efficiencies, fitted
from hardplace.cost.gpu.price import Pricer
from hardplace.errors import BadInput
from hardplace.hardware.catalogue import device
from hardplace.placement.plan import Format, Plan, problems
from hardplace.search.chain import of_shape
from hardplace.search.clusters import Fleet, Site, pricer_of
from hardplace.search.estimate import PlanEstimate, estimate_plan
from hardplace.search.published import NotModelled, Run, run_of
from hardplace.workload.types import Recompute

_SIZES = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One row: seconds predicted and measured, relative error, why there is no prediction (empty: there is one).

    counted: the row counts in the summary (grade A or B, no flag, measured, predicted). memory: GB, largest stage,
    what the allocator counts, and all with fragmentation and reserve, against published.
    """

    id: str
    source: str
    device: str
    split: str
    predicted_s: float | None
    measured_s: float | None
    error: float | None
    not_modelled: str
    counted: bool
    allocated_gb: float | None = None
    total_gb: float | None = None
    published_gb: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Absolute relative errors over rows: mean, median, worst, and Spearman's rank correlation of times."""

    name: str
    rows: int
    mean: float
    median: float
    worst: float
    worst_id: str
    bias: float
    rank: float | None


@cache
def _pricer(gpu: str, precision: Format, flash: bool, stack: str, backend: str) -> Pricer:
    """Return the pricer of a GPU with its fitted efficiencies, shared so that kernels are priced once."""
    return pricer_of(device(gpu), Plan(global_batch=1, precision=precision, flash=flash), stack, backend)


def fleet_of_run(run: Run, found: FittedEfficiencies | None = None) -> Fleet:
    """Return the run's devices with what prices its work on them; found: other figures than those that ship."""
    known = found or fitted()
    pricer = _pricer(run.gpu, run.plan.precision, run.plan.flash, run.stack, run.backend)
    pricer.efficiencies = efficiencies(pricer.model.datasheet, run.stack, known)
    cluster, share = run.cluster, known.fabrics.get(run.fabric, 1.0)
    if share != 1.0 and len(cluster.levels) > 1:
        cluster = replace(cluster, levels=(*cluster.levels[:-1], replace(cluster.levels[-1], efficiency=share)))
    return Fleet(
        sites=(Site(device=run.gpu, cluster=cluster, pricer=pricer, memory_bytes=device(run.gpu).memory_bytes),)
    )


def settled(run: Run) -> Run:
    """Return the run with what its source leaves out: recompute full where the step does not fit without, and of the
    micro-batches 1, 2, 4, ... that divide the batch the fastest that fits."""
    each = run.plan.global_batch // run.plan.data
    sizes = [one for one in _SIZES if each % one == 0] if "micro_batch" in run.open else [run.plan.micro_batch]
    kinds = [run.plan.recompute] + ([Recompute.FULL] if "recompute" in run.open else [])
    tried: list[tuple[bool, float, Run]] = []
    for kind in kinds:
        for size in sizes:
            one = replace(run, plan=replace(run.plan, recompute=kind, micro_batch=size), open=())
            if next(problems(one.plan), None) is None:
                found = estimate_plan(of_shape(one.shape, one.plan), one.plan, fleet_of_run(one))
                tried.append((not found.fits, found.step_s, one))
        if any(not full for full, _, _ in tried):
            break
    if not tried or all(full for full, _, _ in tried):
        return replace(run, open=())
    return min(tried, key=lambda item: item[:2])[2]


def estimated(run: Run) -> PlanEstimate:
    """Return the estimate of a run."""
    one = settled(run) if run.open else run
    return estimate_plan(of_shape(one.shape, one.plan), one.plan, fleet_of_run(one))


def score(row: Mapping[str, str], estimate: Callable[[Run], PlanEstimate] = estimated) -> Scored:
    """Return a row's prediction beside its measurement."""
    measured_s = _number(row["target_iter_s"])
    published = _number(row["memory_gb"])
    found, reason = None, ""
    try:
        found = estimate(run_of(row))
    except (NotModelled, BadInput) as problem:
        reason = str(problem)
    predicted_s = found.step_s if found else None
    known = predicted_s is not None and measured_s is not None
    return Scored(
        id=row["id"],
        source=row["source"].split(" ")[0],
        device=row["device"],
        split=row["split"],
        predicted_s=predicted_s,
        measured_s=measured_s,
        error=predicted_s / measured_s - 1.0 if predicted_s is not None and measured_s is not None else None,
        not_modelled=reason,
        counted=known and row["grade"] != "C" and not row["flag"],
        allocated_gb=max(one.allocated_bytes for one in found.memory) / 1e9 if found else None,
        total_gb=max(one.total_bytes for one in found.memory) / 1e9 if found else None,
        published_gb=published,
    )


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value > 0 else None


def summary(name: str, rows: Sequence[Scored]) -> Summary | None:
    """Return the summary of the rows that count; None if none does."""
    counted = [(abs(one.error), one) for one in rows if one.counted and one.error is not None]
    if not counted:
        return None
    errors = np.array([error for error, _ in counted])
    worst, of = max(counted, key=lambda item: item[0])
    return Summary(
        name=name,
        rows=len(counted),
        mean=float(errors.mean()),
        median=float(np.median(errors)),
        worst=worst,
        worst_id=of.id,
        bias=float(np.mean([one.error for _, one in counted])),
        rank=_spearman([(one.predicted_s or 0.0, one.measured_s or 0.0) for _, one in counted]),
    )


def _spearman(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Return the rank correlation, ties ranked by their mean; None below three rows or without spread."""
    if len(pairs) < 3:
        return None
    ranks = [_ranks(np.array(side)) for side in zip(*pairs, strict=True)]
    if any(side.std() == 0.0 for side in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([(values < one).sum() + ((values == one).sum() - 1) / 2.0 for one in values])


def by_source(rows: Iterable[Scored]) -> list[Summary]:
    """Return the summary of each source, then of the sources' means, then of all rows."""
    listed = list(rows)
    names = dict.fromkeys(one.source for one in listed)
    found = [summary(name, [one for one in listed if one.source == name]) for name in names]
    return [one for one in (*found, summary("all rows", listed)) if one is not None]
