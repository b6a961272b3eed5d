"""Fit the efficiencies of training steps by generation of GPU and by software, and write the package's file.

    python benchmarks/fit_training.py [--without SOURCE] [--only STACK] [--dry]

Only rows that count (grade A or B, no flag) of the calibration split are read; the test split never is. Least sum of
absolute logarithms of predicted over measured, a source weighing the root of its rows, all figures at once
(`hardplace.cost.gpu.fitting.optimise`), with a weak pull to where each starts. --without leaves out the sources
whose name has SOURCE in it and prints their errors with the others' figures; --only fits one software
and the devices that only it runs on, and keeps all other figures; --dry writes nothing.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from hardplace.cost.gpu.fitting.optimise import fit as least_error
from hardplace.csv_table import parse
from hardplace.errors import BadInput
from hardplace.files import read_text, write
from hardplace.ndtypes import Floats
from hardplace.plans.chain import LayerChain, of_shape
from hardplace.plans.efficiencies import ON_ARRAYS, FittedEfficiencies, OfGpu, OfStack, fitted
from hardplace.plans.estimate import estimate_plan
from hardplace.plans.plan import Format
from hardplace.plans.published.rows import allocated_only, rows_of
from hardplace.plans.published.runs import NotModelled, PublishedRun, run_of
from hardplace.plans.published.scores import GIB, fleet_of_run, settled
from hardplace.plans.timing import Known

ROOT = Path(__file__).parent.parent
OUT = ROOT / "src/hardplace/cost/gpu/data/training.json"
# figure: start, least, most. The start is where a figure stays of which the rows say nothing. Why no less and no more:
# docs/model-training.md, section 6 (traffic is never free, nothing hides whole).
GPU = {
    "products": (1.1, 0.85, 1.6),
    "attention": (1.1, 0.8, 2.0),
    "low_rate": (1.7, 1.2, 2.4),
    "fp4_rate": (2.6, 1.5, 4.0),
}
ON = {ON_ARRAYS: GPU | {"products": (1.1, 0.85, 2.5)}}  # closed forms know no compiler
STACK = {
    "products": (1.0, 0.8, 1.3),
    "attention": (1.0, 0.7, 2.0),
    "streams": (1.0, 0.5, 4.0),
    "tensor": (0.7, 0.125, 2.0),
    "sync_s": (1e-4, 5e-6, 1e-3),
    "expert": (0.8, 0.125, 2.0),
    "hidden": (0.6, 0.0, 0.95),
    "contention": (0.1, 0.02, 0.6),
    "reduction": (1.2, 1.0, 4.0),
    "launch_s": (2e-5, 2e-6, 6e-5),
    "step_s": (3e-3, 1e-4, 4e-2),
}
FABRIC = (0.6, 0.1, 1.0)
LOST = (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3)
KEPT = tuple(1e9 * one for one in range(1, 11))
# rows that a figure says something of
TELLING: dict[str, Callable[[PublishedRun], bool]] = {
    "low_rate": lambda run: run.plan.precision is Format.FP8,
    "fp4_rate": lambda run: run.plan.precision is Format.FP4,
    "tensor": lambda run: run.plan.tensor > 1,
    "sync_s": lambda run: run.plan.tensor > 1,
    "expert": lambda run: run.plan.expert > 1,
    "hidden": lambda run: run.plan.data * run.plan.context > 1,
    "contention": lambda run: run.plan.data * run.plan.context > 1,
    "reduction": lambda run: run.plan.data * run.plan.context > 1,
    "launch_s": lambda run: run.stack != ON_ARRAYS,  # a step is one program there
}


@dataclass(slots=True, kw_only=True)
class Case:
    """A row of the calibration split, with what is priced once."""

    id: str
    source: str
    run: PublishedRun
    chain: LayerChain
    measured_s: float
    memory_bytes: float  # all of the fullest device's; 0: not published
    gpu: str  # its generation
    known: Known = field(default_factory=dict)
    error: float = 0.0

    def owners(self) -> list[tuple[str, str]]:
        """Return whose figures the row depends on."""
        return [("gpus", self.gpu), ("stacks", self.run.stack), ("fabrics", self.run.fabric)]

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
                gpu=fleet_of_run(run).sites[0].pricer.kind,
                memory_bytes=0.0 if allocated_only(row) else float(row["memory_gb"] or 0.0) * GIB,
            )
            one.score(fitted())
        except (NotModelled, BadInput):
            continue
        found.append(one)
    return found


def weights(listed: list[Case]) -> Floats:
    """Return the weight of each row: a source counts as the root of its rows, so that none swamps the others."""
    often = Counter(one.source for one in listed)
    found = np.array([often[one.source] ** -0.5 for one in listed])
    return np.asarray(found / found.sum())


def named(listed: list[Case]) -> dict[str, tuple[float, float, float]]:
    """Return what is fitted, by "kind/name/figure", of which some row says something."""
    found: dict[str, tuple[float, float, float]] = {}
    for one in listed:
        tells = {figure for figure in (*GPU, *STACK) if figure not in TELLING or TELLING[figure](one.run)}
        chip = ON.get(one.run.stack, GPU)
        found |= {f"gpus/{one.gpu}/{figure}": three for figure, three in chip.items() if figure in tells}
        found |= {f"stacks/{one.run.stack}/{figure}": three for figure, three in STACK.items() if figure in tells}
        if one.run.fabric:
            found[f"fabrics/{one.run.fabric}/share"] = FABRIC
    return dict(sorted(found.items()))


def figures(values: Mapping[str, float], listed: list[Case], *, rounded: bool = False) -> FittedEfficiencies:
    """Return the figures by name as what the package reads."""
    tables: dict[str, dict[str, dict[str, float]]] = {"gpus": {}, "stacks": {}, "fabrics": {}}
    for name, value in values.items():
        kind, of, figure = name.split("/")
        tables[kind].setdefault(of, {})[figure] = float(f"{value:.3g}") if rounded else value
    rows = Counter(one.gpu for one in listed)
    stacks = Counter(one.run.stack for one in listed)
    return FittedEfficiencies(
        method="benchmarks/fit_training.py on the calibration split of validation/training",
        gpus={name: OfGpu(rows=rows[name], **table) for name, table in tables["gpus"].items()},
        stacks={
            name: OfStack(software=one.software, rows=stacks[name], **tables["stacks"].get(name, {}))
            for name, one in fitted().stacks.items()
        },
        fabrics={name: table["share"] for name, table in tables["fabrics"].items()},
    )


def fit(listed: list[Case]) -> FittedEfficiencies:
    asked = named(listed)
    known: list[dict[tuple[float, ...], float]] = [{} for _ in listed]
    ours = [
        [name for name in asked if any(name.startswith(f"{kind}/{of}/") for kind, of in one.owners())] for one in listed
    ]

    def predict_s(values: dict[str, float]) -> Floats:
        found = figures(values, listed)
        times = []
        for one, names, cache in zip(listed, ours, known, strict=True):
            key = tuple(values[name] for name in names)
            if key not in cache:
                if len(cache) > 200:
                    cache.clear()
                cache[key] = one.measured_s * math.exp(one.score(found))
            times.append(cache[key])
        print(".", end="", flush=True)
        return np.array(times)

    measured_s = np.array([one.measured_s for one in listed])
    start = {name: three[0] for name, three in asked.items()}
    ranges = {name: three[1:] for name, three in asked.items()}
    found = figures(least_error(predict_s, start, ranges, measured_s, weights(listed)), listed, rounded=True)
    print()
    for one in listed:
        one.error = one.score(found)
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


def fitted_elsewhere(listed: list[Case], stack: str) -> dict[str, OfGpu]:
    """Return the shipped figures of devices that other software runs on."""
    others = {one.gpu for one in listed if one.run.stack != stack}
    return {name: one for name, one in fitted().gpus.items() if name in others}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without", default="", help="leave out the sources whose name contains this")
    parser.add_argument("--only", default="", help="fit this software only")
    parser.add_argument("--dry", action="store_true")
    asked = parser.parse_args()
    listed = cases()
    kept = [one for one in listed if not asked.without or asked.without not in one.source]
    if asked.only:
        kept = [one for one in kept if one.run.stack == asked.only]
    found = fit_memory(kept, fit(kept))
    if asked.only:
        stacks = {name: found.stacks[name] if name == asked.only else one for name, one in fitted().stacks.items()}
        found = replace(fitted(), gpus={**found.gpus, **fitted_elsewhere(listed, asked.only)}, stacks=stacks)
    if asked.without:
        errors = [abs(math.expm1(one.score(found))) for one in listed if asked.without in one.source]
        print(json.dumps({"without": asked.without, "rows": len(errors), "mean": sum(errors) / len(errors)}))
    elif not asked.dry:
        write(OUT, found)
    by: dict[str, list[float]] = defaultdict(list)
    for one in kept:
        by[one.source].append(math.expm1(one.error))
    for source, errors in by.items():
        mean, bias = sum(map(abs, errors)) / len(errors), sum(errors) / len(errors)
        print(f"{source[-30:]:32} {len(errors):4} mean {mean:.1%} bias {bias:+.1%}")


if __name__ == "__main__":
    main()
