"""Fit the figures of cuDNN's attention kernels, in 16 bit and in fp8, to NVIDIA's own measurements, and print them.

    python benchmarks/cudnn_attention.py    # what `cost/gpu/cudnn.py` holds, by GPU and data type, and the errors

Rows of validation/gpu/cudnn_attention.csv without a window; those with one are a check of what a window saves.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from hardplace.cost.gpu.attention import attention_s, attention_shapes
from hardplace.cost.gpu.cudnn import HEAD_DIMS
from hardplace.cost.gpu.fitting.optimise import fit
from hardplace.cost.gpu.models import model_of
from hardplace.cost.gpu.types import AttentionParameters, GpuModel
from hardplace.hardware.catalogue import device
from hardplace.ndtypes import Floats

TABLE = Path(__file__).parent.parent / "validation/gpu/cudnn_attention.csv"
RANGES = {
    "narrow": (0.3, 1.5),
    "wide": (0.3, 1.5),
    "exponentials_per_cycle": (10.0, 40.0),
    "backward": (1.5, 8.0),
    "causal": (0.001, 0.2),
    "launch_s": (2e-6, 6e-6),
    "block_start_s": (2e-7, 1.2e-5),
    "dram_efficiency": (0.2, 1.8),
}
START = {
    "narrow": 0.8,
    "wide": 0.8,
    "exponentials_per_cycle": 17.0,
    "backward": 3.0,
    "causal": 0.02,
    "launch_s": 3e-6,
    "block_start_s": 2e-6,
    "dram_efficiency": 0.7,
}


def parameters(base: AttentionParameters, figures: dict[str, float]) -> AttentionParameters:
    """Return the figures of a backend with some of them changed."""
    known = dict(figures)
    return replace(base, head_dims=HEAD_DIMS, efficiency=(known.pop("narrow"), known.pop("wide")), **known)


def seconds(model: GpuModel, fitted: AttentionParameters, rows: list[dict[str, str]]) -> Floats:
    """Return the seconds of each row's forward and of its backward kernel, without what a window saves."""
    found = []
    for row in rows:
        dim = (int(row["head_dim_qk"]) + int(row["head_dim_vo"])) // 2
        batch, sequence, heads, kv_heads = (int(row[name]) for name in ("batch", "sequence", "heads", "kv_heads"))
        for back in (False, True):
            shapes = attention_shapes(
                batch=batch, sequence=sequence, heads=heads, kv_heads=kv_heads, head_dim=dim, backward=back
            )
            found.append(float(attention_s(shapes, model.datasheet, fitted)[0]))
    return np.array(found)


def measured(rows: list[dict[str, str]]) -> Floats:
    return np.array([1e-3 * float(row[name]) for row in rows for name in ("forward_ms", "backward_ms")])


def main() -> None:
    with TABLE.open() as text:
        rows = list(csv.DictReader(text))
    for name, kind in dict.fromkeys((row["device"], row["data_type"]) for row in rows):
        own = [row for row in rows if (row["device"], row["data_type"]) == (name, kind) and row["window"] == "0"]
        model, true_s = model_of(device(name)), measured(own)
        base = model.attention["trtllm"]
        found = fit(
            lambda figures, model=model, base=base, own=own: seconds(model, parameters(base, figures), own),  # type: ignore[misc]
            START,
            RANGES,
            true_s,
            np.ones(len(true_s)),
        )
        off = seconds(model, parameters(base, found), own) / true_s - 1.0
        before = seconds(model, base, own) / true_s - 1.0
        print(f"{name} {kind}: mean {np.mean(np.abs(off)):.1%}, worst {np.max(np.abs(off)):.1%}", end="; ")
        print(f"trtllm's figures {np.mean(before):+.1%}", {key: float(f"{one:.3g}") for key, one in found.items()})


if __name__ == "__main__":
    main()
