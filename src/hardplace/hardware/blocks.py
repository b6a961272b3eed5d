"""Area of the blocks of a chip at a node, vectorised over chips (mm2). Equations in docs/model-chips.md."""

from __future__ import annotations

import numpy as np

from hardplace.hardware.technology import (
    ADD_UM2,
    BITS,
    FLIPFLOP_UM2,
    FOUR_INPUT_AREA,
    LAYOUT,
    LAYOUT_GROWTH,
    MULTIPLY_UM2,
    SPECIAL_FUNCTIONS,
    SRAM_LAYOUT_256K,
    SRAM_LAYOUT_GROWTH,
    TWO_PORTS,
    Technology,
)
from hardplace.ndtypes import Floats, Ints
from hardplace.units import KIB, UM2_PER_MM2

_SUM_BITS = 32
_MORE_TYPES = 0.1  # of an element's area for every further type of operand (C)


def element_bits(dtype: str) -> int:
    """Return the flip-flop bits of an array's element: two stationary operands, one that passes, the sum, its skew."""
    bits = BITS[dtype]
    return 3 * bits + _SUM_BITS + (bits + _SUM_BITS) // 2


def element_um2_45(dtype: str, types: int = 1) -> float:
    """Return cell area of one multiply-accumulate element at 45 nm, before layout."""
    add = ADD_UM2["int32"] if dtype == "int8" else FOUR_INPUT_AREA * ADD_UM2["fp32"]
    cells = MULTIPLY_UM2[dtype] + add + element_bits(dtype) * FLIPFLOP_UM2
    return cells * (1.0 + _MORE_TYPES * (types - 1))


def layout(rows: Ints | Floats, columns: Ints | Floats) -> Floats:
    """Return placed and routed area over cell area of an array; it grows with the array's side from 16 to 256."""
    side = np.clip(np.sqrt(np.asarray(rows, dtype=np.float64) * columns), 16.0, 256.0)
    return np.asarray(LAYOUT * (side / 16.0) ** LAYOUT_GROWTH)


def array_mm2(rows: Ints | Floats, columns: Ints | Floats, dtype: str, tech: Technology, types: int = 1) -> Floats:
    """Return area of one array of multiply-accumulate elements with their registers."""
    cells = element_um2_45(dtype, types) * tech.logic_scale
    return np.asarray(np.asarray(rows, dtype=np.float64) * columns * cells * layout(rows, columns) / UM2_PER_MM2)


def lane_mm2(tech: Technology) -> float:
    """Return area of one fp32 vector lane: multiply-add, 32 registers, special functions."""
    cells = MULTIPLY_UM2["fp32"] + ADD_UM2["fp32"] + 32 * 32 * FLIPFLOP_UM2
    return cells * SPECIAL_FUNCTIONS * LAYOUT * tech.logic_scale / UM2_PER_MM2


def sram_mm2(size_bytes: Ints | Floats, tech: Technology, ports: int = 1) -> Floats:
    """Return area of an SRAM: bit cells times an overhead that grows with its size from 64 KiB to 128 MiB."""
    size = np.asarray(size_bytes, dtype=np.float64)
    doublings = np.log2(np.clip(size, 64.0 * KIB, 128.0 * 1024 * KIB) / (256.0 * KIB))
    overhead = SRAM_LAYOUT_256K + SRAM_LAYOUT_GROWTH * doublings
    cell = tech.bitcell_um2 * (TWO_PORTS if ports > 1 else 1.0)
    return np.asarray(8.0 * size * cell * overhead / UM2_PER_MM2)
