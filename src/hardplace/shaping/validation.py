"""How good the ranking of shapes is: layers of measured GEMMs ranked as the model has them, and published facts.

docs/validation-shape.md has the tables (benchmarks/shape_validation.py prints them).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hardplace.cost.gpu.measured import GemmRows
from hardplace.cost.gpu.models import shipped
from hardplace.cost.gpu.residual import corrected_gemm_s
from hardplace.cost.gpu.timer import GpuTimer
from hardplace.cost.gpu.types import GpuModel
from hardplace.cost.layers.types import Layout, Stream
from hardplace.cost.layers.work import GemmWork, StreamWork
from hardplace.csv_table import Table
from hardplace.ndtypes import Bools, Floats
from hardplace.shaping.price import parameter_counts, step_s
from hardplace.shaping.rank import BAND
from hardplace.shaping.sources import product_error, target
from hardplace.shaping.types import StepConditions, columns
from hardplace.workload.decoder import DecoderShape

TOKENS = (1024, 2048, 3072, 4096, 8192, 16384, 32768)
APART, ALIKE = 0.05, 0.25  # gaps that are to be ranked; ln of FLOPs up to which two layers count as alike
_LEAST = 512
GPT3 = DecoderShape(  # 2.7B, arXiv 2005.14165, table 2.1
    layers=32,
    hidden=2560,
    heads=32,
    kv_heads=32,
    head_dim=80,
    ffn=10240,
    vocab=50257,
    sequence=2048,
    gated=False,
    positions=True,
    tied=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRows:
    """Layers made up of measured GEMMs, columns of one length: measured and predicted seconds of each product, shape
    (layers, products), and FLOPs."""

    measured_s: Floats
    predicted_s: Floats
    flops: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingScore:
    """Pairs of layers on one device whose measured figures differ by more than 5 %, and the share ranked right.

    per_flop: by seconds for each FLOP, any two layers; alike: by seconds, layers whose FLOPs differ by at most 28 %.
    covered: pairs (per FLOP) whose error lies within the band that `shape` prints.
    """

    device: str
    layers: int
    pairs: int
    per_flop: float
    alike_pairs: int
    alike: float
    covered: float
    mean_error: float


def layers_of(rows: GemmRows, model: GpuModel, tokens: int, *, whole: bool) -> LayerRows:
    """Return the layers that held-out measured GEMMs of this many rows make up; nothing of them was fitted.

    Two products: up (n x h) and down (h x f) for every measured pair with a common h. whole: four, QKV and output of
    attention before them, where QKV is 1 to 3 times as wide as the output's depth, and up as wide as f or twice.
    """
    held = rows.take(np.flatnonzero(rows.held_out & (rows.shapes.m == tokens) & (rows.shapes.batch == 1)))
    sizes = list(zip(held.shapes.n.tolist(), held.shapes.k.tolist(), strict=True))
    timer = GpuTimer(model=model)
    m = np.full(len(sizes), tokens, dtype=np.int64)
    predicted = timer.products_s(GemmWork(m=1, n=1, k=1), m, held.shapes.n, held.shapes.k)
    known = {size: place for place, size in enumerate(sizes)}
    made = [[known[one] for one in group] for group in _groups(sorted(known), whole=whole)]
    index = np.array(made, dtype=np.int64).reshape(len(made), 4 if whole else 2)
    flops = 2.0 * tokens * (held.shapes.n * held.shapes.k)[index].sum(axis=1)
    return LayerRows(measured_s=held.time_s[index], predicted_s=predicted[index], flops=flops)


def _groups(sizes: Sequence[tuple[int, int]], *, whole: bool) -> list[tuple[tuple[int, int], ...]]:
    found: list[tuple[tuple[int, int], ...]] = []
    for hidden in sorted({k for _, k in sizes}):
        if hidden < _LEAST:
            continue
        ups = [n for n, k in sizes if k == hidden and n >= _LEAST]
        downs = [k for n, k in sizes if n == hidden and k >= _LEAST]
        mlps = [((up, hidden), (hidden, down)) for up, down in itertools.product(ups, downs)]
        if not whole:
            found += mlps
            continue
        wide = [mlp for mlp in mlps if mlp[0][0] in (mlp[1][1], 2 * mlp[1][1])]
        attention = [one for one in mlps if one[1][1] <= one[0][0] <= 3 * one[1][1]]
        found += [(*one, *mlp) for one, mlp in itertools.product(attention, wide)]
    return found


def linear_layers(rows: GemmRows, model: GpuModel) -> LayerRows:
    """Return linear layers of which forward, input gradient and weight gradient were all measured; every row."""
    sizes = zip(*(getattr(rows.shapes, name).tolist() for name in ("m", "n", "k", "layout", "batch")), strict=True)
    known = {size: place for place, size in enumerate(sizes)}
    made = []
    for m, n, k, layout, batch in known:
        group = [(m, n, k, 0, 1), (m, k, n, 1, 1), (n, k, m, 2, 1)]
        if layout == 0 and batch == 1 and all(one in known for one in group):
            made.append([known[one] for one in group])
    index = np.array(made, dtype=np.int64).reshape(-1, 3)
    predicted = corrected_gemm_s(rows.shapes, model.datasheet, model.gemm, model.residual)
    flops = 2.0 * rows.shapes.m * rows.shapes.n * rows.shapes.k
    return LayerRows(
        measured_s=rows.time_s[index], predicted_s=predicted[index], flops=np.asarray(flops[index].sum(axis=1))
    )


def score(device: str, rows: GemmRows, *, whole: bool) -> RankingScore:
    """Return how well the shipped model of a GPU ranks layers of held-out measured GEMMs, over all TOKENS."""
    model = shipped(device)
    return ranking_of(device, [layers_of(rows, model, tokens, whole=whole) for tokens in TOKENS])


def ranking_of(device: str, batches: Sequence[LayerRows]) -> RankingScore:
    """Return how well layers are ranked within each batch of them, with the device's own band."""
    error = product_error(shipped(device))
    tally = np.zeros(5)
    errors = []
    for made in batches:
        one, other = np.triu_indices(len(made.flops), 1)
        real, ours = (np.log(seconds.sum(axis=1)) for seconds in (made.measured_s, made.predicted_s))
        apart, predicted = real[one] - real[other], ours[one] - ours[other]
        size = np.log(made.flops[one] / made.flops[other])
        by_flop = _right(apart - size, predicted - size)
        by_time = _right(apart, predicted, np.abs(size) < ALIKE)
        shares = made.predicted_s / made.predicted_s.sum(axis=1, keepdims=True)
        square = (shares**2).sum(axis=1)
        band = BAND * error * np.sqrt(square[one] + square[other])
        missed = np.abs(predicted - apart)
        tally += [*by_flop, *by_time, float((missed <= band).mean())]
        errors.append(float(missed.mean()))
    return RankingScore(
        device=device,
        layers=max(len(made.flops) for made in batches),
        pairs=int(tally[1]),
        per_flop=tally[0] / tally[1],
        alike_pairs=int(tally[3]),
        alike=tally[2] / max(1.0, tally[3]),
        covered=tally[4] / len(batches),
        mean_error=float(np.mean(errors)),
    )


