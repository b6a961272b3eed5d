"""Which tile a GEMM takes in the model, and how well its tiles fill the GPU (docs/model-gpu.md, GEMM)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardplace.cost.gpu.gemm import TILES, Gemms, gemm_s
from hardplace.cost.gpu.types import Datasheet, GemmParameters
from hardplace.ndtypes import Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """Of each GEMM, columns of one length: rows and columns of its tile, parts of k; tiles in all, waves of them.

    wave_efficiency: share of the multiprocessors that have a tile, over all waves; edge_efficiency: share of the tiles'
    elements that are of the result.
    """

    rows: Ints
    columns: Ints
    split: Ints
    tiles: Ints
    waves: Ints
    wave_efficiency: Floats
    edge_efficiency: Floats


def tiling(shapes: Gemms, sheet: Datasheet, fitted: GemmParameters) -> Tiling:
    """Return the tile and split of each GEMM with the least time in the model, without the learned correction."""
    device = [(sheet, fitted)]
    best = np.full(len(shapes), np.inf)
    rows, columns, split = (np.ones(len(shapes), dtype=np.int64) for _ in range(3))
    for high, wide, splits in TILES:
        for parts in splits:
            tried = (1,) if parts == 1 else (1, parts)
            seconds = gemm_s(shapes, device, ((high, wide, tried),))[:, 0]
            better = seconds < best
            best = np.where(better, seconds, best)
            for column, value in ((rows, high), (columns, wide), (split, parts)):
                column[better] = value
    down, across = -(-shapes.m // rows), -(-shapes.n // columns)
    tiles = shapes.batch * down * across * split
    waves = -(-tiles // sheet.multiprocessors)
    return Tiling(
        rows=rows,
        columns=columns,
        split=split,
        tiles=tiles,
        waves=waves,
        wave_efficiency=np.asarray(tiles / (waves * sheet.multiprocessors)),
        edge_efficiency=np.asarray(1.0 * shapes.m * shapes.n / (down * rows * across * columns)),
    )
