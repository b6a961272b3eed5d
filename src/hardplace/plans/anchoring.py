"""What a few measured steps of one system say of its others: Bayesian linear regression on the slopes of a step.

With s_k the slope of log seconds by the logarithm of figure k, a system's figures differ from the shipped ones by
b + d_k: b of all alike, d_k of each. Measured over predicted is then sum_k s_k (b + d_k) + noise, b and d normal, the
noise Student's t: single runs scatter far. The posterior's mode is a few linear solves (docs/model-training.md, section
8).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hardplace.errors import BadInput
from hardplace.ndtypes import Floats
from hardplace.plans.anchors import VERSION, Anchor, AnchorRun, Factor
from hardplace.plans.chain import LayerChain
from hardplace.plans.efficiencies import FIGURES, values_of, with_values
from hardplace.plans.efficiencies import anchored as with_anchor
from hardplace.plans.estimate import estimate_plan
from hardplace.plans.fleet import Fleet
from hardplace.plans.intervals import spreads
from hardplace.plans.plan import Plan
from hardplace.plans.timing import Known

_TO_80 = 1.2816  # standard deviations of a normal's 80 % interval, either way
_STEP = 0.05  # of a logarithm over which slopes are taken
_UNLIKE = 1.5  # runs of one system that differ in model too, over pairs that do not (coverage of sources left out)
# sd of what one figure of a system differs by beside all of them together, of kernels and of traffic and the host: by
# the least error of sources left out of the fit after one to five runs
_OF_KERNELS, _OF_REST = 0.1, 0.3
# sd of all figures together at the least: d_k explain more than the means of sources left out differ by (0.05)
_OF_ALL = 0.01
_FREEDOM, _ROUNDS = 3.0, 8  # of Student's t; steps of reweighted least squares (Lange, Little & Taylor 1989)
_REPEATS = 1.06  # of one configuration: published ones repeat within 2 to 6 % (validation/training/CONVENTIONS.md)
# sd of the logarithm of memory of runs within a system: with it 81 and 82 % of the others lie inside after one and
# three runs (16 and 10 systems: docs/model-training.md, section 8); of systems at least
_MEMORY_NOISE, _MEMORY_LEAST = 0.09, 0.03
_KERNELS = ("products", "low", "attention", "streams")
_ABSURD = 3.0  # standard deviations from the prediction beyond which a run is doubted


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A measured step: its name, the chain, the plan and the devices it ran on, seconds.

    repeated: the largest over the smallest seconds of its repeats. memory: measured over predicted bytes of the fullest
    stage, as its source counts them, without the reserve; 0: not measured.
    """

    name: str
    chain: LayerChain
    plan: Plan
    fleet: Fleet
    seconds: float
    repeated: float = 1.0
    memory: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Posterior:
    """What runs say of a system: the mean of b and of d by figure, and their covariance."""

    mean: Floats
    covariance: Floats
    noise: float

    def half(self, slopes: Floats) -> float:
        """Return half the width of the 80 % interval of another run with these slopes, as a logarithm."""
        row = _row(slopes)
        return _TO_80 * math.sqrt(float(row @ self.covariance @ row) + self.noise**2)

    def log_factor(self, slopes: Floats) -> float:
        """Return by how much another run's seconds change, as a logarithm."""
        return float(_row(slopes) @ self.mean)


def _row(slopes: Floats) -> Floats:
    return np.concatenate([[slopes.sum()], slopes])


def posterior(
    slopes: Sequence[Floats], errors: Sequence[float], prior_half: float, pairs: float | None = None
) -> Posterior:
    """Return what runs say; errors: logarithms of measured over predicted; prior_half: half the width of the 80 %
    interval without any run; pairs: of two runs of one source (those that ship). The noise of a run is what two such
    runs differ by, with Student's t tails: of a run that is far from the others, or alone far from the prediction, less
    is believed."""
    noise = _UNLIKE * (spreads().pairs if pairs is None else pairs) / _TO_80 / math.sqrt(2.0)
    apart = np.array([_OF_KERNELS if name in _KERNELS else _OF_REST for name in FIGURES])
    explained = float(np.mean([((one * apart) ** 2).sum() for one in slopes])) if slopes else 0.0
    of_all = math.sqrt(max((prior_half / _TO_80) ** 2 - noise**2 - explained, _OF_ALL**2))
    prior = np.diag(1.0 / np.concatenate([[of_all], apart]) ** 2)
    rows, targets = np.array([_row(one) for one in slopes]).reshape(len(slopes), len(FIGURES) + 1), np.array(errors)
    weights = np.ones(len(slopes))
    for _ in range(_ROUNDS):
        weighed = rows.T * weights / noise**2
        covariance = np.linalg.inv(prior + weighed @ rows)
        mean = covariance @ weighed @ targets
        weights = (_FREEDOM + 1.0) / (_FREEDOM + ((targets - rows @ mean) / noise) ** 2)
    return Posterior(mean=mean, covariance=covariance, noise=noise)


def slopes_at(run: Measured) -> tuple[float, Floats]:
    """Return the predicted seconds of a run, and the slopes of their logarithm by each figure's."""
    pricer = run.fleet.sites[0].pricer
    known: Known = {}
    shipped = pricer.efficiencies
    values = values_of(shipped)

    def seconds(changed: dict[str, float]) -> float:
        pricer.efficiencies = with_values(shipped, changed, flash=run.plan.flash) if changed is not values else shipped
        return estimate_plan(run.chain, run.plan, run.fleet, known).step_s

    try:
        middle = seconds(values)
        slopes = [
            math.log(seconds(values | {name: values[name] * math.exp(_STEP)}) / middle) / _STEP for name in FIGURES
        ]
    finally:
        pricer.efficiencies = shipped
    return middle, np.array(slopes)


