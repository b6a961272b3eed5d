"""Published runs that are equal in every column the model sees, and the least error that they leave to any model; and
pairs of sources that no figures of the model can both meet.

    python benchmarks/alike_runs.py    # writes validation/training/alike.md, which docs/validation.md holds

Two rows are alike when they read as the same shape, plan, device and node. Whatever function of the columns predicts
them gives one number to all of a group. Of a group with measured seconds m_i, each weighing w_i in the mean of the
sources' mean errors, sum_i w_i |p / m_i - 1| is least at p = the weighted median of m_i with weights w_i / m_i. Summed
over groups, with every other row taken to be predicted exactly, this is a lower bound on the error of any model.

Two rows of the same device, software and flags have the same figures. Their log seconds move with the logarithm x_k of
figure k by slopes s_ik and s_jk; where sum_k |s_ik - s_jk| is small, no choice of figures moves one over the other, and
what the ratios of predicted to measured differ by stays with one of the two.
"""

from __future__ import annotations

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from fit_training import Case, cases

from hardplace.errors import BadInput
from hardplace.files import write_text
from hardplace.plans.efficiencies import FIGURES, FittedEfficiencies, fitted
from hardplace.plans.pooling import Pooled
from hardplace.plans.published.runs import NotModelled, run_of

FOLDER = Path(__file__).parent.parent / "validation/training"
TABLES = ("training.csv", "runs-2026b.csv")
OUT = FOLDER / "alike.md"
SHOWN = 1.05  # ratio of the slowest to the fastest from which a group is listed
NEAR, APART = 0.1, 0.12  # sum of slopes' differences up to which rows are as one to the figures; log errors apart
MOVED = 0.3  # most that a figure's logarithm is thought to be wrong by


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """A counted row: id, source, split, measured seconds."""

    id: str
    source: str
    split: str
    seconds: float


def groups() -> list[list[Alike]]:
    """Return the counted rows of both tables in groups that read alike."""
    found: dict[str, list[Alike]] = defaultdict(list)
    for name in TABLES:
        with (FOLDER / name).open() as text:
            for row in csv.DictReader(text):
                if row["grade"] == "C" or row["flag"] or not row["target_iter_s"]:
                    continue
                try:
                    run = run_of(row)
                except (NotModelled, BadInput):
                    continue
                source = row["source"].split(" ")[0]
                one = Alike(id=row["id"], source=source, split=row["split"], seconds=float(row["target_iter_s"]))
                found[repr(replace(run, open=()))].append(one)
    return list(found.values())


def least(group: Sequence[Alike], weights: Sequence[float]) -> tuple[float, list[float]]:
    """Return the one prediction of a group that is least off, and its absolute relative errors."""
    order = sorted(zip(group, weights, strict=True), key=lambda item: item[0].seconds)
    half = sum(weight / one.seconds for one, weight in order) / 2.0
    reached, best = 0.0, order[-1][0].seconds
    for one, weight in order:
        reached += weight / one.seconds
        if reached >= half:
            best = one.seconds
            break
    return best, [abs(best / one.seconds - 1.0) for one in group]


def bound(found: Sequence[Sequence[Alike]]) -> dict[str, tuple[int, int, float]]:
    """Return, by source, its rows, those that have a twin, and its least mean error."""
    rows = Counter(one.source for group in found for one in group)
    twins: Counter[str] = Counter()
    off: defaultdict[str, float] = defaultdict(float)
    for group in found:
        if len(group) > 1:
            _, errors = least(group, [1.0 / rows[one.source] for one in group])
            for one, error in zip(group, errors, strict=True):
                twins[one.source] += 1
                off[one.source] += error
    return {source: (count, twins[source], off[source] / count) for source, count in rows.items()}


def unlike_pairs() -> list[tuple[Case, Case, float, float, float]]:
    """Return, for each two sources, the rows of one device and software that are most apart as priced but as one to the
    figures: the rows, their log errors, the sum of their slopes' differences."""
    known = list(cases(everything=True))
    figures = Pooled(values=shipped_logs(fitted()))
    rows = [one.slopes(figures) for one in known]
    off = [row.predicted - row.measured for row in rows]
    found: dict[tuple[str, str, str], tuple[float, tuple[Case, Case, float, float, float]]] = {}
    for i, one in enumerate(known):
        for j in range(i):
            other = known[j]
            if one.source == other.source or one.keys != other.keys or one.plan.precision != other.plan.precision:
                continue
            apart = float(np.abs(rows[i].slopes - rows[j].slopes).sum())
            gap = abs(off[i] - off[j]) - MOVED * apart
            if apart > NEAR or gap < APART:
                continue
            key = (other.source, one.source, one.fleet.sites[0].device)
            if gap > found.get(key, (0.0,))[0]:
                found[key] = gap, (other, one, off[j], off[i], apart)
    return [pair for _, pair in sorted(found.values(), key=lambda item: -item[0])]


