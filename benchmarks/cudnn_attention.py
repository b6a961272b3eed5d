"""Fit the figures of attention kernels on Hopper and Blackwell to measurements of their makers, and print them.

    python benchmarks/cudnn_attention.py            # what `cost/gpu/cudnn.py` holds, and the errors
    python benchmarks/cudnn_attention.py --left-out # 16 bit without DeepSeek-V3's heads and release 9.23: errors there
    python benchmarks/cudnn_attention.py --write    # FA2's figures into the models that ship

cuDNN in 16 bit: all tables of 9.17 and later of validation/gpu/cudnn_attention*.csv without a window, which are what a
kernel that runs for long loses, too; in fp8: cudnn_attention.csv. Older cuDNN and FA2: hopper_attention_2024.csv on
Hopper, releases 9.10 and 9.13 on Blackwell (from 4,096 tokens on: PyTorch's launches are in those times).
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hardplace.cost.gpu.attention import attention_s
from hardplace.cost.gpu.cudnn import HEAD_DIMS
from hardplace.cost.gpu.fitting.optimise import fit
from hardplace.cost.gpu.measured import AttentionRows
from hardplace.cost.gpu.models import model_of
from hardplace.cost.gpu.types import AttentionParameters, Fit, GpuModel
from hardplace.files import write
from hardplace.hardware.catalogue import device
from hardplace.ndtypes import Floats

FOLDER = Path(__file__).parent.parent / "validation/gpu"
MODELS = Path(__file__).parent.parent / "src/hardplace/cost/gpu/data"
WAYS = ("forward", "backward")
RANGES = {
    "exponentials_per_cycle": (4.0, 40.0),
    "backward": (1.5, 8.0),
    "causal": (0.001, 0.3),
    "launch_s": (2e-6, 6e-6),
    "block_start_s": (1e-7, 4e-5),
    "dram_efficiency": (0.1, 1.8),
    "heat": (0.0, 0.6),
    "heat_s": (0.003, 0.3),
}
START = {
    "exponentials_per_cycle": 17.0,
    "backward": 3.0,
    "causal": 0.02,
    "launch_s": 3e-6,
    "block_start_s": 2e-6,
    "dram_efficiency": 0.7,
    "heat": 0.15,
    "heat_s": 0.02,
}
HEAT = ("heat", "heat_s")


def tables(*names: str) -> list[dict[str, str]]:
    """Return the rows of tables, those of releases as kernels forward and backward; a table without a release: 9.19."""
    found: list[dict[str, str]] = []
    for name in names:
        with (FOLDER / name).open() as text:
            for row in csv.DictReader(text):
                usual = {"kernel": "cudnn", "release": "9.19", "causal": "1", "window": "0", "data_type": "bf16"}
                both = usual | row
                for way in WAYS:
                    found.append(both | {"way": way, "seconds": str(1e-3 * float(row[f"{way}_ms"]))})
    return [row for row in found if row["window"] == "0"]


def papers() -> list[dict[str, str]]:
    """Return the rows of Shah et al. 2024 in the same columns."""
    with (FOLDER / "hopper_attention_2024.csv").open() as text:
        rows = list(csv.DictReader(text))
    for row in rows:
        work = 4.0 * int(row["batch"]) * int(row["heads"]) * int(row["sequence"]) ** 2 * int(row["head_dim"])
        work *= (0.5 if row["causal"] == "1" else 1.0) * (2.5 if row["pass"] == "backward" else 1.0)
        row |= {"kv_heads": row["heads"], "head_dim_qk": row["head_dim"], "head_dim_vo": row["head_dim"]}
        row |= {"way": row["pass"], "seconds": str(work / (1e12 * float(row["tflops"])))}
    return rows


def kernels(rows: list[dict[str, str]]) -> AttentionRows:
    """Return rows as kernels; the width is the mean of keys' and values'."""
    column = {name: np.array([int(row[name]) for row in rows]) for name in ("batch", "sequence", "heads", "kv_heads")}
    wide = [(int(row["head_dim_qk"]) + int(row["head_dim_vo"])) // 2 for row in rows]
    return AttentionRows(
        backend=("",) * len(rows),
        head_dim=np.array(wide),
        causal=np.array([int(row["causal"]) for row in rows]),
        backward=np.array([int(row["way"] == "backward") for row in rows]),
        cached=np.zeros(len(rows), dtype=np.int64),
        time_s=np.array([float(row["seconds"]) for row in rows]),
        spread=np.full(len(rows), np.nan),
        **column,
    )


def fitted(
    model: GpuModel,
    rows: list[dict[str, str]],
    shape: Callable[[dict[str, float]], AttentionParameters],
    start: dict[str, float],
) -> AttentionParameters:
    """Return the figures that meet rows best; shape: the figures by name as those of a backend."""
    ranges = RANGES | {name: (0.2, 1.5) for name in start if name not in RANGES}
    of = kernels(rows)
    sheet = model.datasheet
    found = fit(lambda one: attention_s(of, sheet, shape(one)), start, ranges, of.time_s, np.ones(len(rows)))
    made = shape({name: float(f"{value:.3g}") for name, value in found.items()})
    return replace(made, efficiency=tuple(float(f"{share:.3g}") for share in made.efficiency))


def errors(model: GpuModel, rows: list[dict[str, str]], figures: AttentionParameters) -> Floats:
    of = kernels(rows)
    return np.asarray(attention_s(of, model.datasheet, figures) / of.time_s - 1.0)


def told(what: str, off: Floats, figures: AttentionParameters | None = None) -> None:
    print(f"{what}: mean {np.mean(np.abs(off)):.1%}, bias {np.mean(off):+.1%}, worst {np.max(np.abs(off)):.1%}")
    if figures is not None:
        shown = ("head_dims", "efficiency", *RANGES)
        print("   ", {name: getattr(figures, name) for name in shown})


def two_widths(base: AttentionParameters, fixed: float = 0.0) -> Callable[[dict[str, float]], AttentionParameters]:
    """Return what makes cuDNN's figures; fixed: the wide heads' efficiency over the narrow ones' where none were
    measured."""

    def shape(one: dict[str, float]) -> AttentionParameters:
        rest: dict[str, Any] = dict(one)
        narrow = rest.pop("narrow")
        wide = rest.pop("wide", narrow * fixed)
        return replace(base, head_dims=HEAD_DIMS, efficiency=(narrow, wide), **rest)

    return shape


def three_widths(base: AttentionParameters) -> Callable[[dict[str, float]], AttentionParameters]:
    def shape(one: dict[str, float]) -> AttentionParameters:
        rest: dict[str, Any] = dict(one)
        efficiency = tuple(rest.pop(f"of_{dim}") for dim in (64, 128, 256))
        return replace(base, head_dims=(64, 128, 256), efficiency=efficiency, **rest)

    return shape


def cold(start: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in start.items() if name not in HEAT}


def current(left_out: bool) -> dict[str, AttentionParameters]:
    """Fit cuDNN of today, by GPU; left_out: without what is then told."""
    every = [row for row in tables("cudnn_attention.csv", "cudnn_attention_later.csv") if row["kernel"] == "cudnn"]
    found = {}
    for name in ("h200-sxm", "gb200", "gb300"):
        model = model_of(device(name))
        of = [row for row in every if row["device"] == name]
        for kind in ("bf16",) if left_out else ("bf16", "fp8"):
            hopper = name == "h200-sxm"  # 9.19 alone: Transformer Engine's benchmark has no fall with the length there
            own = [row for row in of if row["data_type"] == kind and row["release"] >= "9.17"]
            out = [row for row in own if _left_out(row) or (hopper and row["release"] != "9.19")]
            kept = [row for row in own if not ((left_out or hopper) and row in out)]
            start = {"narrow": 0.8, "wide": 0.8} | (cold(START) if hopper or kind == "fp8" else START)
            figures = fitted(model, kept, two_widths(model.attention["trtllm"]), start)
            told(f"{name} cuDNN {kind}", errors(model, kept, figures), figures)
            if left_out:
                told("    left out", errors(model, out, figures))
                long = [row for row in out if int(row["sequence"]) >= 16384]
                told("    of it 16,384 tokens and more", errors(model, long, figures))
            if kind == "bf16":
                found[name] = figures
    return found


def _left_out(row: dict[str, str]) -> bool:
    return row["release"] == "9.23" or (row["release"] == "9.27" and row["head_dim_qk"] == "192")


def older(today: dict[str, AttentionParameters]) -> None:
    """Fit cuDNN of 2024 on Hopper, and of 9.10 to 9.13 on Blackwell."""
    hopper = model_of(device("h100-sxm"))
    rows = [row for row in papers() if row["kernel"] == "cudnn-9.0"]
    widths = {f"of_{dim}": 0.6 for dim in (64, 128, 256)}
    figures = fitted(hopper, rows, three_widths(hopper.attention["trtllm"]), widths | cold(START))
    told("h100-sxm cuDNN 9.0", errors(hopper, rows, figures), figures)
    every = [row for row in tables("cudnn_attention_later.csv") if row["kernel"] == "cudnn"]
    for name, like in (("b200-sxm", "gb200"), ("gb300", "gb300")):
        model = model_of(device(name))
        own = [row for row in every if row["device"] == name and row["release"] in ("9.10", "9.13")]
        ratio = today[like].efficiency[1] / today[like].efficiency[0]
        shape = two_widths(replace(model.attention["trtllm"], causal=0.02, launch_s=2.8e-6), ratio)
        start = {"narrow": 0.8} | {key: START[key] for key in START if key not in ("causal", "launch_s")}
        figures = fitted(model, own, shape, start)
        told(f"{name} cuDNN 9.10", errors(model, own, figures), figures)


def flash() -> tuple[dict[str, AttentionParameters], tuple[float, float]]:
    """Fit FA2 on Hopper, and on Blackwell with Hopper's other widths and units; and what PyTorch's build of it takes
    longer, forward and backward."""
    hopper = model_of(device("h100-sxm"))
    rows = [row for row in papers() if row["kernel"] == "fa2"]
    widths = {f"of_{dim}": 0.4 for dim in (64, 128, 256)}
    first = fitted(hopper, rows, three_widths(hopper.attention["fa2"]), widths | cold(START))
    told("h100-sxm FA2", errors(hopper, rows, first), first)
    found = {"h100-sxm": first}
    later = [row for row in tables("cudnn_attention_later.csv") if row["kernel"] in ("fa2", "sdpa")]
    model = model_of(device("b200-sxm"))
    own = [row for row in later if row["kernel"] == "fa2"]  # B200's and GB300's, a clock alike

    def shape(one: dict[str, float]) -> AttentionParameters:
        rest: dict[str, Any] = dict(one)
        scale = rest.pop("scale")
        return replace(first, efficiency=tuple(scale * share for share in first.efficiency), **rest)

    start = {"scale": 0.5} | {name: getattr(first, name) for name in ("backward", "block_start_s")}
    second = fitted(model, [row for row in own if row["device"] == "b200-sxm"], shape, start)
    for name in ("b200-sxm", "gb300"):
        told(
            f"{name} FA2, B200's figures",
            errors(model_of(device(name)), [row for row in own if row["device"] == name], second),
            second,
        )
    found["b200-sxm"] = second
    pairs = [
        (float(build["seconds"]) / float(row["seconds"]), row["way"])
        for row in own
        for build in later
        if build["kernel"] == "sdpa" and all(build[key] == row[key] for key in ("device", "sequence", "way", "release"))
    ]
    means = []
    for way in WAYS:
        ratios = [ratio for ratio, of in pairs if of == way]
        means.append(float(np.mean(ratios)))
        print(f"PyTorch's build over FA2, {way}: {means[-1]:.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
    return found, (means[0], means[1])


def built_by_torch(figures: AttentionParameters, longer: tuple[float, float]) -> AttentionParameters:
    """Return FA2's figures as PyTorch's build of it has them."""
    forward, backward = longer
    return replace(
        figures,
        efficiency=tuple(float(f"{share / forward:.3g}") for share in figures.efficiency),
        exponentials_per_cycle=float(f"{figures.exponentials_per_cycle / forward:.3g}"),
        block_start_s=float(f"{figures.block_start_s * forward:.3g}"),
        backward=float(f"{figures.backward * backward / forward:.3g}"),
    )


SOURCES = {
    "h100-sxm": "Shah et al. 2024, arXiv 2407.08608, Fig. 5 and 6 (H100)",
    "b200-sxm": "NVIDIA/cudnn-frontend@bb37575, benchmark/sdpa_benchmark_training/artifacts (B200)",
}


def written(
    found: dict[str, AttentionParameters], longer: tuple[float, float], named: Iterable[tuple[str, str]]
) -> None:
    """Put FA2's figures, and those of PyTorch's build, into models that ship: pairs of a GPU and the one that was
    measured."""
    from hardplace.cost.gpu.models import shipped

    for name, like in named:
        model = shipped(name)
        note = Fit(
            part="attention fa2",
            method=f"fitted to kernels on {like}: benchmarks/cudnn_attention.py",
            source=SOURCES[like],
            rows=48 if like == "h100-sxm" else 12,
            held_out_rows=0,
            held_out_error=None,
            held_out_error_large=None,
            noise=None,
        )
        built = replace(note, part="attention sdpa", method=f"{note.method}; PyTorch's build", rows=0)
        fits = (*(one for one in model.fits if one.part not in (note.part, built.part)), note, built)
        attention = {**model.attention, "fa2": found[like], "sdpa": built_by_torch(found[like], longer)}
        write(MODELS / f"{name}.json.gz", replace(model, attention=attention, fits=fits))


def main() -> None:
    if "--left-out" in sys.argv:
        current(left_out=True)
        return
    older(current(left_out=False))
    found, longer = flash()
    if "--write" in sys.argv:
        pairs = (("h100-sxm", "h100-sxm"), ("h200-sxm", "h100-sxm"), ("b200-sxm", "b200-sxm"), ("gb200", "b200-sxm"))
        written(found, longer, pairs)


if __name__ == "__main__":
    main()
