"""PHAZE's space of chips and its linear area model (arXiv 2407.13143; coefficients from its public release)."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from hardplace.errors import BadInput
from hardplace.hardware.types import Accelerator, Budget, Chips, Setting
from hardplace.ndtypes import Floats, Ints
from hardplace.units import KIB, MIB, UM2_PER_MM2

# um^2 at 45 nm, exact to 1.7e-14 on the release's 29,360 points. Integer MACs, nothing for HBM, NoC, I/O.
TENSOR_LANE_UM2 = 760.0413860000037
VECTOR_LANE_UM2 = 759.8238530000071
CORE_BUFFER_UM2 = {
    1 * KIB: 6133.979999999931,
    2 * KIB: 8248.42999999952,
    4 * KIB: 12610.49999999879,
    8 * KIB: 22139.899999999107,
    16 * KIB: 38582.99999999481,
    32 * KIB: 63338.39999999727,
    64 * KIB: 115578.99999997795,
    128 * KIB: 204763.99999999203,
    256 * KIB: 446564.9999999014,
    512 * KIB: 897890.0000000177,
    1024 * KIB: 1634129.9999999986,
}
GLOBAL_BUFFER_UM2 = {
    2 * MIB: 3338219.999999942,
    4 * MIB: 6078639.999999979,
    8 * MIB: 11952399.999999952,
    16 * MIB: 23745200.00000008,
    32 * MIB: 46750900.000000015,
    64 * MIB: 88605699.99999991,
    128 * MIB: 175422999.99999982,
}

CORES = tuple(2**power for power in range(13))
SIDES = tuple(2**power for power in range(1, 9))
TPUV4 = (8, 128, 128, 2, 128, 128 * MIB)
_TEXT = re.compile(r"(\d+)x(\d+)x(\d+)[-+](\d+)x(\d+)[-,]\s*(\d+)\s*MiB", re.ASCII)
_MOST_CORES = 2**16  # of a kind, and lanes or rows
LEAST_SHARE = 0.3  # of the budget; PHAZE drops smaller chips unless they have one core of either kind


def _lookup(table: dict[int, float], sizes: Ints) -> Floats:
    keys = np.array(sorted(table), dtype=np.int64)
    position = np.searchsorted(keys, sizes)
    if np.any(keys[np.minimum(position, len(keys) - 1)] != sizes):
        raise BadInput(f"buffer sizes: expected {', '.join(str(key) for key in keys)} bytes, the area model's points")
    return np.array([table[int(key)] for key in keys])[position]


def area_mm2(chips: Chips) -> Floats:
    """Return die area (mm^2), shape (chips,); BadInput where a buffer is not one of the model's sizes."""
    array = chips.array_rows * chips.array_columns
    area_um2 = (
        TENSOR_LANE_UM2 * chips.tensor_cores * array
        + VECTOR_LANE_UM2 * chips.vector_cores * chips.vector_lanes
        + chips.tensor_cores * _lookup(CORE_BUFFER_UM2, chips.core_buffer_bytes)
        + chips.vector_cores * _lookup(CORE_BUFFER_UM2, chips.vector_buffer_bytes)
        + _lookup(GLOBAL_BUFFER_UM2, chips.buffer_bytes)
    )
    return np.asarray(area_um2 / UM2_PER_MM2)


def core_areas_mm2(chips: Chips) -> tuple[Floats, Floats, Floats]:
    """Return the area (mm^2) of one tensor core, of one vector core and of the shared buffer, each of shape (chips,).

    With the numbers of cores they add up to `area_mm2`.
    """
    array = chips.array_rows * chips.array_columns
    tensor = TENSOR_LANE_UM2 * array + _lookup(CORE_BUFFER_UM2, chips.core_buffer_bytes)
    vector = VECTOR_LANE_UM2 * chips.vector_lanes + _lookup(CORE_BUFFER_UM2, chips.vector_buffer_bytes)
    buffer = _lookup(GLOBAL_BUFFER_UM2, chips.buffer_bytes)
    return tuple(np.asarray(one / UM2_PER_MM2) for one in (tensor, vector, buffer))  # type: ignore[return-value]


def chips_from_rows(rows: Ints) -> Chips:
    """Return chips from rows (tensor cores, array rows, array columns, vector cores, lanes, buffer bytes)."""
    names = ("tensor_cores", "array_rows", "array_columns", "vector_cores", "vector_lanes", "buffer_bytes")
    columns = dict(zip(names, rows.T, strict=True))
    return replace(chips := Chips(**columns, area_mm2=np.zeros(len(rows))), area_mm2=area_mm2(chips))


