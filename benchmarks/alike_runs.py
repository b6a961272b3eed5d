"""Published runs that are equal in every column the model sees, and the least error that they leave to any model; and
pairs of sources that no figures of the model can both meet.

    python benchmarks/alike_runs.py    # writes validation/training/alike.md, which docs/validation.md holds

Two rows are alike when they read as the same shape, plan, device and node. Whatever function of the columns predicts
them gives one number to all of a group. Of a group with measured seconds m_i, each weighing w_i in the mean of the
sources' mean errors, sum_i w_i |p / m_i - 1| is least at p = the weighted median of m_i with weights w_i / m_i. Summed
over groups, with every other row taken to be predicted exactly, this is a lower bound on the error of any model.

Two rows of the same device, software and flags have the same figures. Their log seconds move with the logarithm x_k of
figure k by slopes s_ik and s_jk; where sum_k |s_ik - s_jk| is small, no choice of figures moves one over the other, and
what the ratios of predicted to measured differ by stays with one of the two. All such pairs together, within sources
and between them, bound the mean error of any figures from below (`least_mean`).
"""

from __future__ import annotations

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from fit_training import Case, cases
from ortools.linear_solver import pywraplp
from training_tables import FITTED

from hardplace.errors import BadInput
from hardplace.files import write_text
from hardplace.ndtypes import Floats
from hardplace.plans.efficiencies import FIGURES, GPUS, FittedEfficiencies, fitted
from hardplace.plans.pooling import Pooled
from hardplace.plans.published.rows import NotModelled, source_of
from hardplace.plans.published.runs import run_of

FOLDER = Path(__file__).parent.parent / "validation/training"
OUT = FOLDER / "alike.md"
SHOWN = 1.05  # ratio of the slowest to the fastest from which a group is listed
NEAR, APART = 0.1, 0.12  # sum of slopes' differences up to which rows are as one to the figures; log errors apart
LEAST_GAP = 0.02  # of log errors apart from which a pair counts in the least mean error
NAMED = 5  # pairs named for an aim
MOVED = 0.3  # most that a figure's logarithm is thought to be wrong by


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """A counted row: id, source, split, measured seconds."""

    id: str
    source: str
    split: str
    seconds: float


def groups() -> list[list[Alike]]:
    """Return the counted rows of all tables in groups that read alike."""
    found: dict[str, list[Alike]] = defaultdict(list)
    for path in FITTED:
        with path.open() as text:
            for row in csv.DictReader(text):
                if row["grade"] == "C" or row["flag"] or not row["target_iter_s"]:
                    continue
                try:
                    run = run_of(row)
                except (NotModelled, BadInput):
                    continue
                source = source_of(row)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """The counted rows as priced with the shipped figures.

    Attributes:
        cases: The rows.
        off: Logarithm of predicted over measured seconds of each.
        slopes: Change of log seconds by the logarithm of each figure, a row each.
    """

    cases: Sequence[Case]
    off: Floats
    slopes: Floats

    def gap(self, one: int, other: int) -> tuple[float, float]:
        """Return what the errors of two rows of equal keys are apart whatever the figures, and how unlike their shares
        are."""
        apart = float(np.abs(self.slopes[one] - self.slopes[other]).sum())
        return abs(float(self.off[one] - self.off[other])) - MOVED * apart, apart

    def together(self) -> Iterator[tuple[int, int]]:
        """Yield the pairs of rows that every figure moves alike: of one device, software, flags and precision."""
        groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for index, one in enumerate(self.cases):
            groups[(*one.keys, one.plan.precision)].append(index)
        for members in groups.values():
            yield from combinations(members, 2)


def priced() -> Priced:
    """Return the counted rows of both splits as priced with the shipped figures."""
    known = list(cases(everything=True))
    figures = Pooled(values=shipped_logs(fitted()))
    rows = [one.slopes(figures) for one in known]
    return Priced(
        cases=known,
        off=np.array([row.predicted - row.measured for row in rows]),
        slopes=np.array([row.slopes for row in rows]),
    )


def unlike_pairs(rows: Priced) -> list[tuple[Case, Case, float, float, float]]:
    """Return, for each two sources, the rows of one device and software that are most apart as priced but as one to the
    figures: the rows, their log errors, the sum of their slopes' differences."""
    found: dict[tuple[str, str, str], tuple[float, tuple[Case, Case, float, float, float]]] = {}
    for j, i in rows.together():
        one, other = rows.cases[i], rows.cases[j]
        gap, apart = rows.gap(i, j)
        if one.source == other.source or apart > NEAR or gap < APART:
            continue
        key = (other.source, one.source, one.fleet.sites[0].device)
        if gap > found.get(key, (0.0,))[0]:
            found[key] = gap, (other, one, float(rows.off[j]), float(rows.off[i]), apart)
    return [pair for _, pair in sorted(found.values(), key=lambda item: -item[0])]


def least_mean(rows: Priced, members: Sequence[int]) -> tuple[float, float, float]:
    """Return the mean absolute log error of some rows that no figures within exp(MOVED) of the shipped ones go below,
    over rows and over sources, and the mean of the rows today.

    Whatever the figures, |e_i| + |e_j| is at least the gap of i and j: the least weighted sum of |e| under these is a
    linear programme.
    """
    inside, chosen = set(members), [pair for pair in rows.together() if rows.gap(*pair)[0] > LEAST_GAP]
    pairs = [(i, j) for i, j in chosen if i in inside and j in inside]
    often = Counter(rows.cases[i].source for i in members)
    found = []
    for weights in (
        {i: 1.0 / len(members) for i in members},
        {i: 1.0 / often[rows.cases[i].source] / len(often) for i in members},
    ):
        solver = pywraplp.Solver.CreateSolver("GLOP")
        errors = {i: solver.NumVar(0.0, solver.infinity(), "") for i in {one for pair in pairs for one in pair}}
        for i, j in pairs:
            solver.Add(errors[i] + errors[j] >= rows.gap(i, j)[0])
        solver.Minimize(solver.Sum([weights[i] * error for i, error in errors.items()]))
        assert solver.Solve() == pywraplp.Solver.OPTIMAL
        found.append(float(solver.Objective().Value()))
    return found[0], found[1], float(np.mean(np.abs(rows.off[list(members)])))


