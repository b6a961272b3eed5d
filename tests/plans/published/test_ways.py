"""How a published run was run, as its source says."""

import csv
from pathlib import Path

from hardplace.plans.published.runs import run_of

TABLE = Path(__file__).parents[3] / "validation/training/training.csv"


def test_simumax_overlaps_nothing_of_data_parallelism_unless_a_row_says_so() -> None:
    with TABLE.open() as source:
        row = next(row for row in csv.DictReader(source) if row["id"] == "simumax-001")
    assert not run_of(row).plan.overlap
    assert run_of(row | {"dp_overlap": "1"}).plan.overlap
