"""No plan faster than anyone measured: the best MFU of `place` over the catalogue, beside the best published one.

    python benchmarks/catalogue_mfu.py --published    # write plans/data/best_mfu.json from the scored runs
    python benchmarks/catalogue_mfu.py [MODEL ...]    # every decoder (or these) on every device of that file

MFU: without recompute, whole attention, over the peak of 16-bit products. On arrays, where every published run
recomputes, the published figure is what the hardware reached.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from fit_training import worked

from hardplace.cost.layers.recognise import decoder_of
from hardplace.cost.layers.software import ON_ARRAY_SOFTWARE
from hardplace.csv_table import parse
from hardplace.errors import BadInput
from hardplace.files import read_text, write_text
from hardplace.hardware.catalogue import device
from hardplace.plans.chain import of_shape
from hardplace.plans.fleet import Pricers, node_of
from hardplace.plans.placement.search import PlanSearch
from hardplace.plans.placement.space import PlanSpace
from hardplace.plans.plan import Format, Plan
from hardplace.plans.pricing import pricer_of
from hardplace.plans.published.rows import rows_of
from hardplace.plans.published.runs import NotModelled, run_of
from hardplace.plans.published.scores import estimated
from hardplace.plans.published_best import BEST_FILE, best_runs
from hardplace.workload.load import catalogue, load

FOLDER = Path(__file__).parent.parent / "validation/training"
COUNTS = (8, 64, 256, 1024)
MOST = 1.05


def published() -> dict[tuple[str, str], tuple[float, str]]:
    """Return the best published MFU by device and precision (16-bit formats as one), with its run."""
    best: dict[tuple[str, str], tuple[float, str]] = {}
    known: Pricers = {}
    for name in ("training.csv", "runs-2026b.csv"):
        path = FOLDER / name
        for row in rows_of(parse(read_text(path), str(path))):
            if row["grade"] == "C" or row["flag"] or not row["target_iter_s"]:
                continue
            try:
                run = run_of(row)
                found = estimated(run, known)
            except (NotModelled, BadInput):
                continue
            mfu = found.mfu * found.step_s / float(row["target_iter_s"])
            if run.plan.software in ON_ARRAY_SOFTWARE:
                mfu *= worked(of_shape(run.shape, run.plan))
            kind = "bf16" if run.plan.precision is Format.FP16 else str(run.plan.precision)
            best[run.device, kind] = max(best.get((run.device, kind), (0.0, "")), (mfu, row["id"]))
    return best


def _generation(name: str) -> str:
    return pricer_of(device(name), Plan(global_batch=1, data=1)).kind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--published", action="store_true")
    parser.add_argument("models", nargs="*")
    asked = parser.parse_args()
    if asked.published:
        lines = [
            {"device": chip, "kind": _generation(chip), "precision": kind, "mfu": round(mfu, 4), "run": run}
            for (chip, kind), (mfu, run) in sorted(published().items())
        ]
        made = {"method": "python benchmarks/catalogue_mfu.py --published", "rows": lines}
        write_text(BEST_FILE, json.dumps(made, indent=1) + "\n")
        return
    rows = [one for one in best_runs().values() if one.precision == "bf16"]
    for model in asked.models or [name for name in catalogue() if decoder_of(load(name))]:
        for row in rows:
            for count in COUNTS:
                chip = device(row.device)
                space = PlanSpace(global_batch=4 * count, fixed={})
                try:
                    found = PlanSearch(load(model), [(chip, node_of(chip.name), count)], space).run()
                except BadInput as problem:
                    print(f"{model:20} {chip.name:14} {count:5} {problem}")
                    continue
                if found is not None:
                    mfu, best = max(one.mfu for one in found.best), row.mfu
                    mark = " above" if mfu > MOST * best else ""
                    print(f"{model:20} {chip.name:14} {count:5} {mfu:6.1%} published {best:6.1%}{mark}", flush=True)


if __name__ == "__main__":
    main()
