"""No plan faster than anyone measured: the best MFU of `place` over the catalogue, beside the best published one.

    python benchmarks/catalogue_mfu.py --published            # write plans/data/best_mfu.json from the scored runs
    python benchmarks/catalogue_mfu.py [MODEL ...] [--software NAME ...]
                                    # every decoder (or these) on every device of that file, 8 to 1,024 of each
    python benchmarks/catalogue_mfu.py --table                # what is in the file of rows, by device, in Markdown

MFU: without recompute, whole attention, over the peak of 16-bit products. On arrays, where every published run
recomputes, the published figure is what the hardware reached. Each search ends when no plan can be more than 1 %
faster than its best, or where that decides, when its best is proven; `at_most` is the MFU that the best plan of all
could have. Rows are written to hardplace-out/catalogue_mfu.csv as they are found and not searched again: delete it
after a fit.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from fit_training import holding, worked
from training_tables import FITTED

from hardplace.cost.layers.recognise import decoder_of
from hardplace.cost.layers.software import ON_ARRAY_SOFTWARE, SOFTWARE, on_arrays_of
from hardplace.csv_table import parse
from hardplace.errors import BadInput
from hardplace.files import read_text, write_text
from hardplace.hardware.catalogue import device
from hardplace.hardware.device import Arrays
from hardplace.plans.chain import of_shape
from hardplace.plans.efficiencies import fitted
from hardplace.plans.estimate import MOST_BEYOND
from hardplace.plans.fleet import Pricers, node_of
from hardplace.plans.placement.search import PlanSearch
from hardplace.plans.placement.space import PlanSpace
from hardplace.plans.plan import Format, Plan
from hardplace.plans.pricing import pricer_of
from hardplace.plans.published.rows import NotModelled, rows_of, source_of
from hardplace.plans.published.runs import run_of
from hardplace.plans.published.scores import estimated
from hardplace.plans.published_best import BEST_FILE, BestRun
from hardplace.workload.load import catalogue, load

COUNTS = (8, 64, 256, 1024)
GAP = 0.01  # of samples a second, at which a search ends
ROWS = Path(__file__).parent.parent / "hardplace-out/catalogue_mfu.csv"
COLUMNS = ("software", "model", "device", "devices", "mfu", "at_most", "published", "said", "why")


def published() -> dict[tuple[str, str], list[tuple[float, str, str]]]:
    """Return the published MFU by device and precision (16-bit formats as one), with their runs and sources."""
    reached: dict[tuple[str, str], list[tuple[float, str, str]]] = defaultdict(list)
    known: Pricers = {}
    for path in FITTED:
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
            reached[run.device, kind].append((mfu, row["id"], source_of(row)))
    return reached


def _generation(name: str) -> str:
    return pricer_of(device(name), Plan(global_batch=1, data=1)).kind


def known_rows() -> list[dict[str, str]]:
    """Return the rows found so far."""
    if not ROWS.exists():
        return []
    with ROWS.open(newline="") as file:
        return list(csv.DictReader(file))


def searched(model: str, best: BestRun, count: int, software: str) -> dict[str, str]:
    """Return the row of a model on so many of a device: the best plan's MFU, what none can pass, whether the answer
    says that nobody published as much; or why there is none."""
    row = {"software": software, "model": model, "device": best.device, "devices": str(count)}
    row |= {"published": f"{best.mfu:.4f}"}
    chip = device(best.device)
    space = PlanSpace(global_batch=4 * count, fixed={"software": (software,)} if software else {})
    for gap in (GAP, 0.0):
        try:
            found = PlanSearch(load(model), [(chip, node_of(chip.name), count)], space, most=1, gap=gap).run()
        except BadInput as problem:
            return row | {"why": str(problem)}
        if found is None:
            return row | {"why": "nothing fits"}
        mfu, notes = found.best[0].mfu, found.best[0].notes
        said = any("more than anyone published" in note for note in notes)
        row |= {"mfu": f"{mfu:.4f}", "at_most": f"{(1.0 + gap) * mfu:.4f}", "said": str(int(said))}
        if (1.0 + gap) * mfu <= MOST_BEYOND * best.mfu or mfu > MOST_BEYOND * best.mfu:
            break
    return row


def suits(software: str, name: str) -> bool:
    """Return whether a software runs on a device at all; none named runs on each."""
    arrays = isinstance(device(name).engine, Arrays)
    own = on_arrays_of(device(name).vendor)
    return not software or (software == own if arrays else software not in ON_ARRAY_SOFTWARE)


def questions(models: list[str], names: list[str]) -> Iterator[tuple[str, BestRun, int, str]]:
    """Yield model, device with its best run in 16 bit, number of devices and software: of each generation with fitted
    runs the devices that hold it (fit_training.holding)."""
    generations = {name.split(" ")[0] for name in fitted().rows}
    rows = [one for one in holding() if one.kind in generations]
    for software in names:
        for model in models or [name for name in catalogue() if decoder_of(load(name))]:
            for row in rows:
                if suits(software, row.device):
                    for count in COUNTS:
                        yield model, row, count, software


def table(rows: list[dict[str, str]]) -> Iterator[str]:
    """Yield the lines of a table of what was found, by software and device."""
    yield "| software | device | plans | best MFU | model | devices | published | over it | said of those above 1.05 |"
    yield "|---|---|---:|---:|---|---:|---:|---:|---:|"
    groups: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    for row in rows:
        if row["mfu"]:
            groups.setdefault((row["software"], row["device"]), []).append(row)
    for (software, name), listed in sorted(groups.items()):
        most = max(listed, key=lambda row: float(row["mfu"]) / float(row["published"]))
        above = [row for row in listed if float(row["at_most"]) > MOST_BEYOND * float(row["published"])]
        over = float(most["mfu"]) / float(most["published"])
        said = f"{sum(row['said'] == '1' for row in above)} of {len(above)}" if above else "none above"
        cells = (software or "none named", name, len(listed), f"{float(most['mfu']):.1%}", most["model"])
        more = (most["devices"], f"{float(most['published']):.1%}", f"{over:.2f}", said)
        yield f"| {' | '.join(map(str, (*cells, *more)))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--published", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--software", nargs="*", default=[""], choices=list(SOFTWARE))
    parser.add_argument("models", nargs="*")
    asked = parser.parse_args()
    if asked.published:
        lines = [
            {
                "device": chip,
                "kind": _generation(chip),
                "precision": kind,
                "mfu": round(max(listed)[0], 4),
                "run": max(listed)[1],
                "sources": len({source for _, _, source in listed}),
            }
            for (chip, kind), listed in sorted(published().items())
        ]
        made = {"method": "python benchmarks/catalogue_mfu.py --published", "rows": lines}
        write_text(BEST_FILE, json.dumps(made, indent=1) + "\n")
        return
    known = known_rows()
    ROWS.parent.mkdir(exist_ok=True)
    if asked.table:
        print("\n".join(table(known)))
        return
    names = ("software", "model", "device", "devices")
    done = {tuple(row[name] for name in names) for row in known}
    with ROWS.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not known:
            writer.writeheader()
        for model, best, count, software in questions(asked.models, asked.software):
            if (software, model, best.device, str(count)) not in done:
                row = searched(model, best, count, software)
                writer.writerow(row)
                file.flush()
                print(*row.values(), flush=True)


if __name__ == "__main__":
    main()
