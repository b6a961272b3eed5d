"""Published runs on AMD's GPUs (validation/training/gathered-amd.csv): what their rows say is in their plans."""

import csv
from pathlib import Path

import pytest

from hardplace.api.measurements import scored_runs
from hardplace.plans.plan import OptimizerKind
from hardplace.plans.published.runs import run_of

DATA = Path(__file__).parents[2] / "validation" / "training" / "gathered-amd.csv"


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, str]]:
    with DATA.open() as source:
        return {row["id"]: row for row in csv.DictReader(source)}


def test_every_row_has_a_prediction_and_what_ran_fits_and_nothing_else():
    """DeepSeek-V3 on 64 MI355X ran with both exchanges, up to 7 and 9 sequences a device. The all-to-all ran out of
    memory with 8 and 9, DeepEP with 16."""
    found = scored_runs(DATA)
    assert len(found) == 45
    assert [one.id for one in found if one.not_modelled] == []
    assert [one.id for one in found if one.oom] == ["amd-maxtext-007", "amd-maxtext-008", "amd-maxtext-009"]
    assert [one.id for one in found if not one.fits] == [one.id for one in found if one.oom]


def test_a_device_of_lumi_is_a_die_of_a_module_whose_node_shares_four_links(rows):
    run = run_of(rows["amd-lumi-003"])
    assert (run.device, run.node.name, run.plan.devices) == ("mi250x-gcd", "lumi-g", 128)
    assert run.node.levels[0].devices == 8
    assert run.node.levels[-1].bandwidth_bytes_per_s == pytest.approx(4 * 200e9 / 8 / 8)
    assert run_of(rows["amd-lumi-003"] | {"device": "MI250X"}).device == "mi250x-gcd"  # whose ranks are dies


def test_megatron_deepspeed_on_a_device_of_its_time_is_itself(rows):
    assert run_of(rows["amd-lumi-001"]).plan.software == "megatron-2021"
    newer = rows["amd-lumi-001"] | {"device": "MI300X"}
    assert run_of(newer).plan.software == "megatron-core"  # no GPU runs software older than itself


def test_pytorchs_data_parallel_is_the_eager_software_with_whole_states(rows):
    plan = run_of(rows["amd-mi350-009"]).plan
    assert (plan.software, plan.zero, plan.flash) == ("fsdp-eager", 0, False)


def test_pure_fp16_has_no_fp32_copy_and_reduces_in_16_bits(rows):
    plan = run_of(rows["amd-mi350-009"]).plan
    assert (plan.optimizer, plan.gradient) == (OptimizerKind.ADAMW_BF16, "bf16")


def test_moments_and_gradients_of_16_bits_are_read_where_a_note_states_them(rows):
    stated = rows["amd-primus-002"]
    plan = run_of(stated).plan
    assert (plan.optimizer, plan.gradient) == (OptimizerKind.ADAMW_BF16_MOMENTS, "bf16")
    silent = run_of(stated | {"note": "tensorwise"}).plan
    assert (silent.optimizer, silent.gradient) == (OptimizerKind.ADAMW, "fp32")


def test_the_memory_of_pytorchs_own_loop_is_what_was_published():
    """Dropout as in the model, and the loss a small part: five runs of 0.8 to 13 billion parameters within 3 %."""
    found = {one.id: one for one in scored_runs(DATA)}
    for number in range(4, 9):
        run = found[f"amd-mi350-{number:03}"]
        assert run.memory_gib / run.published_gib == pytest.approx(1.0, abs=0.03), run.id


def test_primus_fuses_its_loss_in_megatron_and_not_in_maxtext(rows):
    assert run_of(rows["amd-primus-003"]).plan.loss_in_one
    assert not run_of(rows["amd-maxtext-001"]).plan.loss_in_one
