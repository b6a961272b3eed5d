"""Pipeline schedules of published runs: the column is read, and the document has the gains that are computed."""

import csv
import sys
from pathlib import Path

import pytest

from hardplace.errors import BadInput
from hardplace.plans.plan import PipelineSchedule
from hardplace.plans.published.runs import run_of

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT / "benchmarks"))

import schedule_ratios  # noqa: E402


def row(**cells):
    with (ROOT / "validation/training/schedules.csv").open() as table:
        return next(csv.DictReader(table)) | cells


@pytest.mark.parametrize(
    ("said", "schedule", "virtual"),
    [
        ("", PipelineSchedule.ONE_F_ONE_B, 1), ("1F1B", PipelineSchedule.ONE_F_ONE_B, 1),
        ("ZB-H1", PipelineSchedule.ZERO_BUBBLE, 1), ("zbv", PipelineSchedule.ZB_V, 2),
        ("V-Half", PipelineSchedule.V_HALF, 2), ("DualPipeV", PipelineSchedule.DUALPIPE_V, 2),
    ],
)  # fmt: skip
def test_a_schedule_is_read_with_the_chunks_of_its_stages(said, schedule, virtual):
    run = run_of(row(schedule=said, vpp=""))
    assert (run.plan.schedule, run.plan.virtual) == (schedule, virtual)


def test_stated_1f1b_leaves_no_chunks_open_and_another_word_is_refused():
    core = row(software="megatron-core", vpp="")
    assert "vpp" in run_of(core | {"schedule": ""}).open
    assert "vpp" not in run_of(core | {"schedule": "1f1b"}).open
    with pytest.raises(BadInput, match="schedule: 'zb-2p': expected 1f1b, gpipe, zero-bubble"):
        run_of(row(schedule="zb-2p"))


def test_the_document_has_the_ratios_of_schedules():
    """As `benchmarks/write_validation.py` puts them there."""
    assert schedule_ratios.text().strip() in (ROOT / "docs/validation.md").read_text()
