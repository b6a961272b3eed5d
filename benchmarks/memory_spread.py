"""How far off the memory of the fullest stage is on whole sources, by class: the intervals of memory that ship.

    python benchmarks/memory_spread.py [--dry]

Every counted row with a published memory, of all tables (training_tables.py): no equation of memory is fitted but
what BLOOM's allocator loses, so all are runs that the model has not seen. What a source is off is drawn from
N(0, s^2), s by class from the mean squares of its n sources; the interval of the next source is t(n) s, with Student's
t, 0.9 one-sided and n degrees of freedom: few sources are a wide interval. ATorch's runs are two sources with ZeRO-3:
as their loop was read, and as plain FSDP, which is what one sees who does not know what a loop holds. Coverage: of each
source by the width that the others give, sources counting alike; of a class with one source, by the width of all
others. Writes the part of plans/data/intervals.json and validation/training/memory.md.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from training_tables import FOLDER, WITH_MEMORY

from hardplace.csv_table import parse
from hardplace.files import read_text, write, write_text
from hardplace.plans.chain import of_shape
from hardplace.plans.estimate import estimate_plan
from hardplace.plans.fleet import Pricers
from hardplace.plans.intervals import (
    MEMORY_DEVICE,
    MEMORY_KNOWN,
    MEMORY_MIXTURE,
    MEMORY_OTHER,
    MEMORY_SHARDED,
    Spread,
    is_usual_device,
    spreads,
)
from hardplace.plans.published.counted import fullest_bytes
from hardplace.plans.published.rows import NotModelled, published_bytes, rows_of, source_of
from hardplace.plans.published.runs import PublishedRun, run_of
from hardplace.plans.published.scores import fleet_of_run, settled

ROOT = Path(__file__).parent.parent
OUT = ROOT / "src/hardplace/plans/data/intervals.json"
PLAIN = "fsdp-eager"
# Student's t, 0.9 one-sided, by degrees of freedom (any table of it)
T90 = (3.078, 1.886, 1.638, 1.533, 1.476, 1.440, 1.415, 1.397, 1.383, 1.372, 1.363, 1.356, 1.350, 1.345, 1.341, 1.337)
Errors = dict[str, list[float]]  # logarithms of measured over predicted, by source


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRow:
    """A run with a published memory: errors as its software has it, as if its software were not known, and of a loop
    that holds more than its software does (`returns_cache`) as if it held none."""

    source: str
    software: str
    experts: bool
    sharded: bool
    usual: bool
    error: float
    unknown_error: float
    plain_error: float | None


def rows() -> Iterator[MemoryRow]:
    """Yield the rows that count."""
    known: Pricers = {}
    for path in WITH_MEMORY:
        for row in rows_of(parse(read_text(path), str(path))):
            if row["grade"] == "C" or row["flag"] or not published_bytes(row):
                continue
            try:
                run = settled(run_of(row), known)
            except NotModelled:
                continue

            def off(one: PublishedRun, row: Mapping[str, str] = row) -> float:
                found = estimate_plan(of_shape(one.shape, one.plan), one.plan, fleet_of_run(one, known))
                return math.log(published_bytes(row) / fullest_bytes(row, found.memory))

            yield MemoryRow(
                source=source_of(row),
                software=run.plan.software,
                experts=run.shape.experts is not None,
                sharded=run.plan.zero == 3,
                usual=all(is_usual_device(site.pricer.kind) for site in fleet_of_run(run, known).sites),
                error=off(run),
                unknown_error=off(replace(run, plan=replace(run.plan, software="", backend="", fused_loss=None))),
                plain_error=off(replace(run, plan=replace(run.plan, software=PLAIN)))
                if run.plan.habits.returns_cache
                else None,
            )


def half_of(errors: Mapping[str, Sequence[float]]) -> float:
    """Return half the width of the 80 % interval of one more source."""
    squares = [float(np.mean(np.square(one))) for one in errors.values()]
    return T90[min(len(squares), len(T90)) - 1] * math.sqrt(float(np.mean(squares)))


def inside_of(errors: Errors, others: Errors, surest: Errors) -> dict[str, float]:
    """Return the share of each source's rows inside the interval that the other sources of its class give; others: the
    sources of every class, for a class that has one; surest: the class that none is surer than."""
    found = {}
    for source, own in errors.items():
        left, far, near = (
            {name: one for name, one in each.items() if name != source} for each in (errors, others, surest)
        )
        half = max(half_of(left or far), half_of(near))
        found[source] = float(np.mean(np.abs(own) <= half))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry", action="store_true", help="write nothing")
    asked = parser.parse_args()
    classes: dict[str, Errors] = {}
    everything: Errors = {}
    software = set()
    for one in rows():
        software |= {one.software} if one.software else set()
        kinds = [MEMORY_DEVICE] * (not one.usual) + [MEMORY_MIXTURE] * one.experts
        if one.software and (one.sharded or one.usual):
            kinds.append(MEMORY_SHARDED if one.sharded else MEMORY_KNOWN)
        for kind in kinds:
            classes.setdefault(kind, {}).setdefault(one.source, []).append(one.error)
        if one.plain_error is not None:
            classes.setdefault(MEMORY_SHARDED, {}).setdefault(f"{one.source} as {PLAIN}", []).append(one.plain_error)
        classes.setdefault(MEMORY_OTHER, {}).setdefault(one.source, []).append(one.unknown_error)
        everything.setdefault(one.source, []).append(one.error)
    memory, lines = (
        {},
        [
            "**Memory: whole sources left out of the width of its interval**",
            "",
            "| class | rows | sources | 80 % | inside, by source |",
            "|---|---:|---:|---:|---|",
        ],
    )
    for kind in (MEMORY_KNOWN, MEMORY_MIXTURE, MEMORY_SHARDED, MEMORY_OTHER, MEMORY_DEVICE):
        errors = classes[kind]
        half, inside = half_of(errors), inside_of(errors, everything, classes[MEMORY_KNOWN])
        half = max(half, half_of(classes[MEMORY_KNOWN]))  # no class is surer than what is known
        count, coverage = sum(map(len, errors.values())), float(np.mean(list(inside.values())))
        memory[kind] = Spread(
            half=float(f"{half:.3g}"), rows=count, sources=len(errors), coverage=float(f"{coverage:.2g}")
        )
        shares = ", ".join(
            f"{re.sub('@[0-9a-f]+', '', source.rpartition('/')[2])} {one:.0%}" for source, one in inside.items()
        )
        lines.append(f"| {kind} | {count} | {len(errors)} | x {math.exp(half):.2f} | {coverage:.0%}: {shares} |")
    print("\n".join(lines))
    if not asked.dry:
        write(OUT, replace(spreads(), memory=memory, memory_software=tuple(sorted(software))))
        write_text(FOLDER / "memory.md", "\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
