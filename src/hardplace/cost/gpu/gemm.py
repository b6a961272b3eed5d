"""Time of a GEMM on a GPU: the best of tiles and splits, each a norm of waves, memory, L2 and power.

Equations, assumptions and sources: docs/model-gpu.md, GEMM.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hardplace.cost.gpu.types import Datasheet, GemmParameters
from hardplace.cost.layers.types import Layout
from hardplace.errors import BadInput
from hardplace.ndtypes import Floats, Ints
from hardplace.workload.decoder import LARGEST

STEP = 32  # along k, of one trip of a tile's loop
Tile = tuple[int, int, tuple[int, ...]]  # rows and columns, and the splits along k that are tried with it, 1 first
TILES: tuple[Tile, ...] = (
    (256, 128, (1, 2, 4)),
    (128, 256, (1, 2, 4)),
    (128, 128, (1, 2, 4, 8)),
    (64, 256, (1, 2, 4)),
    (128, 64, (1, 2, 4)),
    (64, 128, (1, 2, 4, 8)),
    (64, 64, (1, 4, 16)),
    (32, 128, (1, 2, 8)),
    (32, 64, (1, 4, 16)),
    (16, 128, (1, 4)),
    (16, 32, (1, 4, 16)),
)
SPLITS = (1, 2, 4, 8, 16)
LAYOUTS = (Layout.TN, Layout.NN, Layout.NT)
_WAVE_TILE = 128.0 * 256.0  # elements of the tile that a wave's footprint is reckoned with
_CHUNK = 8192  # GEMMs a pass: the arrays of a pass stay in the cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Gemms:
    """Many GEMMs as arrays of one length: batch products of (m x k) and (k x n), 16-bit operands.

    Attributes:
        m: Rows of the result.
        n: Columns of the result.
        k: Depth of the sum.
        batch: Number of products.
        layout: Index into LAYOUTS.
        output_bytes: Bytes moved for an element of the result: 2 in 16 bit, 8 for a weight gradient that is added up in
            fp32.
    """

    m: Ints
    n: Ints
    k: Ints
    batch: Ints
    layout: Ints
    output_bytes: Floats

    def __len__(self) -> int:
        return len(self.m)

    def __getitem__(self, part: slice) -> Gemms:
        return Gemms(
            m=self.m[part], n=self.n[part], k=self.k[part], batch=self.batch[part], layout=self.layout[part],
            output_bytes=self.output_bytes[part],
        )  # fmt: skip


def gemms(
    m: npt.ArrayLike,
    n: npt.ArrayLike,
    k: npt.ArrayLike,
    *,
    batch: npt.ArrayLike = 1,
    layout: Layout = Layout.TN,
    output_bytes: npt.ArrayLike = 2.0,
) -> Gemms:
    """Return GEMMs of these sizes, broadcast against each other; sizes from 1 to 2^20 (BadInput otherwise)."""
    sizes = [np.asarray(size, dtype=np.int64) for size in (m, n, k, batch)]
    for size in sizes:
        if size.size and (size.min() < 1 or size.max() > LARGEST):
            seen = size.max() if size.min() >= 1 else size.min()
            raise BadInput(
                f"a matrix product with a size of {seen}: expected 1 to {LARGEST}, as the GPU model knows them"
            )
    codes = np.asarray(LAYOUTS.index(layout))
    arrays = np.broadcast_arrays(*sizes, codes, np.asarray(output_bytes, dtype=np.float64))
    rows, columns, depth, times, kind, written = (np.ascontiguousarray(one).reshape(-1) for one in arrays)
    return Gemms(m=rows, n=columns, k=depth, batch=times, layout=kind, output_bytes=written)


def in_range(*sizes: npt.ArrayLike) -> tuple[list[Ints], Ints]:
    """Return sizes of GEMMs with each above 2^20 as several equal parts, and how many GEMMs that is of each."""
    found, times = [], np.ones(1, dtype=np.int64)
    for size in sizes:
        whole = np.asarray(size, dtype=np.int64)
        parts = np.maximum(1, -(-whole // LARGEST))
        found.append(-(-whole // parts))
        times = times * parts
    return found, np.asarray(times)


def gemm_s(shapes: Gemms, devices: Sequence[tuple[Datasheet, GemmParameters]], tiles: Sequence[Tile] = TILES) -> Floats:
    """Return the seconds of each GEMM on each device, shape (GEMMs, devices).

    Positive, and never less for a larger k of the same alignment.

    Args:
        shapes: The GEMMs.
        devices: Datasheet and fitted figures of each device.
        tiles: Tiles to choose from; each is tried without a split too.

    Source: docs/model-gpu.md, GEMM.
    """
    aligned = alignment_bits(shapes)
    result = np.empty((len(devices), len(shapes)))
    for row, (sheet, fitted) in zip(result, devices, strict=True):
        rates = _rates(sheet, fitted)
        misaligned = np.array(fitted.alignment)[aligned]
        for start in range(0, len(shapes), _CHUNK):
            part = slice(start, start + _CHUNK)
            m, n, k, batch = (
                np.asarray(one[part], dtype=np.float64) for one in (shapes.m, shapes.n, shapes.k, shapes.batch)
            )
            row[part] = _best(rates, m, n, k, batch, shapes.output_bytes[part], misaligned[part], tiles)
        row *= np.array(fitted.layout)[shapes.layout]
        row += fitted.launch_s
    return np.ascontiguousarray(result.T)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rates:
    """The figures of one device in seconds a unit of work."""

    multiprocessors: int
    flop_s: float  # on one multiprocessor
    tile_byte_s: float
    l2_byte_s: float
    dram_byte_s: float
    reread: float
    warm: float
    l2_bytes: float
    tile_start_s: float
    step_s: float
    rounding: float
    power_flop_s: float
    power_byte_s: float
    split_s: float
    split_byte_s: float


def _rates(sheet: Datasheet, fitted: GemmParameters) -> _Rates:
    count, clock_hz, bandwidth = sheet.multiprocessors, sheet.clock_hz, sheet.memory_bandwidth_bytes_per_s
    return _Rates(
        multiprocessors=count,
        flop_s=count / (sheet.tensor_flops_per_s * fitted.tensor_efficiency),
        tile_byte_s=1.0 / (fitted.tile_bytes_per_cycle * clock_hz),
        l2_byte_s=1.0 / (fitted.l2_bytes_per_cycle * clock_hz * count),
        dram_byte_s=1.0 / (bandwidth * fitted.dram_efficiency),
        reread=fitted.reread,
        warm=fitted.warm,
        l2_bytes=sheet.l2_bytes,
        tile_start_s=fitted.tile_start_s,
        step_s=fitted.step_s,
        rounding=fitted.wave_rounding,
        power_flop_s=fitted.joule_per_flop / sheet.power_w,
        power_byte_s=fitted.joule_per_byte / sheet.power_w,
        split_s=fitted.split_s,
        split_byte_s=1.0 / (bandwidth * fitted.split_bandwidth),
    )


def memory_bytes(shapes: Gemms, sheet: Datasheet, fitted: GemmParameters) -> Floats:
    """Return the bytes of each GEMM through memory as the model has them, shape (GEMMs,)."""
    m, n, k, batch = (np.asarray(one, dtype=np.float64) for one in (shapes.m, shapes.n, shapes.k, shapes.batch))
    return _memory_bytes(_rates(sheet, fitted), m, n, k, batch, shapes.output_bytes)


def alignment_bits(shapes: Gemms) -> Ints:
    """Return log2 of the largest power of two, at most 64, that divides the leading dimensions of all operands.

    Row-major: TN has k, k and n; NN has k, n and n; NT has m, n and n (docs/model-gpu.md, GEMM).
    """
    inner = np.where(shapes.layout == LAYOUTS.index(Layout.NT), shapes.m, shapes.k)
    bits = inner | shapes.n | 64
    return np.asarray(np.log2(bits & -bits).astype(np.int64))


def _fourth(value: Floats) -> Floats:
    square = value * value
    return square * square


def _root(value: Floats) -> Floats:
    """Return the fourth root."""
    return np.asarray(np.sqrt(np.sqrt(value)))


def _memory_bytes(r: _Rates, m: Floats, n: Floats, k: Floats, batch: Floats, output_bytes: Floats) -> Floats:
    """Return the bytes that go through memory: operands and result once, less what is warm, more what is read again.

    A wave of tiles is taken as a square of side sqrt(multiprocessors * tile); operands that it shares with other waves
    are read again as far as they do not stay in the L2.
    """
    operands = 2.0 * batch * (m * k + n * k)
    written = output_bytes * batch * m * n
    side = np.sqrt(r.multiprocessors * _WAVE_TILE)
    waves = 4.0 * batch * m * n * k / np.minimum(side, np.maximum(m, n))
    footprint = 2.0 * (m * k + n * k) / r.l2_bytes
    missed = r.reread * footprint / (1.0 + footprint)
    once = operands + written
    found = r.warm / (1.0 + _fourth(once / r.l2_bytes))
    return np.asarray(once * (1.0 - found) + np.maximum(waves - operands, 0.0) * missed)


def _best(
    r: _Rates,
    m: Floats,
    n: Floats,
    k: Floats,
    batch: Floats,
    output_bytes: Floats,
    misaligned: Floats,
    tried: Sequence[Tile],
) -> Floats:
    """Return the least time over tiles and splits, without launch.

    Fourth powers are compared within a number of splits, so that roots are drawn once for each number.
    """
    dram = _memory_bytes(r, m, n, k, batch, output_bytes)
    power = 2.0 * batch * m * n * k * misaligned * r.power_flop_s + dram * r.power_byte_s
    down = {rows: batch * np.ceil(m / rows) for rows in {rows for rows, _, _ in tried}}
    across = {columns: np.ceil(n / columns) for columns in {columns for _, columns, _ in tried}}
    steps = {split: np.ceil(k / (STEP * split)) for split in SPLITS}
    least: dict[int, Floats] = {}
    for rows, columns, splits in tried:
        tiles = down[rows] * across[columns]
        load = STEP * 2.0 * (rows + columns)
        step = math.hypot((STEP * 2.0 * rows * columns * r.flop_s) ** 2, (load * r.tile_byte_s) ** 2) ** 0.5
        step_s = step * misaligned + r.step_s
        start_s = r.tile_start_s + 2.0 * rows * columns * r.tile_byte_s
        for split in splits:
            share = tiles * (split / r.multiprocessors)
            waves = np.ceil(share)
            waves -= share
            waves *= r.rounding
            waves += share
            np.maximum(waves, 1.0, out=waves)
            on_tiles = steps[split] * step_s
            on_tiles += start_s
            on_tiles *= waves
            through_l2 = tiles * steps[split] * (split * load * r.l2_byte_s)
            fourth = _fourth(on_tiles)
            fourth += _fourth(through_l2)
            least[split] = fourth if split not in least else np.minimum(least[split], fourth, out=fourth)
    fixed = _fourth(dram * r.dram_byte_s) + _fourth(power)
    best = _root(least.pop(1) + fixed)
    partial_s = 8.0 * batch * m * n * r.split_byte_s
    for split, fourth in least.items():
        np.minimum(best, _root(fourth + fixed) + (r.split_s + split * partial_s), out=best)
    return best