def phaze_points() -> Chips:
    """Return all 75,712 points of PHAZE's space: a vector core has as many lanes as an array has columns."""
    axes = [
        (tensor_cores, depth, width, vector_cores, width, buffer_bytes)
        for tensor_cores in CORES
        for width in SIDES
        for depth in SIDES
        for vector_cores in CORES
        for buffer_bytes in GLOBAL_BUFFER_UM2
    ]
    return chips_from_rows(np.array(axes, dtype=np.int64))


def tpuv4() -> Chips:
    """Return PHAZE's TPUv4-like chip, whose area (278.83 mm^2) is the default budget."""
    return chips_from_rows(np.array([TPUV4], dtype=np.int64))


def default_budget() -> Budget:
    """Return PHAZE's area budget, the area of its TPUv4-like chip."""
    return Budget(area_mm2=float(tpuv4().area_mm2[0]))


def phaze_space(budget: Budget) -> Chips:
    """Return the points within 0.3 to 1 times the budget; the lower limit is waived for one core of either kind.

    Raises BadInput if no point meets the budget.
    """
    points = phaze_points()
    slack = 1e-9 * budget.area_mm2
    single = (points.tensor_cores == 1) | (points.vector_cores == 1)
    large = (points.area_mm2 >= LEAST_SHARE * budget.area_mm2 - slack) | single
    kept = np.flatnonzero(large & (points.area_mm2 <= budget.area_mm2 + slack))
    if not len(kept):
        raise BadInput(
            f"area budget {budget.area_mm2:g} mm2: no chip of the space meets it; the smallest has "
            f"{points.area_mm2.min():.3g} mm2"
        )
    return points.take(kept)


def name(chips: Chips, index: int) -> str:
    """Return a chip's name by its sizes, e.g. 8x128x128-2x128-128MiB (tensor cores, vector cores, buffer)."""
    return (
        f"{chips.tensor_cores[index]}x{chips.array_rows[index]}x{chips.array_columns[index]}-"
        f"{chips.vector_cores[index]}x{chips.vector_lanes[index]}-{chips.buffer_bytes[index] // MIB}MiB"
    )


def chips_of(chip: Accelerator) -> Chips:
    """Return one chip as columns of length one."""
    names = ("tensor_cores", "array_rows", "array_columns", "vector_cores", "vector_lanes", "buffer_bytes")
    columns = {one: np.array([getattr(chip, one)], dtype=np.int64) for one in names}
    return Chips(**columns, area_mm2=np.array([chip.area_mm2]), clock_hz=np.array([chip.clock_hz]))


def accelerator(chips: Chips, index: int, setting: Setting, memory_bytes: float) -> Accelerator:
    """Return one chip of many, with its clock or the setting's, and the setting's memory system and links."""
    clock_hz = float(chips.clocks_hz(setting)[index])
    return Accelerator(
        name=name(chips, index),
        tensor_cores=int(chips.tensor_cores[index]),
        array_rows=int(chips.array_rows[index]),
        array_columns=int(chips.array_columns[index]),
        vector_cores=int(chips.vector_cores[index]),
        vector_lanes=int(chips.vector_lanes[index]),
        buffer_bytes=int(chips.buffer_bytes[index]),
        clock_hz=clock_hz,
        memory_bytes=memory_bytes,
        memory_bandwidth_bytes_per_s=setting.memory_bandwidth_bytes_per_s,
        buffer_bandwidth_bytes_per_s=setting.buffer_bandwidth_bytes_per_s * (clock_hz / setting.clock_hz),
        area_mm2=float(chips.area_mm2[index]),
    )


def chip_of_text(text: str) -> Chips:
    """Return the one chip that a text stands for, such as 8x128x128-2x128-128MiB or 8x128x128+2x128,128MiB.

    Args:
        text: Tensor cores x rows x columns, vector cores x lanes, buffer.

    Raises:
        BadInput: For any other text, and for a buffer that the area model does not have.
    """
    expected = "a chip such as 8x128x128-2x128-128MiB (tensor cores, vector cores, buffer)"
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise BadInput("chip", repr(text), expected)
    sizes = [int(digits) for digits in match.groups()]
    if not all(0 < size <= _MOST_CORES for size in sizes):
        raise BadInput("chip", repr(text), f"numbers from 1 to {_MOST_CORES}; {expected}")
    if sizes[5] * MIB not in GLOBAL_BUFFER_UM2:
        known = ", ".join(str(size // MIB) for size in GLOBAL_BUFFER_UM2)
        raise BadInput("chip", repr(text), f"a buffer of {known} MiB, which the area model has")
    try:
        return chips_from_rows(np.array([[*sizes[:5], sizes[5] * MIB]], dtype=np.int64))
    except BadInput:
        expected = "rows, columns and lanes in powers of 2, whose core buffers the area model has (1 to 1,024 KiB)"
        raise BadInput("chip", repr(text), expected) from None
