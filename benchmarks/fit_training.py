"""Fit the efficiencies of training steps by GPU on the calibration split, and write the package's file.

    python benchmarks/fit_training.py

Only rows that count (grade A or B, no flag) of the calibration split are read. Per GPU: coordinate search on the mean
absolute logarithm of predicted over measured, sources weighted equally (half) and rows equally (half).
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from random import Random

from hardplace.cost.gpu.efficiencies import FittedEfficiencies
from hardplace.cost.gpu.price import Efficiencies
from hardplace.cost.gpu.table import parse
from hardplace.errors import BadInput
from hardplace.files import read_text, write
from hardplace.hardware.catalogue import device
from hardplace.placement.plan import Format
from hardplace.search.clusters import Fleet, Site
from hardplace.search.estimate import Chain, estimate_plan, of_shape
from hardplace.search.published import NotModelled, Run, rows_of, run_of
from hardplace.search.validation import pricer_of

ROOT = Path(__file__).parent.parent
OUT = ROOT / "src/hardplace/cost/gpu/data/training.json"
GRID = {
    "kernels": (0.95, 1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.35, 1.4, 1.5),
    "streams": (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0),
    "low_rate": (1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0, 2.2, 2.4, 2.6),
    "network": (1.0, 1.25, 1.5, 2.0, 2.5, 3.0),
    "hidden": (1.0, 0.8, 0.6, 0.4, 0.2, 0.0),
    "contention": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7),
    "host_s": (0.0, 4e-6, 8e-6, 12e-6, 16e-6, 24e-6, 32e-6),
}
PASSES = 3
RESTARTS = 3
PENALTY = 2e-4  # a step away from 1 or 0 must pay: of what the data do not tell, nothing is claimed


Case = tuple[str, Run, Chain, float]


def cases() -> dict[str, list[Case]]:
    found: dict[str, list[Case]] = defaultdict(list)
    path = ROOT / "validation/training/training.csv"
    for row in rows_of(parse(read_text(path), str(path))):
        if row["split"] != "calibration" or row["grade"] == "C" or row["flag"] or not row["target_iter_s"]:
            continue
        try:
            run = run_of(row)
            found[run.gpu].append(
                (row["source"].split(" ")[0], run, of_shape(run.shape, run.plan), float(row["target_iter_s"]))
            )
        except (NotModelled, BadInput):
            continue
    return found


def loss(listed: list[Case], figures: Efficiencies) -> float:
    errors: dict[str, list[float]] = defaultdict(list)
    for source, run, chain, measured_s in listed:
        pricer = pricer_of(run.gpu, run.plan.precision is Format.FP8, run.plan.flash, run.backend)
        pricer.efficiencies = figures
        site = Site(device=run.gpu, cluster=run.cluster, pricer=pricer, memory_bytes=device(run.gpu).memory_bytes)
        step_s = estimate_plan(chain, run.plan, Fleet(sites=(site,))).step_s
        errors[source].append(abs(math.log(step_s / measured_s)))
    rows = [one for part in errors.values() for one in part]
    sources = [sum(part) / len(part) for part in errors.values()]
    return 0.5 * sum(rows) / len(rows) + 0.5 * sum(sources) / len(sources)


def fit(listed: list[Case]) -> Efficiencies:
    start = Efficiencies()
    random = Random(7)
    others = [Efficiencies(**{name: random.choice(values) for name, values in GRID.items()}) for _ in range(RESTARTS)]
    found = [descend(listed, one) for one in (start, *others)]
    least, best = min(found, key=lambda one: one[0])
    print(f"{least:.4f} {best}", flush=True)
    return best


def descend(listed: list[Case], first: Efficiencies) -> tuple[float, Efficiencies]:
    """Return the loss and figures where no single figure's change helps, or after some passes."""
    start = Efficiencies()
    away = sum(getattr(first, one) != getattr(start, one) for one in GRID)
    best, least = first, loss(listed, first) + PENALTY * away
    for _ in range(PASSES):
        before = best
        for name, values in GRID.items():
            for value in values:
                trial = replace(best, **{name: value})
                away = sum(getattr(trial, one) != getattr(start, one) for one in GRID)
                found = loss(listed, trial) + PENALTY * away
                if found < least:
                    best, least = trial, found
        if best == before:
            break
    return least, best


def main() -> None:
    figures, rows = {}, {}
    for gpu, listed in sorted(cases().items()):
        print(gpu, len(listed), flush=True)
        if len(listed) < 5:
            continue
        figures[gpu], rows[gpu] = fit(listed), len(listed)
    method = "benchmarks/fit_training.py on the calibration split of validation/training"
    write(OUT, FittedEfficiencies(method=method, figures=figures, rows=rows))


if __name__ == "__main__":
    main()