def _right(real: Floats, ours: Floats, mask: Bools | bool = True) -> tuple[float, float]:
    """Return how many pairs are ranked right, and how many there are to rank."""
    counted = (np.abs(real) > np.log1p(APART)) & mask
    return float((np.sign(real) == np.sign(ours))[counted].sum()), float(counted.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class StepScore:
    """Pairs of whole measured steps that differ by more than 5 %, and the share ranked right: by seconds, and by
    seconds for each parameter."""

    pairs: int
    right: float
    parameter_pairs: int
    parameter_right: float


def steps_ranked(table: Table, *, most_tensor: int, least_micro_batch: int) -> StepScore:
    """Return how whole measured steps of GPTs on A100 are ranked, two shapes at equal degrees and batch at a time.

    table: columns of validation/training; one pipeline stage, no flag, tensor-parallel degree and micro-batch within
    bounds. Recompute, optimizer and replicas are in the measured times of both and in the predicted ones of neither.
    """
    groups: dict[tuple[int, ...], list[dict[str, str]]] = {}
    for cells in table.rows:
        row = dict(zip(table.columns, cells, strict=True))
        degrees = tuple(int(row[name]) for name in ("tp", "micro_batch", "dp", "global_batch"))
        within = degrees[0] <= most_tensor and degrees[1] >= least_micro_batch
        if within and row["pp"] == "1" and not row["flag"] and row["target_iter_s"]:
            groups.setdefault(degrees, []).append(row)
    tally = np.zeros(4)
    for (tensor, micro_batch, *_), rows in groups.items():
        shapes = columns([_small_gpt(row) for row in rows])
        where = StepConditions(micro_batch=micro_batch, tensor=tensor, attention="unfused")
        ours = np.log(step_s(shapes, where, target("a100-80gb-sxm", where).timer))
        real = np.log([float(row["target_iter_s"]) for row in rows])
        size = np.log(parameter_counts(shapes))
        one, other = np.triu_indices(len(rows), 1)
        apart, predicted, more = (column[one] - column[other] for column in (real, ours, size))
        tally += [*_right(apart, predicted), *_right(apart - more, predicted - more)]
    return StepScore(
        pairs=int(tally[1]),
        right=tally[0] / tally[1],
        parameter_pairs=int(tally[3]),
        parameter_right=tally[2] / tally[3],
    )


def _small_gpt(row: dict[str, str]) -> DecoderShape:
    hidden, heads = int(row["hidden"]), int(row["heads"])
    changed = {name: int(row[name]) for name in ("layers", "hidden", "heads", "kv_heads", "ffn", "vocab")}
    return replace(GPT3, **changed, head_dim=hidden // heads, sequence=int(row["seq"]))  # type: ignore[arg-type]


def swiglu_ratio(tokens: int) -> float:
    """Return the rate of a SwiGLU MLP of width 10922 over one of 11008 at h = 4096 on H100 (published: 0.69)."""
    timer = GpuTimer(model=shipped("h100-sxm"))

    def rate(width: int) -> float:
        sizes = np.array([tokens]), np.array([width]), np.array([4096])
        up, down = (
            float(timer.products_s(GemmWork(m=1, n=1, k=1), *one)[0]) for one in (sizes, (sizes[0], *sizes[:0:-1]))
        )
        return width / (2.0 * up + down)

    return rate(10922) / rate(11008)


def vocabulary_share(device: str, attention: str, micro_batch: int) -> float:
    """Return the share of a step of GPT-3 2.7B that padding its vocabulary to 50304 saves (published: 3-6 %)."""
    seconds = _steps(device, attention, micro_batch, replace(GPT3, vocab=50304))
    return 1.0 - seconds[1] / seconds[0]


def heads_speedup(device: str, attention: str, micro_batch: int) -> float:
    """Return the speed-up of GPT-3 2.7B with 20 heads of 128 over 32 of 80 (published, A100, unfused: about 1.17)."""
    seconds = _steps(device, attention, micro_batch, replace(GPT3, heads=20, kv_heads=20, head_dim=128))
    return seconds[0] / seconds[1]


def _steps(device: str, attention: str, micro_batch: int, other: DecoderShape) -> list[float]:
    """Return seconds of GPT-3 2.7B and of another shape, as their kernels take alone, which is what was published."""
    conditions = StepConditions(micro_batch=micro_batch, attention=attention)
    timer = GpuTimer(model=shipped(device), attention=attention)
    return [float(one) for one in step_s(columns([GPT3, other]), conditions, timer)]


def measured_layer(table: Table) -> tuple[float, float]:
    """Return predicted and measured seconds of a layer's operators (validation/gpu/gpt3_layer_*.csv); collectives count
    in both as they were measured."""
    timer = GpuTimer(model=shipped("a100-80gb-sxm"))
    predicted = measured = 0.0
    for cells in table.rows:
        row = dict(zip(table.columns, cells, strict=True))
        seconds = float(row["us"]) * 1e-6
        measured += seconds
        if row["operator"] == "all_reduce":
            predicted += seconds
        elif row["m"]:
            m, n, k = (np.array([int(row[name])]) for name in ("m", "n", "k"))
            like = GemmWork(m=1, n=1, k=1, batch=int(row["batch"]), layout=Layout(row["layout"]))
            predicted += float(timer.products_s(like, m, n, k)[0])
        else:
            moved, length = np.array([float(row["bytes"])]), np.array([int(row["row"] or 0)])
            predicted += float(timer.moved_s(StreamWork(kind=Stream(row["operator"]), bytes=0.0), moved, length)[0])
    return predicted, measured
