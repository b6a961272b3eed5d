"""Tables of runs as people write them: what a cell says is read, or the row says which cell is not."""

import csv
import json
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner

from hardplace.api.measurements import scored_runs
from hardplace.cli import main  # noqa: F401  (joins the verbs)
from hardplace.cli.app import app
from hardplace.errors import BadInput
from hardplace.plans.published.row_shapes import mixture_told, shape_of_row
from hardplace.plans.published.rows import NEEDED, NotModelled, measured_s
from hardplace.plans.published.runs import DEVICES, run_of, spelled
from hardplace.plans.published.scores import score, summary

DATA = Path(__file__).parents[3] / "validation/training/training.csv"
MIXTURE = "experts=8;topk=2;expert_ffn=14336"


@cache
def published():
    with DATA.open() as source:
        return {row["id"]: row for row in csv.DictReader(source)}


def own(**cells):
    """A row of Llama-3 8B on 8 H100 with FSDP, with other cells."""
    empty = dict.fromkeys(published()["fmsfsdp-003"], "")
    usual = {
        "id": "own", "source": "own", "layers": "32", "hidden": "4096", "heads": "32", "kv_heads": "8", "ffn": "14336",
        "gated_mlp": "1", "vocab": "128256", "seq": "8192", "precision": "bf16", "device": "H100-80GB", "devices": "8",
        "tp": "1", "pp": "1", "dp": "8", "zero_stage/fsdp": "3", "recompute": "none", "flash_attention": "1",
        "micro_batch": "1", "global_batch": "128", "target_iter_s": "13", "grade": "A", "split": "own",
    }  # fmt: skip
    return empty | usual | {name.replace("zero", "zero_stage/fsdp"): value for name, value in cells.items()}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("H200-141GB", "H200"), ("h200", "H200"), ("NVIDIA H100 80GB HBM3", "H100-80GB"), ("h100-sxm", "H100-80GB"),
        ("H100-96GB", "H100-96GB"), ("A100-SXM4-40GB", "A100-40GB"), ("a100", "A100-80GB"), ("V100-16GB", "V100-16GB"),
        ("v100-sxm2-16gb", "V100-16GB"), ("B200-192GB", "B200"), ("b300-sxm", "B300"), ("GB300 NVL72", "GB300"),
        ("AMD Instinct MI300X", "MI300X"), ("mi300x-192gb", "MI300X"), ("Gaudi 3", "Gaudi3"), ("TPU v6e", "TPUv6e"),
        ("Trillium", "TPUv6e"), ("Cloud TPU v5p", "TPUv5p"), ("trn2", "Trainium2-chip"), ("RTX 4090", "RTX4090"),
        ("A100-PCIE-80GB", "A100-80GB-PCIe"), ("NVIDIA A100-PCIE-40GB", "A100-40GB-PCIe"), ("h100-pcie", "H100-PCIe"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX-PRO-6000"), ("RTX PRO 6000", "RTX-PRO-6000"),
    ],
)  # fmt: skip
def test_a_device_is_known_by_its_usual_names(text, name):
    assert spelled(own(device=text))["device"] == name


def test_every_device_is_itself_and_is_known_by_the_catalogues_name():
    for name, (device, _) in DEVICES.items():
        assert spelled(own(device=name))["device"] == name
        assert DEVICES[spelled(own(device=device.upper()))["device"]][0] == device


@pytest.mark.parametrize("text", ["H100-94GB", "A100-64GB", "H100 NVL", "H200-80GB", "TPUv9"])
def test_a_device_of_another_memory_or_make_is_none_of_these(text):
    assert spelled(own(device=text))["device"] == text
    assert score(own(device=text)).not_modelled.startswith(f"device {text}: no device of the catalogue")


