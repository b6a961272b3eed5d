"""`hardplace chip` as a user meets it: with exit codes, streams and files."""

import json
from pathlib import Path

import pytest

from commands import Ended, command

BAD = """
name = "mine"
title = "My chip"
vendor = "me"
[chip]
process = "N5"
node = "6 nm"
clock = "1.2 GHz"
[array]
arrays = 4
rows = 128
columns = 128
vector_cores = 2
vector_lanes = 128
[array.macs_per_clock]
bf16 = 1
[buffer]
size = "64 MiB"
[memory]
kind = "HBM3"
size = "80 GB"
bandwidth = "3.2 TB/s"
"""


def hardplace(*arguments: str, folder: Path) -> Ended:
    return command(*arguments, folder=folder)


def test_chip_prints_and_draws(tmp_path: Path) -> None:
    done = hardplace("chip", "h100-sxm", "--dtype", "fp4", folder=tmp_path)
    assert done.code == 0, done.err
    for word in ("matrix engines", "814 mm²", "700 W", "989 TFLOP/s", "295", "USD", "CO2e", "no fp4: computed in fp8"):
        assert word in done.out
    assert "<svg" in (tmp_path / "hardplace-out/h100-sxm/chip.html").read_text()


def test_json_is_all_of_standard_output_and_writes_nothing(tmp_path: Path) -> None:
    done = hardplace("chip", "tpu-v4", "--json", folder=tmp_path)
    found = json.loads(done.out)["answer"]
    assert found["published_tdp_w"] == 192
    assert {part["name"] for part in found["area"]} >= {"matrix engines", "shared buffer", "memory interface"}
    assert not list(tmp_path.iterdir())


def test_without_a_name_the_catalogue(tmp_path: Path) -> None:
    done = hardplace("chip", folder=tmp_path)
    assert done.code == 0, done.err
    assert "h100-sxm" in done.out
    assert "gb200-nvl72" in done.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("chip", "h100"), ["unknown device 'h100'", "h100-sxm"]),
        (("chip", "nowhere.toml"), ["nowhere.toml", "cannot be read"]),
        (("chip", "mine.toml"), ["mine.toml", "chip.node", "6 nm", "7, 5"]),
        (("chip", "h100-sxm", "--node", "6"), ["node 6 nm", "7, 5"]),
        (("chip", "h100-sxm", "--node", "seven"), ["--node", "seven"]),
        (("chip", "v100-sxm2", "--dtype", "bf16"), ["v100-sxm2", "bf16", "fp16"]),
        (("chip", "v100-sxm2", "--dtype", "bf17"), ["bf17", "bf16"]),
        (("chip", "t4", "--out", "/dev/null/here"), ["/dev/null"]),
    ],
)
def test_bad_input_is_one_line_and_code_2(arguments: tuple[str, ...], words: list[str], tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(BAD)
    done = hardplace(*arguments, folder=tmp_path)
    assert done.code == 2, done.out
    assert done.out == ""
    assert done.err.startswith("hardplace: ")
    assert done.err.count("\n") == 1
    for word in words:
        assert word in done.err


def test_estimate_prints_every_operator_and_draws_the_roofline(tmp_path: Path) -> None:
    done = hardplace("estimate", "opt-350m", "--operators", "--on", "tpu-v4", folder=tmp_path)
    assert done.code == 0, done.err
    for word in ("block, 24 of them", "mapping", "bound by", "of peak", "memory traffic", "energy", "fc1"):
        assert word in done.out
    assert "<circle" in (tmp_path / "hardplace-out/opt-350m/operators.html").read_text()
    done = hardplace("estimate", "opt-350m", "--operators", "--on", "trainium2", "--dtype", "fp4", folder=tmp_path)
    assert "no fp4: computed in fp8" in done.out
    done = hardplace("estimate", "opt-350m", "--operators", "--on", "h100-sxm", folder=tmp_path)
    for word in ("GEMM TN", "sdpa", "bound by", "energy", "gemm: fitted"):
        assert word in done.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--on", "tpu-v4"), ["--operators"]),
        (("--operators",), ["--on"]),
        (("--operators", "--on", "tpuv4"), ["tpuv4", "tpu-v4"]),
        (("--operators", "--on", "h100-sxm", "--dtype", "fp8"), ["h100-sxm", "fp8", "bf16"]),
        (("--operators", "--on", "tpu-v4", "--dtype", "fp32"), ["tpu-v4", "fp32", "bf16"]),
        (("--operators", "--on", "tpu-v4", "--tensor-parallel", "3"), ["--tensor-parallel", "3"]),
        (("--operators", "--on", "tpu-v4", "--micro-batch", "0"), ["--micro-batch", "0"]),
    ],
)
def test_bad_input_of_estimate_is_one_line_and_code_2(
    arguments: tuple[str, ...], words: list[str], tmp_path: Path
) -> None:
    done = hardplace("estimate", "opt-350m", *arguments, folder=tmp_path)
    assert done.code == 2, done.out
    assert done.err.count("\n") == 1
    for word in words:
        assert word in done.err
