"""How a published run was run, as its source says."""

import csv
from pathlib import Path

import pytest

from hardplace.plans.published.runs import run_of
from hardplace.plans.published.ways import software_of

TABLE = Path(__file__).parents[3] / "validation/training/training.csv"


def test_simumax_overlaps_nothing_of_data_parallelism_unless_a_row_says_so() -> None:
    with TABLE.open() as source:
        row = next(row for row in csv.DictReader(source) if row["id"] == "simumax-001")
    assert not run_of(row).plan.overlap
    assert run_of(row | {"dp_overlap": "1"}).plan.overlap


@pytest.mark.parametrize(
    ("said", "cells", "software"),
    [
        ("PyTorch", {}, "fsdp-eager"),
        ("PyTorch Lightning 2.1", {}, "fsdp-eager"),
        ("ColossalAI (Gemini)", {}, "fsdp-eager"),
        ("PyTorch 2.5", {"note": "fused kernels (MLP, layer norm, rotary)"}, "fsdp-compiled"),
        ("PyTorch, torch.compile", {}, "fsdp-compiled"),
        ("PyTorch", {"pp": "8"}, "deepspeed"),
        ("torchtitan of 2025 (PyTorch nightly)", {}, "torchtitan"),
        ("Megatron Core on PyTorch 2.5", {}, "megatron-core"),
        ("PyTorch/XLA", {"device": "TPUv6e"}, "xla-arrays"),
        ("OneFlow 0.3.5", {}, "oneflow"),
        ("", {"note": "PyTorch 2.5"}, ""),  # what a note names beside may be any layer of it
    ],
)
def test_plain_pytorch_is_its_eager_modules_where_the_column_of_the_software_says_so(said, cells, software) -> None:
    row = {"software": said, "source": "a page", "model": "", "note": "", "device": "H100-80GB"} | cells
    assert software_of(row) == software