def kind_of_row(one: Case) -> str:
    """Return the class that a row is listed under."""
    if one.chain.mixture:
        return "mixtures of experts"
    if one.chain.sequence_length >= 16384:
        return "dense, 16,384 tokens and more"
    return "dense, on GPUs" if one.keys[0] == GPUS else "dense, on chips with arrays"


def classes_document(rows: Priced) -> str:
    """Return the table of what no figures can go below, by class."""
    groups: dict[str, list[int]] = {}
    for index, one in enumerate(rows.cases):
        groups.setdefault(kind_of_row(one), []).append(index)
    everything = list(range(len(rows.cases)))
    groups["all counted rows"] = everything
    groups["all of the calibration splits"] = [i for i in everything if rows.cases[i].split == "calibration"]
    groups["all of the test splits"] = [i for i in everything if rows.cases[i].split == "test"]
    lines = [
        "**What no figures of this model can go below**",
        "",
        "Two rows of one device, software, flags and precision have the same figures. Where these move both alike, "
        "what their errors are apart stays. The least mean error that all such pairs leave, with every figure within "
        f"a factor of {math.exp(MOVED):.2f} of the shipped one, chosen with every row in view (a linear programme; "
        "absolute logarithms):",
        "",
        "| class | rows | sources | today | least, mean of the rows | least, mean of the sources |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, members in groups.items():
        some, alike, today = least_mean(rows, members)
        sources = len({rows.cases[i].source for i in members})
        lines.append(f"| {name} | {len(members)} | {sources} | {today:.1%} | {some:.1%} | {alike:.1%} |")
    return "\n".join([*lines, ""])


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


def ids_of(name: str, split: str) -> set[str]:
    """Return the ids of a table's rows of a split."""
    with (FOLDER / name).open() as text:
        return {row["id"] for row in csv.DictReader(text) if row["split"] == split}


def least_of_equals(found: Sequence[Sequence[Alike]], members: set[str]) -> tuple[float, float, list[Alike]]:
    """Return what rows that are equal in every column leave of some rows, whatever the model: the least mean error of
    the sources and the least worst error, with the group that forces the second."""
    inside = [[one for one in group if one.id in members] for group in found]
    inside = [sorted(group, key=lambda one: one.seconds) for group in inside if group]
    mean = float(np.mean([error for _, _, error in bound(inside).values()]))
    worst = max(inside, key=lambda group: group[-1].seconds / group[0].seconds)
    low, high = worst[0].seconds, worst[-1].seconds
    return mean, (high - low) / (high + low), worst


def twins_of(rows: Priced, members: Sequence[int]) -> list[str]:
    """Return the pairs of rows that every figure moves alike and that are most apart, a row in one of them at most."""
    inside, found, used = set(members), list[str](), set[int]()
    pairs = [pair for pair in rows.together() if set(pair) <= inside and rows.gap(*pair)[1] <= NEAR]
    for i, j in sorted(pairs, key=lambda pair: -rows.gap(*pair)[0]):
        if not {i, j} & used and len(found) < NAMED:
            used |= {i, j}
            found.append(f"{rows.cases[i].id}, {rows.cases[j].id} ({math.expm1(rows.gap(i, j)[0]):.0%})")
    return found


def aims_document(found: Sequence[Sequence[Alike]], rows: Priced) -> str:
    """Return the table of what stays of each aim."""
    calibration = {one.id for one in rows.cases if one.split == "calibration"}
    aims = (
        ("sources left out: mean 10 %, median 6 %", calibration),
        ("test split: mean 6 %, worst 20 %", ids_of("training.csv", "test")),
        ("test sources of runs-2026b: mean 12 %", ids_of("runs-2026b.csv", "test")),
    )
    lines = [
        "**What stays of each aim**",
        "",
        "Equal: rows that are equal in every column, so no function of the columns tells them apart. Figures: least "
        "mean of the sources that this model leaves with every figure chosen freely within the factor above, all rows "
        "in view. Pairs: rows that every figure moves alike, most apart first, with what their predictions over "
        "measurements stay apart by; half of it is left to one of the two.",
        "",
        "| aim | equal: least mean of the sources | equal: least worst error | figures: least mean | pairs |",
        "|---|---:|---|---:|---|",
    ]
    for title, members in aims:
        mean, worst, group = least_of_equals(found, members)
        own = [index for index, one in enumerate(rows.cases) if one.id in members]
        _, alike, _ = least_mean(rows, own)
        names = ", ".join(one.id for one in group)
        pairs = "; ".join(twins_of(rows, own))
        lines.append(f"| {title} | {mean:.1%} | {worst:.1%}: {names} | {alike:.1%} | {pairs} |")
    return "\n".join([*lines, ""])


def main() -> None:
    rows, found = priced(), groups()
    parts = document(found), pairs_document(unlike_pairs(rows)), classes_document(rows), aims_document(found, rows)
    write_text(OUT, "\n".join(parts))
    print(OUT)


if __name__ == "__main__":
    main()