@pytest.mark.parametrize(
    ("cells", "fields"),
    [
        ({"precision": "BF16"}, {"precision": "bf16"}),
        ({"precision": "bfloat16"}, {"precision": "bf16"}),
        ({"precision": "FP8"}, {"precision": "fp8"}),
        ({"precision": "NVFP4", "device": "B200"}, {"precision": "fp4", "fp8_recipe": "nvfp4"}),
        ({"precision": "fp8_cs"}, {"precision": "fp8", "fp8_recipe": "tensorwise"}),
        ({"precision": "FP8-DS"}, {"precision": "fp8", "fp8_recipe": "delayed"}),
        ({"precision": "fp8 (blockwise)"}, {"precision": "fp8", "fp8_recipe": "blockwise"}),
        ({"precision": "fp8_mx", "device": "B200"}, {"precision": "fp8", "fp8_recipe": "mxfp8"}),
        ({"precision": "MXFP8", "device": "B200"}, {"precision": "fp8", "fp8_recipe": "mxfp8"}),
        ({"precision": "bf16", "fp8_recipe": "none"}, {"fp8_recipe": None}),
        ({"precision": "fp8", "fp8_recipe": "Current scaling"}, {"fp8_recipe": "tensorwise"}),
        ({"precision": "fp8", "low_recipe": "fp8_sc"}, {"fp8_recipe": "blockwise"}),
        ({"precision": "fp8", "note": "delayed scaling"}, {"fp8_recipe": "delayed"}),
        ({"precision": "fp8 (amp)", "software": "llm-foundry"}, {"precision": "fp8", "fp8_recipe": "delayed"}),
        ({"precision": "fp8", "software": "megatron-core"}, {"fp8_recipe": "delayed", "fp8_gather": False}),
        ({"precision": "fp8", "software": "torchtitan", "zero": "FSDP"}, {"fp8_recipe": None, "fp8_gather": True}),
        ({"precision": "fp8", "software": "torchtitan", "zero": "DDP"}, {"zero": 0, "fp8_gather": False}),
        ({"precision": "fp8", "note": "float8 all-gather of weights", "zero": "FSDP"}, {"fp8_gather": True}),
        ({"precision": "fp8", "fp8_gather": "yes", "zero": "FSDP"}, {"fp8_gather": True}),
        ({"precision": "BF16 (pure)"}, {"gradient": "bf16", "optimizer": "adamw-bf16"}),
        ({"software": "NeMo 24.07", "zero": "1"}, {"zero": 1, "optimizer": "adamw-remainders"}),
        ({"software": "NeMo 24.07", "zero": "FSDP"}, {"zero": 3, "optimizer": "adamw"}),
        ({"zero": "ZeRO-3"}, {"zero": 3, "shard": 0}),
        ({"zero": "FSDP2"}, {"zero": 3, "shard": 0}),  # was divided over two ranks
        ({"zero": "FULL_SHARD"}, {"zero": 3, "shard": 0}),
        ({"zero": "HSDP 4"}, {"zero": 3, "shard": 4}),
        ({"zero": "SHARD_GRAD_OP"}, {"zero": 2}),
        ({"zero": "distributed optimizer"}, {"zero": 1}),
        ({"zero": "DDP"}, {"zero": 0}),
        ({"zero": "ZeRO-3 offload"}, {"zero": 3, "offload": True}),
        ({"note": "optimizer states offloaded"}, {"offload": True}),
        ({"recompute": "Full"}, {"recompute": "full"}),  # was none
        ({"recompute": "activation checkpointing"}, {"recompute": "full"}),
        ({"recompute": "off"}, {"recompute": "none"}),
        ({"recompute": "Selective"}, {"recompute": "selective", "recompute_modules": ()}),
        ({"recompute": "core_attn"}, {"recompute": "selective", "recompute_modules": ("core_attn",)}),
        ({"recompute": "mlp, norm"}, {"recompute": "selective", "recompute_modules": ("mlp", "layernorm")}),
        (
            {"recompute": "selective(norm, act)"},
            {"recompute": "selective", "recompute_modules": ("layernorm", "moe_act")},
        ),
        ({"recompute": "selective 2"}, {"recompute": "full", "recompute_layers": 16}),
        ({"recompute": "8/32 layers"}, {"recompute": "full", "recompute_layers": 8}),
        ({"recompute": "", "recompute_modules": "['mlp']"}, {"recompute": "selective", "recompute_modules": ("mlp",)}),
        (
            {"recompute": "selective(save_dot_with_no_batch_dims)", "software": "JAX"},
            {"software": "xla", "recompute_modules": ("layernorm", "mlp_act", "context")},
        ),
        ({"backend": "cuDNN"}, {"backend": "cudnn"}),
        ({"flash_attention": "FA3"}, {"backend": "fa3", "flash": True}),
        ({"flash_attention": "", "backend": "math"}, {"flash": False, "backend": ""}),
        ({"moe": MIXTURE, "dispatcher": "AllToAll", "graphs": "full iteration"}, {"dispatcher": "all-to-all"}),
        ({"software": "TorchTitan"}, {"software": "torchtitan"}),
        ({"software": "torchtitan, eager"}, {"software": "torchtitan-eager"}),
        ({"software": "torchtitan", "note": "without torch.compile"}, {"software": "torchtitan-eager"}),
        ({"software": "torchtitan", "note": "torch.compile; selective"}, {"software": "torchtitan"}),
        ({"software": "FSDP", "note": "fused layernorm and swiglu"}, {"software": "fsdp-compiled"}),
        ({"software": "FSDP", "note": "fused cross entropy"}, {"software": "fsdp-eager", "fused_loss": True}),
        ({"software": "megatron-lm"}, {"software": "megatron-core"}),
        ({"software": "deepspeed"}, {"software": "fsdp-eager"}),  # as DeepSpeed
        ({"software": "PyTorch FSDP2"}, {"software": "fsdp-eager"}),
    ],
)  # fmt: skip
def test_a_cell_is_read_however_it_is_spelled(cells, fields):
    plan = run_of(own(**cells)).plan
    assert {name: getattr(plan, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({"recompute": "partial"}, "recompute: 'partial': expected none, full"),
        ({"recompute": "1/2"}, "recompute: '1/2': expected none, full"),
        ({"recompute": "selective(foo)"}, "foo: expected some of core_attn"),
        ({"zero": "sharded"}, "zero_stage/fsdp: 'sharded'"),
        ({"precision": "mixed"}, "precision mixed: no GEMM model"),
        ({"moe": MIXTURE + ";foo=3"}, "moe: foo: expected some of experts"),
        ({"moe": MIXTURE + ";capacity_factor=1.25"}, "moe: capacity: 1.25: expected 1 but with XLA"),
        ({"moe": "experts=8;topk=9;expert_ffn=64"}, "moe: topk: 9: expected at most the 8 experts"),
        ({"moe": MIXTURE + ";mla:q_lora=0,kv_lora=8,nope=0,rope=0,v=8"}, "expected kv_lora, v and a head dimension"),
        ({"ffn": "2", "tp": "4", "dp": "2", "zero": "1"}, "ffn: 2: expected at least tp, 4"),
        ({"kv_heads": "7"}, "kv_heads: 7: expected a divisor of the 32 heads"),
        ({"intra_bw": "PCIe Gen4 x16"}, "intra_bw: PCIe Gen4 x16: expected NVLink"),
        ({"devices": "64", "dp": "64", "inter_bw": "12 Tx"}, "inter_bw: '12 Tx': expected a rate"),
    ],
)
def test_a_cell_that_is_not_known_is_said_and_not_guessed(cells, expected):
    assert expected in score(own(**cells)).not_modelled