def _anchored_s(run: Measured, anchor: Anchor) -> float:
    """Return the seconds of a run by its plan with the anchor, as `estimate --calibrated` says them."""
    pricer = run.fleet.sites[0].pricer
    shipped = pricer.efficiencies
    try:
        pricer.efficiencies = with_anchor(shipped, anchor, flash=run.plan.flash)
        return estimate_plan(run.chain, run.plan, run.fleet).step_s
    finally:
        pricer.efficiencies = shipped


def most_telling(found: Posterior, others: Sequence[Measured]) -> str:
    """Return the name of the run whose step would tell most of a system; "" without any.

    A measured step tells `log(1 + s C s / n^2) / 2` nats of the figures: s its slopes, C what is known,
    a covariance, n the noise of a run (the mutual information of normals).
    """
    told: dict[str, float] = {}
    for one in others:
        row = _row(slopes_at(one)[1])
        told[one.name] = 0.5 * math.log1p(float(row @ found.covariance @ row) / found.noise**2)
    return max(told, key=told.__getitem__, default="")


def anchored(runs: Sequence[Measured], others: Sequence[Measured] = ()) -> tuple[Anchor, tuple[str, ...]]:
    """Return what the runs of one system say of it, and what is odd about them; others: runs that could be next.

    Raises BadInput for runs on several devices or software, or for one that is faster than the devices' peak.
    """
    kinds = {(run.fleet.sites[0].device, run.plan.software) for run in runs}
    if len(kinds) > 1:
        listed = ", ".join(sorted(f"{device} with {software or 'no software named'}" for device, software in kinds))
        raise BadInput(f"runs: {listed}: expected one device and one software, those of the system to anchor")
    device, software = next(iter(kinds))
    slopes, errors, odd, halves, told, classes = [], [], [], [], [], []
    for run in runs:
        estimate = estimate_plan(run.chain, run.plan, run.fleet)
        predicted_s, slope = slopes_at(run)
        if estimate.least_s > run.seconds:
            said = f"{run.name}: {run.seconds:g} s a step"
            raise BadInput(f"{said}: expected at least {estimate.least_s:.4g} s, what the peak takes")
        half = math.log(estimate.interval.high_s / estimate.step_s)
        error = math.log(run.seconds / predicted_s)
        if abs(error) > _ABSURD * half / _TO_80:
            odd.append(
                f"{run.name}: {run.seconds:g} s measured, {predicted_s:.4g} s predicted, beyond three standard "
                "deviations: is the plan the one that ran?"
            )
        if run.repeated > _REPEATS:
            odd.append(
                f"{run.name}: one plan, whose times differ by a factor {run.repeated:.3g}: repeats of a run differ by "
                f"{_REPEATS:g} at most: counted once, by their geometric mean"
            )
        slopes.append(slope)
        errors.append(error)
        halves.append(half)
        classes.append(estimate.interval.kind)
        told.append(predicted_s)
    found = posterior(slopes, errors, max(halves))
    factors = found.mean[0] + found.mean[1:]
    left = float(np.mean([found.half(one) for one in slopes]))
    memory, memory_half = _memory(runs)
    made = Anchor(
        version=VERSION,
        device=device,
        software=software,
        runs=len(runs),
        factors=tuple(
            Factor(figure=name, value=float(f"{math.exp(value):.4g}"))
            for name, value in zip(FIGURES, factors.tolist(), strict=True)
        ),
        half=float(f"{left:.3g}"),
        kinds=tuple(sorted(set(classes))),
        next_run=most_telling(found, others),
        memory=float(f"{memory:.4g}"),
        memory_half=float(f"{memory_half:.3g}"),
    )
    measured = (
        AnchorRun(name=run.name, measured_s=run.seconds, predicted_s=predicted_s, anchored_s=_anchored_s(run, made))
        for run, predicted_s in zip(runs, told, strict=True)
    )
    return replace(made, measured=tuple(measured)), tuple(odd)


def _memory(runs: Sequence[Measured]) -> tuple[float, float]:
    """Return the factor of a system's memory that its runs say, and half the width of the interval that is left, as a
    logarithm; 1 and 0 where none of them was measured.

    Measured over predicted is exp(b + noise), b of the system with the variance that the class has beyond the noise.
    """
    for run in runs:
        if run.memory and not 0.5 <= run.memory <= 2.0:
            raise BadInput(f"{run.name}: memory_gb: {run.memory:.3g} times as predicted: expected 0.5 to 2 times")
    ratios = [(math.log(run.memory), run) for run in runs if run.memory]
    if not ratios:
        return 1.0, 0.0
    half = max(estimate_plan(run.chain, run.plan, run.fleet).interval.memory for _, run in ratios)
    own = max((half / _TO_80) ** 2 - _MEMORY_NOISE**2, _MEMORY_LEAST**2)
    left = 1.0 / (1.0 / own + len(ratios) / _MEMORY_NOISE**2)
    mean = left * sum(ratio for ratio, _ in ratios) / _MEMORY_NOISE**2
    return math.exp(mean), _TO_80 * math.sqrt(left + _MEMORY_NOISE**2)
