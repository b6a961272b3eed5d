"""Chips that exist beside an answer, as rows of text for the terminal and the page."""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.design.goals import Objective
from hardplace.design.results import DesignResult, not_compared
from hardplace.design.types import ExistingChip
from hardplace.report import text as words
from hardplace.units import percent


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingRow:
    """The answer or a chip that exists, its numbers as text."""

    name: str
    samples: str
    speed_up: str
    per_watt: str
    per_dollar: str
    fitted: str
    takes: str
    beyond: str


def existing_rows(exploration: DesignResult) -> tuple[ExistingRow, ...]:
    """Return the answer and the chips that exist, the best within the limits first; () where there are none."""
    if not exploration.existing:
        return ()
    order = sorted(exploration.existing, key=lambda chip: (bool(chip.beyond), -chip.score))
    best = exploration.best
    answer = _row(
        "answer", best.samples_per_s, best.samples_per_s, exploration.tdp_w, exploration.usd, None,
        _takes(best.chip.area_mm2, exploration.tdp_w, ()), "",
    )  # fmt: skip
    return (answer, *(_of(chip, exploration) for chip in order))


def over_existing(exploration: DesignResult) -> str:
    """Return in words how much better the answer is than the best chip that exists within the limits; "" for none."""
    if not exploration.existing:
        return ""
    chip = exploration.best_existing
    left = not_compared(exploration.existing)
    if chip is None:
        return f"none of the chips {'compared' if left else 'that exist'} is within the limits"
    which = "compared" if left else "that exists"
    ratio = exploration.score / chip.score
    if exploration.objective == Objective.THROUGHPUT:
        return f"{ratio:.2f} times as fast as {chip.name}, the fastest chip {which} within the limits"
    if exploration.inverse:
        share = f"{percent(1.0 / ratio)} of the {exploration.unit}"
    else:
        share = f"{ratio:.2f} times the {exploration.unit}"
    return f"{share} of {chip.name}, the best chip {which} within the limits"


def _of(chip: ExistingChip, exploration: DesignResult) -> ExistingRow:
    return _row(
        chip.name,
        chip.samples_per_s,
        exploration.best.samples_per_s,
        chip.tdp_w,
        chip.usd,
        chip.fitted_samples_per_s,
        _takes(chip.area_mm2, chip.tdp_w, chip.published),
        ", ".join(chip.beyond),
        "does not fit" if chip.infeasible is not None else "not reached",
    )


def _row(
    name: str, samples_per_s: float, best: float, tdp_w: float | None, usd: float | None, fitted: float | None,
    takes: str, beyond: str, nothing: str = "",
) -> ExistingRow:  # fmt: skip
    reached = samples_per_s > 0.0
    return ExistingRow(
        name=name,
        samples=f"{samples_per_s:,.1f}" if reached else nothing,
        speed_up=f"{best / samples_per_s:.2f}" if reached else "-",
        per_watt=words.number(samples_per_s / tdp_w) if reached and tdp_w else "-",
        per_dollar=words.number(samples_per_s / usd) if reached and usd else "-",
        fitted=f"{fitted:,.1f}" if fitted else "-",
        takes=takes,
        beyond=beyond or "-",
    )


def _takes(area_mm2: float, tdp_w: float | None, published: tuple[str, ...]) -> str:
    """Return area and TDP in words; a figure that is the model's and not published has a tilde."""
    area = f"{'' if 'area' in published else '~'}{area_mm2:.0f}\u00a0mm²"
    return area if tdp_w is None else f"{area}, {'' if 'TDP' in published else '~'}{tdp_w:.0f}\u00a0W"