@pytest.mark.parametrize(
    ("text", "device_gb"),
    [
        ("400 Gb/s/GPU", 50), ("50 GB/s", 50), ("4x100 Gb/s", 6.25), ("8x400 Gb/s", 50), ("8x400G", 50),
        ("3200 Gbps", 50), ("3.2 Tb/s EFA", 50), ("100 Gb/s per node", 1.5625), ("8x200 Gb/s per GPU", 200),
        ("200 GB/s/node (1600 Gb/s RoCE)", 25), ("100GbE per server", 1.5625),
    ],
)  # fmt: skip
def test_a_fabric_of_several_links_is_a_nodes(text, device_gb):
    found = run_of(own(devices="64", dp="64", inter_bw=text)).node.levels[-1]
    assert found.bandwidth_bytes_per_s == pytest.approx(device_gb * 1e9)


def test_a_node_has_as_many_devices_as_the_row_says():
    found = run_of(own(devices="64", dp="64", devices_per_node="4", inter_bw="400 Gb/s per node")).node.levels
    assert (found[0].devices, found[1].bandwidth_bytes_per_s) == (4, 12.5e9)
    assert run_of(own(device="GB200", devices_per_node="4")).node.levels[0].devices == 72  # a board of the rack


def test_what_was_measured_is_read_from_tokens_too():
    assert measured_s(own(target_iter_s="", iter_s="12")) == 12.0
    assert measured_s(own(target_iter_s="", tokens_per_s_per_device="8192")) == pytest.approx(128 * 8192 / 8192 / 8)
    assert measured_s(own(target_iter_s="")) is None


def test_columns_that_are_not_there_are_not_stated(tmp_path):
    path, row = tmp_path / "runs.csv", own()
    few = {name: row[name] for name in (*NEEDED, "target_iter_s")}
    path.write_text(f"{','.join(few)}\n{','.join(few.values())}\n")
    (found,) = scored_runs(path)
    assert (found.id, found.counted, found.not_modelled) == ("line 2", True, "")
    assert found.predicted_s == score(row | {name: "" for name in row if name not in few}).predicted_s
    path.write_text(f"{','.join(name for name in few if name != 'tp')}\n{','.join(list(few.values())[1:])}\n")
    with pytest.raises(BadInput, match="column tp: missing; expected layers, hidden"):
        scored_runs(path)


