"""Published runs that are equal in every column the model sees, and the least error that they leave to any model.

    python benchmarks/alike_runs.py    # writes validation/training/alike.md, which docs/validation.md holds

Two rows are alike when they read as the same shape, plan, device and node. Whatever function of the columns predicts
them gives one number to all of a group. Of a group with measured seconds m_i, each weighing w_i in the mean of the
sources' mean errors, sum_i w_i |p / m_i - 1| is least at p = the weighted median of m_i with weights w_i / m_i. Summed
over groups, with every other row taken to be predicted exactly, this is a lower bound on the error of any model.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hardplace.errors import BadInput
from hardplace.files import write_text
from hardplace.plans.published.runs import NotModelled, run_of

FOLDER = Path(__file__).parent.parent / "validation/training"
TABLES = ("training.csv", "runs-2026b.csv")
OUT = FOLDER / "alike.md"
SHOWN = 1.05  # ratio of the slowest to the fastest from which a group is listed


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
    write_text(OUT, document(groups()))
    print(OUT)


if __name__ == "__main__":
    main()
