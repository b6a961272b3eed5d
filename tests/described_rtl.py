"""Rows of Gemmini's RTL and of SCALE-Sim as programs of descriptions: the mappings are given, nothing is searched."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hardplace.described.layers import LayerShape, product
from hardplace.described.lowering import lowered
from hardplace.described.mapping import LayerMapping, TileLoop
from hardplace.described.model import program_time
from hardplace.described.reading import FOLDER as CATALOGUE
from hardplace.described.reading import described, read_description
from hardplace.described.targets import target
from hardplace.described.types import CONVOLUTION
from hardplace.files import read_toml

FOLDER = Path(__file__).parents[1] / "validation/described"
FITTED = ("512", "1376")  # accumulators of the two of DOSA's configurations whose 52 rows set what is fitted


def gemmini_rows() -> Iterator[tuple[int, dict[str, str], int]]:
    """Return number, row and the generated model's cycles of each RTL row."""
    with (FOLDER / "gemmini_firesim.csv").open() as file:
        for index, row in enumerate(csv.DictReader(file)):
            yield index, row, gemmini_cycles(row)


def gemmini_cycles(row: Mapping[str, str]) -> int:
    """Return the cycles of an RTL row.

    DRAM's loops are level 1, in their order; within its tile Gemmini's loop unroller goes over blocks of filters, taps,
    blocks of channels, rows of the output. Its two loops in work use half a memory each, whatever their tiles need, so
    that tiles are always double-buffered. What memories hold does not enter: one chip ran all configurations.
    """
    extents = dict(n=1, g=1, **{dim: int(row[dim]) for dim in "kcpqrs"})
    layer = LayerShape(name="row", operation=CONVOLUTION, extents=extents, stride=int(row["stride_h"]))
    loops, sizes = [], dict(extents)
    for text in row["mapping"].split(" - ")[0].split("] ")[1].split():
        dim, count = text[0].lower(), int(text[1:])
        if count > 1:
            sizes[dim] = -(-sizes[dim] // count)
            loops.append(TileLoop(1, dim, sizes[dim]))
    loops += [TileLoop(2, dim, size) for dim, size in (("k", 16), ("r", 1), ("s", 1), ("c", 16))]
    loops += [TileLoop(3, "q", 1), TileLoop(3, "p", 16)]
    on = read_description("gemmini")
    goal = target(on, layer)
    assert goal is not None
    return program_time(on, lowered(goal, layer, LayerMapping(loops=tuple(loops)))).cycles


def scalesim_rows() -> Iterator[tuple[dict[str, str], int]]:
    """Return each product that SCALE-Sim ran, and the generated model's cycles on its array."""
    data: dict[str, Any] = read_toml(CATALOGUE / "systolic.toml")
    data["memory"]["registers"]["buffers"] = 1  # weights wait until the array is empty
    for memory in ("dram", "filter"):
        data["memory"][memory]["latency_cycles"] = 0
    array = data["unit"]["array"]["operations"]["convolution"]
    array["cycles"], array["latency_cycles"] = "n * p * q + rows + columns - 2", 0
    with (FOLDER / "scalesim.csv").open() as file:
        for row in csv.DictReader(file):
            side = int(row["array"])
            values = {"rows": side, "columns": side, "buffer_kib": 2**20, "memory_bytes": 2**30}
            on = described(data, "scalesim", values)
            layer = product("row", int(row["m"]), int(row["n"]), int(row["k"]))
            goal = target(on, layer)
            assert goal is not None
            mapping = LayerMapping(loops=(TileLoop(2, "k", side), TileLoop(2, "c", side)))
            yield row, program_time(on, lowered(goal, layer, mapping)).cycles