def test_memory_counts_without_a_time():
    found = score(own(target_iter_s="", memory_gb="70"))
    assert (found.measured_s, found.counted) == (None, False)
    assert summary("own", [found], memory=True).rows == 1
    assert summary("own", [found]) is None


def test_a_mixture_is_told_as_it_is_read():
    """`hardplace run` left out shared experts, dense layers, latent attention."""
    for name in ("mbridge-142", "mbridge-137", "mbridge-226"):
        shape = shape_of_row(published()[name])
        assert shape_of_row(published()[name] | {"moe": mixture_told(shape)}) == shape
    kinds = {row["moe"] for row in published().values()}
    assert len(kinds) > 8
    for moe in kinds - {""}:
        row = own(moe=moe, ffn="18432")
        assert shape_of_row(row | {"moe": mixture_told(shape_of_row(row))}) == shape_of_row(row)


def test_a_capacity_is_the_cells_or_the_notes():
    row = own(moe=MIXTURE + ";capacity=1.25", software="MaxText")
    assert shape_of_row(row).experts.capacity == 1.25
    assert shape_of_row(row | {"moe": mixture_told(shape_of_row(row))}) == shape_of_row(row)
    assert shape_of_row(own(moe=MIXTURE + ";capacity=1")).experts.capacity == 0.0  # as many rows as tokens


def test_spelling_a_row_again_changes_nothing():
    for row in published().values():
        assert spelled(spelled(row)) == spelled(row)
    with pytest.raises(NotModelled):
        run_of(own(recompute="partial"))


def test_devices_that_fill_no_nodes_are_not_modelled():
    said = score(own(devices_per_node="5")).not_modelled
    assert said == "devices_per_node: 5: expected a divisor of the 8 devices"


def test_each_row_says_its_interval_and_as_what_it_was_read(tmp_path):
    path = tmp_path / "runs.csv"
    rows = [own(software="torchtitan", micro_batch="", memory_gb="60"), own(recompute="partial")]
    rows.append(own(recompute="full(8/32 layers)"))
    with path.open("w") as target:
        writer = csv.DictWriter(target, [*rows[1], "software"])
        writer.writeheader()
        writer.writerows(rows)
    done = CliRunner().invoke(app, ["validate", "--data", str(path), "--json"])
    first, second, third = json.loads(done.stdout)["answer"]
    assert (third["read"]["recompute"], third["read"]["recompute_layers"]) == ("full", 8)
    assert first["low_s"] < first["predicted_s"] < first["high_s"]
    assert first["inside"] is (first["low_s"] <= 13 <= first["high_s"])
    assert first["memory_low_gib"] < first["memory_gib"] < first["memory_high_gib"]
    read = first["read"]
    assert (read["device"], read["software"], read["left_open"]) == ("h100-sxm", "torchtitan", ["micro_batch"])
    assert first["read"]["micro_batch"] >= 1
    assert "recompute" in second["not_modelled"]
    assert second["read"] is None
    assert "software or pair with no published run" in CliRunner().invoke(app, ["validate", "--data", str(path)]).output
    path.write_text(path.read_text().replace("seq,", "seq,seq,", 1))
    done = CliRunner().invoke(app, ["validate", "--data", str(path)])
    assert isinstance(done.exception, BadInput)


def test_the_page_has_every_run_by_source_with_its_interval(tmp_path):
    path, page = tmp_path / "runs.csv", tmp_path / "runs.html"
    rows = [
        own(id="one", source="github.com/a/first@1"),
        own(id="two", source="b", target_iter_s="14"),
        own(id="odd", recompute="partial"),
    ]
    with path.open("w") as target:
        writer = csv.DictWriter(target, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    done = CliRunner().invoke(app, ["validate", "training", "--data", str(path), "--page", str(page)])
    assert done.exit_code == 0, done.output
    text = page.read_text()
    for words in (
        "a/first</text>",
        ">b</text>",
        "one, 80 %: ",
        "not modelled: recompute",
        "the runs of runs.csv",
        "table.csv",
    ):
        assert words in text
    done = CliRunner().invoke(app, ["validate", "--data", str(path), "--page", str(page), "training"])
    assert "expected options after training" in str(done.exception)
