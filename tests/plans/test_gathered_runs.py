"""Gathered published runs (validation/training/gathered-*.csv): how their rows are read; no seconds."""

import contextlib
import csv
from pathlib import Path

import pytest

from hardplace.cost.layers.software import MINIMAL, MINIMAL_WITH_CONTEXT, SAVE_ATTENTION
from hardplace.csv_table import parse
from hardplace.plans.published.rows import rows_of
from hardplace.plans.published.runs import NotModelled, run_of

FOLDER = Path(__file__).parents[2] / "validation/training"
GATHERED = sorted(FOLDER.glob("gathered-*.csv"))


def rows(path):
    return {row["id"]: row for row in rows_of(parse(path.read_text(), str(path)))}


@pytest.mark.parametrize("path", GATHERED, ids=lambda path: path.stem)
def test_rows_are_read_as_runs(path):
    found = rows(path)
    with path.open() as text:
        assert len(found) == sum(1 for _ in csv.DictReader(text)), "an id stands twice"
    read = 0
    for row in found.values():
        with contextlib.suppress(NotModelled):
            assert run_of(row).plan.devices == int(float(row["devices"]))
            read += 1
    assert read >= 0.8 * len(found)


@pytest.fixture(scope="module")
def nvidia():
    return rows(FOLDER / "gathered-nvidia.csv")


def test_every_row_of_nvidias_software_is_a_run(nvidia):
    known = {name: run_of(row).plan.software for name, row in nvidia.items()}
    assert len(known) == 99
    software = {name.rpartition("-")[0]: one for name, one in known.items() if not name.startswith("gcpgpu")}
    assert software == {
        "paxgpu": "xla", "jaxmt": "xla", "mlpold": "megatron-core", "nemodoc": "megatron-core",
        "amodel": "automodel", "nemolaunch": "megatron-core",
    }  # fmt: skip
    assert {known[name] for name in ("gcpgpu-006", "gcpgpu-007", "gcpgpu-008")} == {"xla"}


@pytest.mark.parametrize(
    ("said", "modules"),
    [
        ("selective(save_dot_with_context_except_mlp)", SAVE_ATTENTION),
        ("selective(minimal_flash)", MINIMAL_WITH_CONTEXT),
        ("selective(minimal_with_context_and_quantization)", MINIMAL_WITH_CONTEXT),
        ("selective(save_dot_with_no_batch_dims)", MINIMAL),
        ("selective(minimal)", MINIMAL),
        ("selective(mlp)", ("mlp",)),
    ],
)
def test_a_policy_of_xla_is_read_by_its_name(nvidia, said, modules):
    assert run_of(nvidia["gcpgpu-006"] | {"recompute": said, "note": "MaxText"}).plan.recompute_modules == modules


def test_fsdp_in_a_pipeline_keeps_the_weights_that_it_gathered(nvidia):
    row = nvidia["amodel-003"]
    assert (row["zero_stage/fsdp"], run_of(row).plan.zero) == ("FSDP", 2)
    assert run_of(nvidia["amodel-004"]).plan.zero == 3
    with pytest.raises(NotModelled, match="zero: 3: expected pipeline 1"):
        run_of(row | {"zero_stage/fsdp": "3"})


def test_nemo_divides_its_states_and_reduces_in_16_bit_whoever_runs_it(nvidia):
    google, launcher = run_of(nvidia["gcpgpu-010"]).plan, run_of(nvidia["nemolaunch-001"]).plan
    assert (google.zero, google.gradient) == (1, "bf16")
    assert (launcher.zero, launcher.gradient) == (1, "bf16")
    other = nvidia["nemolaunch-001"] | {"software": "Megatron-LM", "source": "a blog", "note": ""}
    assert run_of(other).plan.zero == 0
