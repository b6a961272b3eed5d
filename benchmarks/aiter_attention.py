"""Fit the figures of AITER's attention kernels on AMD's GPUs to their maker's own measurements, and print them.

    python benchmarks/aiter_attention.py    # what cost/gpu/amd.py holds, by GPU, and errors

Rows of validation/gpu/aiter_attention.csv; NVIDIA's are cudnn_attention.py's.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from hardplace.cost.gpu.attention import attention_s, attention_shapes
from hardplace.cost.gpu.fitting.optimise import fit
from hardplace.cost.gpu.models import model_of
from hardplace.cost.gpu.types import AttentionParameters, GpuModel
from hardplace.hardware.catalogue import device
from hardplace.ndtypes import Floats

TABLE = Path(__file__).parent.parent / "validation/gpu/aiter_attention.csv"
RANGES = {
    "efficiency": (0.2, 1.5),
    "backward": (1.5, 12.0),
    "exponentials_per_cycle": (10.0, 40.0),
    "causal": (0.001, 0.2),
    "launch_s": (2e-6, 6e-6),
    "block_start_s": (2e-7, 1.2e-5),
    "dram_efficiency": (0.2, 1.8),
}
START = {
    "efficiency": 0.8,
    "backward": 3.0,
    "exponentials_per_cycle": 17.0,
    "causal": 0.02,
    "launch_s": 3e-6,
    "block_start_s": 2e-6,
    "dram_efficiency": 0.7,
}


def dim_of(row: dict[str, str]) -> int:
    return (int(row["head_dim_qk"]) + int(row["head_dim_vo"])) // 2


def parameters(base: AttentionParameters, dims: tuple[int, ...], figures: dict[str, float]) -> AttentionParameters:
    """Return the figures of a backend with some of them changed: an efficiency and a backward pass, a width."""
    per = {name: tuple(figures[f"{name} {dim}"] for dim in dims) for name in _PER_DIM}
    rest = {name: value for name, value in figures.items() if " " not in name}
    return replace(base, head_dims=dims, efficiency=per["efficiency"], backward_of=per["backward"], **rest)


_PER_DIM = ("efficiency", "backward")


def seconds(model: GpuModel, fitted: AttentionParameters, rows: list[dict[str, str]]) -> Floats:
    """Return the seconds of each row's kernels."""
    found = []
    for row in rows:
        batch, sequence, heads, kv_heads = (int(row[name]) for name in ("batch", "sequence", "heads", "kv_heads"))
        for back in (False, True):
            if row["backward_ms" if back else "forward_ms"]:
                shapes = attention_shapes(
                    batch=batch,
                    sequence=sequence,
                    heads=heads,
                    kv_heads=kv_heads,
                    head_dim=dim_of(row),
                    causal=row["causal"] == "1",
                    backward=back,
                )
                found.append(float(attention_s(shapes, model.datasheet, fitted)[0]))
    return np.array(found)


def measured(rows: list[dict[str, str]]) -> Floats:
    return np.array([1e-3 * float(row[name]) for row in rows for name in ("forward_ms", "backward_ms") if row[name]])


def main() -> None:
    with TABLE.open() as text:
        rows = list(csv.DictReader(text))
    for name in dict.fromkeys(row["device"] for row in rows):
        own = [row for row in rows if row["device"] == name]
        model, true_s = model_of(device(name)), measured(own)
        dims, base = tuple(sorted({dim_of(row) for row in own})), model.attention["fa2"]
        names = [f"{figure} {dim}" for figure in _PER_DIM for dim in dims]
        names += [figure for figure in START if figure not in _PER_DIM]
        found = fit(
            lambda figures, model=model, base=base, own=own, dims=dims: seconds(  # type: ignore[misc]
                model, parameters(base, dims, figures), own
            ),
            {figure: START[figure.split()[0]] for figure in names},
            {figure: RANGES[figure.split()[0]] for figure in names},
            true_s,
            np.ones(len(true_s)),
        )
        off = seconds(model, parameters(base, dims, found), own) / true_s - 1.0
        before = seconds(model, base, own) / true_s - 1.0
        print(f"{name}: mean {np.mean(np.abs(off)):.1%}, worst {np.max(np.abs(off)):.1%}", end="; ")
        print(f"fa2's figures {np.mean(before):+.1%}", {key: float(f"{one:.3g}") for key, one in found.items()})


if __name__ == "__main__":
    main()