def shipped_logs(known: FittedEfficiencies) -> dict[str, float]:
    """Return the shipped figures as a fit has them: logarithms by "key/figure"."""
    found = {
        f"{key}/{name}": math.log(value - FIGURES[name].floor)
        for key, table in known.centre.items()
        for name, value in table.items()
    }
    for what, tables in (("device", known.devices), ("software", known.software), ("flag", known.flags)):
        for key, table in tables.items():
            found |= {f"{what} {key}/{name}": math.log(value) for name, value in table.items()}
    return found


def pairs_document(found: Sequence[tuple[Case, Case, float, float, float]]) -> str:
    """Return the table of pairs of sources."""
    lines = [
        "**Pairs of sources that no figures can both meet**",
        "",
        f"Same device, precision, software and flags, and shares of the step so alike (differences add up to {NEAR} at "
        f"most) that figures off by a factor of {math.exp(MOVED):.2f} move one over the other by {MOVED * NEAR:.0%}. "
        "Of each two sources the pair that is most apart; half of the gap stays with one of the rows, whatever is "
        "fitted.",
        "",
        "| rows | device | predicted over measured | differences of shares | half of the gap |",
        "|---|---|---:|---:|---:|",
    ]
    for one, other, off, others, apart in found:
        half = 0.5 * (abs(off - others) - MOVED * apart)
        ratios = f"{math.exp(off):.2f}, {math.exp(others):.2f} | {apart:.3f} | {math.expm1(half):.0%}"
        lines.append(f"| {one.id}, {other.id} | {one.fleet.sites[0].device} | {ratios} |")
    return "\n".join([*lines, ""])


def document(found: Sequence[Sequence[Alike]]) -> str:
    """Return the section of docs/validation.md."""
    twins = [sorted(group, key=lambda one: one.seconds) for group in found if len(group) > 1]
    apart = [group for group in twins if group[-1].seconds > SHOWN * group[0].seconds]
    apart.sort(key=lambda group: group[0].seconds / group[-1].seconds)
    several = sum(len({one.source for one in group}) > 1 for group in twins)
    lines = [
        "**Runs that no model can tell apart**",
        "",
        f"{sum(map(len, twins))} counted rows in {len(twins)} groups are equal in every column that the model sees; "
        f"{several} groups span two sources. One number for each group leaves the errors below, whatever the model. "
        f"Groups more than {SHOWN - 1:.0%} apart:",
        "",
        "| rows, fastest first | sources | measured, s | slowest over fastest | least mean error | least worst error |",
        "|---|---:|---|---:|---:|---:|",
    ]
    for group in apart:
        _, errors = least(group, [1.0] * len(group))
        names, seconds = ", ".join(one.id for one in group), ", ".join(f"{one.seconds:.4g}" for one in group)
        sources = len({one.source for one in group})
        low, high = group[0].seconds, group[-1].seconds
        shares = f"{sum(errors) / len(errors):.1%} | {(high - low) / (high + low):.1%}"
        lines.append(f"| {names} | {sources} | {seconds} | {high / low:.2f} | {shares} |")
    lines += ["", "| source | rows | with a twin | least mean error |", "|---|---:|---:|---:|"]
    known = bound(found)
    for source, (count, some, error) in known.items():
        if some:
            lines.append(f"| {source} | {count} | {some} | {error:.1%} |")
    mean = sum(error for _, _, error in known.values()) / len(known)
    alone = [error for _, some, error in known.values() if some]
    lines.append(f"| mean of all {len(known)} sources | | | {mean:.1%} |")
    lines.append(f"| mean of the {len(alone)} with twins | | | {sum(alone) / len(alone):.1%} |")
    return "\n".join([*lines, ""])


def main() -> None:
    write_text(OUT, document(groups()) + "\n" + pairs_document(unlike_pairs()))
    print(OUT)


if __name__ == "__main__":
    main()
