"""Gathered published runs (validation/training/gathered-*.csv): how their rows are read; no seconds."""

import contextlib
import csv
from dataclasses import replace
from pathlib import Path

import pytest

from hardplace.cost.layers.software import MINIMAL, MINIMAL_WITH_CONTEXT, SAVE_ATTENTION
from hardplace.csv_table import parse
from hardplace.errors import BadInput
from hardplace.plans.memory import StageMemory
from hardplace.plans.plan import OptimizerKind
from hardplace.plans.published.counted import as_counted
from hardplace.plans.published.rows import rows_of
from hardplace.plans.published.runs import NotModelled, run_of
from hardplace.plans.published.scores import score

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


def test_fsdp_in_a_pipeline_keeps_the_weights_that_it_gathered_and_reduces_once(nvidia):
    row = nvidia["amodel-003"]
    assert (row["zero_stage/fsdp"], run_of(row).plan.zero) == ("FSDP", 1)
    assert run_of(nvidia["amodel-004"]).plan.zero == 3
    with pytest.raises(NotModelled, match="zero: 3: expected pipeline 1"):
        run_of(row | {"zero_stage/fsdp": "3"})


def test_nemo_divides_its_states_and_reduces_in_16_bit_whoever_runs_it(nvidia):
    google, launcher = run_of(nvidia["gcpgpu-010"]).plan, run_of(nvidia["nemolaunch-001"]).plan
    assert (google.zero, google.gradient) == (1, "bf16")
    assert (launcher.zero, launcher.gradient) == (1, "bf16")
    other = nvidia["nemolaunch-001"] | {"software": "Megatron-LM", "source": "a blog", "note": ""}
    assert run_of(other).plan.zero == 0


@pytest.fixture(scope="module")
def frameworks():
    return rows(FOLDER / "gathered-open.csv")


def test_every_row_of_open_frameworks_is_a_run(frameworks):
    known = {name: run_of(row).plan.software for name, row in frameworks.items()}
    assert len(known) == 102
    software = {name.rpartition("-")[0]: one for name, one in known.items() if not name.startswith("flagperf")}
    assert software == {
        "paddlenlp": "paddle", "flagpaddle": "paddle", "tinyllama": "fsdp-compiled", "hfblog": "fsdp-eager",
        "llama3": "",
        "olmocore": "fsdp-compiled", "ttdoc": "torchtitan", "tth200": "torchtitan", "vocabpar": "megatron-2021",
        "dlperf-m": "megatron-2021", "dlperf-o": "oneflow",
    }  # fmt: skip


def test_paddles_gradients_are_in_16_bit_and_its_modules_eager(frameworks):
    plan = run_of(frameworks["paddlenlp-001"]).plan
    assert (plan.gradient, plan.habits.eager) == ("bf16", True)


def test_megatron_deepspeed_is_no_hugging_face_model(frameworks):
    assert run_of(frameworks["flagperf-011"]).plan.software == "megatron-2021"  # with no memory of BLOOM's


@pytest.mark.parametrize(
    ("name", "stated", "backend"),
    [
        ("tth200-001", {}, "default"),
        ("tth200-001", {"year": ""}, "default"),  # benchmarks/llama3-8b_h200_202506_...
        ("tth200-001", {"year": "2026"}, ""),
        ("tth200-001", {"device": "B200"}, ""),
        ("olmocore-003", {}, "default"),
        ("olmocore-003", {"year": ""}, ""),
        ("flagperf-004", {}, "cudnn-9.0"),  # Megatron Core's of 2024
        ("flagperf-004", {"year": "2025"}, ""),
    ],
)
def test_attention_on_hopper_goes_by_the_year(frameworks, name, stated, backend):
    assert run_of(frameworks[name] | stated).plan.backend == backend


