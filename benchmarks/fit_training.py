"""Fit the efficiencies of training steps by generation of GPU and by software, and write the package's file.

    python benchmarks/fit_training.py [--without SOURCE] [--dry]

Only rows that count (grade A or B, no flag) of the calibration split are read; the test split never is. Coordinate
search over the grids below, from the figures of kernels alone, on the mean absolute logarithm of predicted over
measured plus its square (at most 0.09), half over rows and half over sources. A figure moves away from 1 or 0 only where that gains
more than PENALTY. --without leaves a source out and prints its errors with the others' figures; --dry writes nothing.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hardplace.cost.gpu.efficiencies import FittedEfficiencies, OfGpu, OfStack, fitted, generation
from hardplace.cost.gpu.table import parse
from hardplace.errors import BadInput
from hardplace.files import read_text, write
from hardplace.placement.plan import Format, Plan
from hardplace.search.chain import Chain, of_shape
from hardplace.search.estimate import estimate_plan
from hardplace.search.published import NotModelled, Run, allocated_only, rows_of, run_of
from hardplace.search.timing import Known
from hardplace.search.validation import GIB, fleet_of_run, settled

ROOT = Path(__file__).parent.parent
OUT = ROOT / "src/hardplace/cost/gpu/data/training.json"
RATIOS = (0.8, 0.9, 1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.35, 1.4, 1.5, 1.6, 1.8, 2.0, 2.3, 2.6, 3.0, 3.5, 4.0)
GPU = {
    "products": tuple(one for one in RATIOS if 1.0 <= one <= 1.5),
    "attention": tuple(one for one in RATIOS if 1.0 <= one <= 2.0),
    "low_rate": (1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0, 2.1, 2.2, 2.4),
    "fp4_rate": (1.6, 1.8, 2.0, 2.2, 2.4, 2.6, 2.8, 3.0, 3.5, 4.0),
}
STACK = {
    "products": (0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3),
    "attention": RATIOS[2:],
    "streams": (0.5, 0.6, 0.7, *RATIOS),
    "tensor": (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.4, 1.6, 2.0),
    "sync_s": (0.0, 5e-5, 1e-4, 2e-4, 3e-4, 4e-4, 6e-4, 8e-4, 1e-3),
    "expert": (0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0),
    "hidden": (0.0, 0.2, 0.35, 0.5, 0.65, 0.8, 1.0),
    "contention": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7),
    "reduction": (1.0, 1.2, 1.5, 2.0, 2.5, 3.0),
    "launch_s": (0.0, 3e-6, 5e-6, 8e-6, 10e-6, 12e-6, 15e-6, 20e-6, 25e-6, 30e-6),
    "step_s": (0.0, 5e-3, 1e-2, 2e-2, 4e-2),
}
# rows that a figure says something of
TELLING: dict[str, Callable[[Plan], bool]] = {
    "low_rate": lambda plan: plan.precision is Format.FP8,
    "fp4_rate": lambda plan: plan.precision is Format.FP4,
    "tensor": lambda plan: plan.tensor > 1,
    "sync_s": lambda plan: plan.tensor > 1,
    "expert": lambda plan: plan.expert > 1,
    "hidden": lambda plan: plan.data * plan.context > 1,
    "contention": lambda plan: plan.data * plan.context > 1,
    "reduction": lambda plan: plan.data * plan.context > 1,
}
FABRIC = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
LOST = (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3)
KEPT = tuple(1e9 * one for one in range(1, 11))
PASSES = 4
PENALTY = 3e-4


@dataclass(slots=True, kw_only=True)
class Case:
    """A row of the calibration split, with what is priced once."""

    id: str
    source: str
    run: Run
    chain: Chain
    measured_s: float
    memory_bytes: float  # all of the fullest device's; 0: not published
    known: Known = field(default_factory=dict)
    error: float = 0.0

    def score(self, found: FittedEfficiencies) -> float:
        """Return the logarithm of predicted over measured."""
        fleet = fleet_of_run(self.run, found)
        return math.log(estimate_plan(self.chain, self.run.plan, fleet, self.known).step_s / self.measured_s)


def cases() -> list[Case]:
    found = []
    path = ROOT / "validation/training/training.csv"
    for row in rows_of(parse(read_text(path), str(path))):
        if row["split"] != "calibration" or row["grade"] == "C" or row["flag"] or not row["target_iter_s"]:
            continue
        try:
            run = settled(run_of(row))
            chain = of_shape(run.shape, run.plan)
            one = Case(
                id=row["id"],
                source=row["source"].split(" ")[0],
                run=run,
                chain=chain,
                measured_s=float(row["target_iter_s"]),
                memory_bytes=0.0 if allocated_only(row) else float(row["memory_gb"] or 0.0) * GIB,
            )
            one.score(fitted())
        except (NotModelled, BadInput):
            continue
        found.append(one)
    return found


def gpu_of(one: Case) -> str:
    return generation(fleet_of_run(one.run).sites[0].pricer.model.datasheet)


def loss(listed: list[Case], errors: dict[str, float]) -> float:
    """Return the loss: rows by half, sources by half."""
    by: dict[str, list[float]] = defaultdict(list)
    for one in listed:
        error = abs(errors[one.id])
        by[one.source].append(error + min(error, 0.3) ** 2)
    rows = [one for part in by.values() for one in part]
    sources = [sum(part) / len(part) for part in by.values()]
    return 0.5 * sum(rows) / len(rows) + 0.5 * sum(sources) / len(sources)


def _with(found: FittedEfficiencies, kind: str, table: dict[str, Any]) -> FittedEfficiencies:
    fields: dict[str, Any] = {kind: table}
    return replace(found, **fields)


def fit(listed: list[Case]) -> FittedEfficiencies:
    gpus: dict[str, list[Case]] = defaultdict(list)
    stacks: dict[str, list[Case]] = defaultdict(list)
    fabrics: dict[str, list[Case]] = defaultdict(list)
    for one in listed:
        gpus[gpu_of(one)].append(one)
        stacks[one.run.stack].append(one)
        if one.run.fabric:
            fabrics[one.run.fabric].append(one)
    shipped = fitted().stacks
    found = FittedEfficiencies(
        method="",
        gpus={name: OfGpu(rows=len(part)) for name, part in sorted(gpus.items())},
        stacks={name: OfStack(software=one.software, rows=len(stacks.get(name, []))) for name, one in shipped.items()},
        fabrics=dict.fromkeys(fabrics, 1.0),
    )
    errors = {one.id: one.score(found) for one in listed}
    moves: list[tuple[str, str, str, tuple[float, ...], list[Case]]]
    moves = [("fabrics", name, "", FABRIC, part) for name, part in fabrics.items()]
    moves += [("gpus", name, figure, grid, part) for name, part in gpus.items() for figure, grid in GPU.items()]
    moves += [("stacks", name, figure, grid, part) for name, part in stacks.items() for figure, grid in STACK.items()]
    for place, (kind, name, figure, grid, part) in enumerate(moves):
        tells = TELLING.get(figure, lambda _: True)
        moves[place] = kind, name, figure, grid, [one for one in part if tells(one.run.plan)]
    moves = [one for one in moves if one[4]]
    least = loss(listed, errors)
    for turn in range(PASSES):
        before = least
        for kind, name, figure, grid, part in moves:
            table = dict(getattr(found, kind))
            now = table[name] if kind == "fabrics" else getattr(table[name], figure)
            plain = 1.0 if kind == "fabrics" else getattr(OfGpu() if kind == "gpus" else OfStack(software=""), figure)
            best, lowest, known = now, least + (PENALTY if now != plain else 0.0), errors
            for value in grid:
                if value == now:
                    continue
                changed: object = value if kind == "fabrics" else replace(table[name], **{figure: value})
                trial = _with(found, kind, table | {name: changed})
                tried = errors | {one.id: one.score(trial) for one in part}
                reached = loss(listed, tried) + (PENALTY if value != plain else 0.0)
                if reached < lowest - 1e-9:
                    best, lowest, known = value, reached, tried
            if best != now:
                changed = best if kind == "fabrics" else replace(table[name], **{figure: best})
                found = _with(found, kind, table | {name: changed})
                errors, least = known, loss(listed, known)
        print(f"pass {turn + 1}: {least:.4f}", flush=True)
        if before - least < 1e-5:
            break
    for one in listed:
        one.error = errors[one.id]
    return found


def fit_memory(listed: list[Case], found: FittedEfficiencies) -> FittedEfficiencies:
    """Return the figures with the memory that an allocator loses and what is reserved, of software whose runs' whole
    memory is published."""
    stacks = dict(found.stacks)
    for name in stacks:
        rows = [
            (
                max(
                    one.allocated_bytes
                    for one in estimate_plan(case.chain, case.run.plan, fleet_of_run(case.run)).memory
                ),
                case,
            )
            for case in listed
            if case.run.stack == name and case.memory_bytes
        ]
        if len(rows) < 5:
            continue
        trials = [
            (sum(abs(math.log((own * (1 + lost) + kept) / case.memory_bytes)) for own, case in rows), lost, kept)
            for lost in LOST
            for kept in KEPT
        ]
        error, lost, kept = min(trials)
        print(f"memory of {name}: {len(rows)} rows, mean {error / len(rows):.1%}")
        stacks[name] = replace(stacks[name], fragmentation=lost, reserve_bytes=kept)
    return replace(found, stacks=stacks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without", default="", help="leave out the sources whose name contains this")
    parser.add_argument("--dry", action="store_true")
    asked = parser.parse_args()
    listed = cases()
    kept = [one for one in listed if not asked.without or asked.without not in one.source]
    found = fit_memory(kept, fit(kept))
    method = "benchmarks/fit_training.py on the calibration split of validation/training"
    if asked.without:
        errors = [abs(math.expm1(one.score(found))) for one in listed if one not in kept]
        print(json.dumps({"without": asked.without, "rows": len(errors), "mean": sum(errors) / len(errors)}))
    elif not asked.dry:
        write(OUT, replace(found, method=method))
    by: dict[str, list[float]] = defaultdict(list)
    for one in kept:
        by[one.source].append(math.expm1(one.error))
    for source, errors in by.items():
        mean, bias = sum(map(abs, errors)) / len(errors), sum(errors) / len(errors)
        print(f"{source[-30:]:32} {len(errors):4} mean {mean:.1%} bias {bias:+.1%}")


if __name__ == "__main__":
    main()
