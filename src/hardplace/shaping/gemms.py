"""Every GEMM of a step with what decides its speed: alignment, tile, waves, rate, share of the step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hardplace.cost.arrays.timer import ArrayTimer
from hardplace.cost.gpu.gemm import LAYOUTS, Gemms
from hardplace.cost.gpu.tiles import tiling
from hardplace.cost.gpu.timer import GpuTimer
from hardplace.cost.layers.timer import Timer, kernels_s
from hardplace.cost.layers.types import Layout
from hardplace.cost.layers.work import AttentionWork, GemmWork, LayerWork, Work
from hardplace.cost.one_chip.array_kernels import held_operand
from hardplace.cost.types import Dataflow, Matmul

_ITEM_BYTES = 2
_ALIGNMENT = 128  # bytes: beyond, a larger power of two is no faster


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmRow:
    """The GEMMs of one size: how many a step has, and the model's view of one of them.

    Attributes:
        what: What they are, in words.
        count: How many a step has.
        m: Rows of the result.
        n: Columns of the result.
        k: Depth of the sum.
        batch: Independent products of one.
        layout: Layout of the operands: TN, NN or NT.
        leading: Leading dimension of each operand and of the result.
        alignment_bytes: Largest power of two, at most 128, in each.
        tile: Rows x columns (/ parts of k) on a GPU, the operand that is held on a chip with arrays.
        waves: Waves of tiles; only on a GPU.
        wave_efficiency: Share of the waves' tiles that are used; only on a GPU.
        edge_efficiency: Share of the tiles' or arrays' work that is the GEMM's.
        seconds: Seconds of one.
        flops_per_s: Rate of one.
        share: Share of the step's seconds, all of them together.
    """

    what: tuple[str, ...]
    count: int
    m: int
    n: int
    k: int
    batch: int
    layout: str
    leading: tuple[int, int, int]
    alignment_bytes: tuple[int, int, int]
    tile: str
    waves: int | None
    wave_efficiency: float | None
    edge_efficiency: float | None
    seconds: float
    flops_per_s: float
    share: float


Layers = Sequence[tuple[LayerWork, int, tuple[str, ...]]]  # a layer, how often, what its forward products are, in order


def works_of(layer: LayerWork) -> tuple[Work, ...]:
    """Return all that a layer does in a step."""
    return (*layer.forward, *layer.again, *layer.backward)


def gemm_rows(layers: Layers, timer: Timer, step_s: float) -> tuple[GemmRow, ...]:
    """Return the GEMMs of a step, equal ones merged, the largest share first."""
    unfused = getattr(timer, "attention", "") == "unfused" or not getattr(timer, "flash", True)
    found: dict[GemmWork, tuple[list[str], int]] = {}
    for layer, times, names in layers:
        named = _names(layer, names)
        for work in works_of(layer):
            for product, what, count in _products(work, named, layer.name, unfused=unfused):
                whats, before = found.get(product, ([], 0))
                found[product] = whats if what in whats else [*whats, what], before + count * times
    products = tuple(found)
    seconds = kernels_s(products, timer, 1)[:, 0]
    details = _details(products, timer)
    rows = []
    for product, one_s, detail in zip(products, seconds.tolist(), details, strict=True):
        whats, count = found[product]
        leading = _leading(product)
        rows.append(
            GemmRow(
                what=tuple(whats),
                count=count,
                m=product.m,
                n=product.n,
                k=product.k,
                batch=product.batch,
                layout=product.layout.value,
                leading=leading,
                alignment_bytes=tuple(min(_ALIGNMENT, _ITEM_BYTES * (size & -size)) for size in leading),  # type: ignore[arg-type]
                tile=detail.tile,
                waves=detail.waves,
                wave_efficiency=detail.wave_efficiency,
                edge_efficiency=detail.edge_efficiency,
                seconds=one_s,
                flops_per_s=product.flops / one_s,
                share=one_s * count / step_s,
            )
        )
    return tuple(sorted(rows, key=lambda row: -row.share))


def _names(layer: LayerWork, names: tuple[str, ...]) -> dict[GemmWork, str]:
    """Return what each product of a layer is, from the names of its forward ones; gradients by their sizes."""
    found: dict[GemmWork, str] = {}
    forward = [one for one in layer.forward if isinstance(one, GemmWork)]
    backward = [one for one in layer.backward if isinstance(one, GemmWork)]
    for place, one in enumerate(forward):
        name = names[place] if place < len(names) else f"{layer.name} product {place + 1}"
        for made, what in ((one, "forward"), *((other, _gradient(one, other)) for other in backward)):
            if what and made not in found:
                found[made] = f"{name} {what}"
    return found


def _gradient(forward: GemmWork, other: GemmWork) -> str:
    """Return which gradient of a product another one is; nothing if it is none."""
    if other.batch != forward.batch:
        return ""
    sizes = (other.m, other.n, other.k)
    if sizes == (forward.m, forward.k, forward.n) and other.layout is not Layout.NT:
        return "dgrad"
    return "wgrad" if sizes == (forward.n, forward.k, forward.m) else ""


def _products(
    work: Work, named: dict[GemmWork, str], layer: str, *, unfused: bool
) -> Iterable[tuple[GemmWork, str, int]]:
    if isinstance(work, GemmWork):
        yield replace(work, low=True), named.get(work, f"{layer} product"), 1
    elif isinstance(work, AttentionWork) and unfused:
        times, phase = (2, "backward") if work.backward else (1, "forward")
        batch = work.batch * work.heads
        scores = GemmWork(m=work.queries, n=work.keys, k=work.head_dim, batch=batch)
        values = GemmWork(m=work.queries, n=work.head_dim, k=work.keys, batch=batch, layout=Layout.NN)
        yield scores, f"attention scores {phase}", times
        yield values, f"attention values {phase}", times


def _leading(one: GemmWork) -> tuple[int, int, int]:
    """Return the leading dimensions of left and right operand and result (docs/model-gpu.md, GEMM)."""
    left = one.m if one.layout is Layout.NT else one.k
    return left, one.k if one.layout is Layout.TN else one.n, one.n


@dataclass(frozen=True, slots=True, kw_only=True)
class _Detail:
    tile: str
    waves: int | None = None
    wave_efficiency: float | None = None
    edge_efficiency: float | None = None


def _details(products: Sequence[GemmWork], timer: Timer) -> list[_Detail]:
    if isinstance(timer, GpuTimer):
        return _tiles(products, timer)
    if isinstance(timer, ArrayTimer):
        return [_held(one, timer) for one in products]
    return [_Detail(tile="-") for _ in products]


def _tiles(products: Sequence[GemmWork], timer: GpuTimer) -> list[_Detail]:
    shapes = Gemms(
        **{
            name: np.array([getattr(one, name) for one in products], dtype=np.int64)
            for name in ("m", "n", "k", "batch")
        },
        layout=np.array([LAYOUTS.index(one.layout) for one in products], dtype=np.int64),
        output_bytes=np.array([one.output_bytes for one in products], dtype=np.float64),
    )
    found = tiling(shapes, timer.model.datasheet, timer.model.gemm)
    return [
        _Detail(
            tile=f"{found.rows[i]}x{found.columns[i]}" + (f"/{found.split[i]}" if found.split[i] > 1 else ""),
            waves=int(found.waves[i]),
            wave_efficiency=float(found.wave_efficiency[i]),
            edge_efficiency=float(found.edge_efficiency[i]),
        )
        for i in range(len(products))
    ]


def _held(one: GemmWork, timer: ArrayTimer) -> _Detail:
    """Return the operand that the arrays hold, and the share of their cells that its edges leave at work."""
    chips = timer.machine.chips
    held = held_operand(Matmul(batch=one.batch, m=one.m, n=one.n, k=one.k), timer.machine)
    deep, wide = {Dataflow.WEIGHT: (one.k, one.n), Dataflow.INPUT: (one.k, one.m), Dataflow.OUTPUT: (one.m, one.n)}[
        held
    ]
    rows, columns = int(chips.array_rows[0]), int(chips.array_columns[0])
    filled = deep * wide / (-(-deep // rows) * rows * -(-wide // columns) * columns)
    return _Detail(tile=f"{held.value} held", edge_efficiency=filled)