def test_torchtitans_pipeline_has_as_many_micro_batches_as_stages(frameworks):
    row = frameworks["ttdoc-014"]
    run = run_of(row)
    assert (run.plan.pipeline, run.plan.data, run.plan.global_batch) == (8, 8, 256)
    assert (run.plan.micro_batch, run.open) == (4, ())
    assert run_of(row | {"micro_batch": "2"}).plan.micro_batch == 2
    assert "micro_batch" in run_of(row | {"software": "PyTorch FSDP", "source": "a blog"}).open


def test_memory_is_counted_as_the_note_says(frameworks):
    names = (
        "weights",
        "gradients",
        "states",
        "activations",
        "logits",
        "working",
        "buffers",
        "fragmentation",
        "reserve",
    )
    stage = StageMemory(**{f"{name}_bytes": 1e9 for name in names})
    row = frameworks["vocabpar-001"]
    assert as_counted(row, stage) == stage.reserved_bytes
    assert as_counted(frameworks["paddlenlp-001"], stage) == stage.allocated_bytes
    assert as_counted(row | {"note": ""}, stage) == stage.total_bytes
    assert stage.allocated_bytes < stage.reserved_bytes < stage.total_bytes
    assert as_counted(row | {"note": "memory: peak reserved", "source": "a page"}, stage) == stage.reserved_bytes
    assert as_counted(row | {"note": "peak allocated", "source": "a page"}, stage) == stage.allocated_bytes
    shown = row | {"note": "memory of nvidia-smi"}  # software Megatron-LM of 2024
    assert as_counted(shown, stage) == 1.2 * stage.allocated_bytes + 6e9
    assert as_counted(frameworks["flagperf-001"], stage) == as_counted(shown, stage)
    large = replace(stage, states_bytes=70e9)
    assert as_counted(shown, large) == 80 * 2**30  # no more than the device has
    plain = shown | {"software": "PyTorch, torch.compile", "source": "a list"}
    for one, room in (
        (plain, stage),
        (shown | {"device": "V100-16GB"}, stage),
        (shown, replace(stage, reserve_bytes=6e9)),
    ):
        assert as_counted(one, room) == room.total_bytes


def test_a_year_is_a_whole_number(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text((FOLDER / "gathered-open.csv").read_text().replace(",2023\n", ",last\n", 1))
    with pytest.raises(BadInput, match="line 2: year: 'last': expected a whole number"):
        rows(path)


def test_a_fused_loss_is_read_from_the_note(frameworks):
    """TinyLlama's 16K tokens a GPU fit 40 GB only because its cross entropy keeps no fp32 logits."""
    row = frameworks["tinyllama-001"]
    assert run_of(row).plan.fused_loss is True
    assert run_of(row | {"note": "flash attention 2"}).plan.fused_loss is None
    assert score(row).fits
    assert not score(row | {"note": "flash attention 2"}).fits


def test_habanas_rows_say_whether_a_tensor_group_divides_the_residual_stream():
    """MLPerf v3.0 ran without sequence parallelism, v3.1 with it; Neuron's scripts turn it on, MaxText always does."""
    found = rows(FOLDER / "gathered-arrays.csv")
    divides = {name: run_of(found[name]).plan.sequence for name in ("hpu-001", "hpu-003", "trn-001", "v6e-016")}
    assert divides == {"hpu-001": False, "hpu-003": True, "trn-001": True, "v6e-016": True}
    for name in ("v6e-016", "trn-001"):
        assert not run_of(found[name] | {"sp": "0"}).plan.sequence, "the row says that it is not"


def test_automodel_trains_in_16_bits_so_what_ran_fits(nvidia):
    """Its models are cast to bf16 and torch.optim.Adam gets them: 8 bytes a parameter."""
    for number in (3, 4, 5, 6):
        row = nvidia[f"amodel-{number:03}"]
        plan = run_of(row).plan
        assert (plan.optimizer, plan.gradient) == (OptimizerKind.ADAMW_BF16, "bf16")
        assert score(row).fits, row["id"]
