"""What published tools say of a matmul on an array, and what we say: one JSON line a case.

python benchmarks/operator_reference.py FILE...

FILE: an object with `rows` and a `setting` in words, or a list of rows. Fields of a row: extents M, N, K (Sunstone: N
rows, C reduced, K columns), the array A, array, or width and depth, cores num_tc, buffer glb_mb, memory memory_GBs.
What a row does not say comes from the setting's words, else from Sunstone's own (README of the data).

cycles, dram_bytes: ours, in the peers' common setting: 16-bit operands and sums, tiles that divide the extents and
fill the array (every mapping tried, sums may spill, nothing counted twice). own: with any tile, fp32 sums that never
spill, and double-buffered slices: what hardplace itself uses. same_setting: ours under one tool's rules.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardplace.cost.arrays.mapspace import divisors, least_words
from hardplace.cost.arrays.tensor import array_cycles
from hardplace.cost.arrays.tiling import traffic_bytes
from hardplace.cost.types import Dataflow, Matmul
from hardplace.errors import BadInput

MIB = 2**20
_TOOLS = {
    "zz": "zigzag",
    "zigzag_cycles": "zigzag",
    "af": "accelforge",
    "accelforge_cycles": "accelforge",
    "genz": "genz",
    "ss_ws_nostall": "scalesim_ws",
    "ss_os_nostall": "scalesim_os",
    "ss_is_nostall": "scalesim_is",
}
_TRAFFIC = {
    "zz_dram": "zigzag",
    "zigzag_dram_bytes": "zigzag",
    "af_dram": "accelforge",
    "accelforge_dram_bytes": "accelforge",
}
_SCALE_SIM = {"ws": Dataflow.WEIGHT, "os": Dataflow.OUTPUT, "is": Dataflow.INPUT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One matmul on one chip and what the tools printed."""

    name: str
    matmul: Matmul
    cores: int
    rows: int
    columns: int
    buffer_bytes: int
    memory_bytes_per_cycle: float
    theirs: dict[str, float]
    their_dram_bytes: dict[str, float]
    their_seconds: dict[str, float]


def _number(text: str, pattern: str, scale: float) -> float | None:
    found = re.search(pattern, text)
    return float(found[1]) * scale if found else None


_EXTENTS = ("M", "N", "K", "C", "batch", "A", "array", "width", "depth", "num_tc")
_SIZES = ("glb_mb", "memory_GBs", "cycles", "wall_s", *_TOOLS, *_TRAFFIC, *(f"ss_{flow}" for flow in _SCALE_SIM))


def _check(row: dict[str, Any], where: str) -> None:
    """Raise BadInput for an extent that is no whole number from 1 and for a size or time that is not positive."""
    for name, value in row.items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
        if name in _EXTENTS and not (number and value == int(value)):
            raise BadInput(f"{where}: {name}: {value!r}: expected a whole number, 1 or more")
        if name in _SIZES and value is not None and not number:
            raise BadInput(f"{where}: {name}: {value!r}: expected a positive number")


def _case(row: dict[str, Any], setting: str, where: str) -> Case:
    """Return the case of one row; BadInput if it lacks a shape, an array or a buffer."""
    _check(row, where)
    sunstone = "num_tc" in row
    names = {"m": "N", "n": "K", "k": "C"} if sunstone else {"m": "M", "n": "N", "k": "K"}
    missing = [name for name in names.values() if name not in row]
    side = row.get("A", row.get("array"))
    rows, columns = row.get("depth", side), row.get("width", side)
    size = row.get("glb_mb") or _number(setting, r"buffer (\d+(?:\.\d+)?) MB", 1.0)
    clock = _number(setting, r"(\d+(?:\.\d+)?) GHz", 1.0) or 1.0
    bandwidth = row.get("memory_GBs") or _number(setting, r"memory (\d+(?:\.\d+)?) GB/s", 1.0)
    per_cycle = 256.0 if sunstone else bandwidth and bandwidth / clock  # Sunstone: 128 words of 2 bytes a cycle
    if missing or rows is None or columns is None or not size or not per_cycle:
        raise BadInput(f"{where}: {json.dumps(row)[:120]}; expected extents, an array, a buffer and a memory bandwidth")
    matmul = Matmul(batch=int(row.get("batch", 1)), **{key: int(row[name]) for key, name in names.items()})
    theirs = {_TOOLS[key]: float(row[key]) for key in _TOOLS if row.get(key) is not None}
    for flow in _SCALE_SIM:
        if f"scalesim_{flow}" not in theirs and row.get(f"ss_{flow}") is not None:
            theirs[f"scalesim_{flow}"] = float(row[f"ss_{flow}"]) - float(row.get(f"ss_{flow}_stall") or 0.0)
    if sunstone and row.get("ok", True):
        theirs["sunstone"] = float(row["cycles"])
    seconds = {"sunstone": float(row["wall_s"])} if "wall_s" in row else {}
    seconds |= {
        _TOOLS.get(key.removesuffix("_cpu"), key.removesuffix("_cpu").replace("ss_", "scalesim_")): float(row[key])
        for key in row
        if key.endswith("_cpu")
    }
    chip = f"{row.get('num_tc', 1)}x{rows}x{columns}"
    return Case(
        name=f"{row.get('shape', 'gemm')}-{matmul.m}x{matmul.n}x{matmul.k}-on-{chip}-{size:g}MB-{per_cycle:g}B",
        matmul=matmul,
        cores=int(row.get("num_tc", 1)),
        rows=int(rows),
        columns=int(columns),
        buffer_bytes=round(size * MIB),
        memory_bytes_per_cycle=float(per_cycle),
        theirs=theirs,
        their_dram_bytes={_TRAFFIC[key]: float(row[key]) for key in _TRAFFIC if row.get(key) is not None},
        their_seconds=seconds,
    )


def cases(path: Path) -> list[Case]:
    """Return the cases of one file."""
    try:
        document = json.loads(path.read_text())
    except ValueError as error:
        raise BadInput(f"{path}: expected JSON: {error}") from None
    rows = document.get("rows") if isinstance(document, dict) else document
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadInput(f"{path}: expected a list of rows, or an object with one as `rows`")
    setting = document.get("setting", "") if isinstance(document, dict) else ""
    return [_case(row, setting, f"{path.name}, row {index}") for index, row in enumerate(rows)]


def _peers_dram_bytes(case: Case) -> float:
    """Return the least traffic in the peers' setting."""
    one = case.matmul
    tiles = (divisors(one.m), divisors(one.n, min(one.n, case.columns)), divisors(one.k, min(one.k, case.rows)))
    words = least_words(one, case.buffer_bytes, tiles, operand_bytes=2, sum_bytes=2, copies=1, spill=True)
    return 2.0 * one.batch * words


def answer(case: Case) -> dict[str, Any]:
    """Return the line of one case."""
    chip = (np.array([case.cores]), np.array([case.rows]), np.array([case.columns]))
    start = time.perf_counter()
    compute = float(array_cycles((case.matmul,), *chip)[0, 0])
    own_bytes = float(traffic_bytes((case.matmul,), np.array([case.buffer_bytes]))[0, 0])
    own_s = time.perf_counter() - start
    peers_bytes = _peers_dram_bytes(case)
    scale_sim = {
        f"scalesim_{name}": float(
            array_cycles((case.matmul,), *chip, dataflows=(flow,), double_buffered=False)[0, 0]
            - 1  # it numbers cycles from 0
        )
        for name, flow in _SCALE_SIM.items()
        if f"scalesim_{name}" in case.theirs
    }
    return {
        "case": case.name,
        "cycles": max(compute, peers_bytes / case.memory_bytes_per_cycle),
        "dram_bytes": peers_bytes,
        "theirs": case.theirs,
        "their_dram_bytes": case.their_dram_bytes,
        "compute_cycles": compute,
        "same_setting": scale_sim,
        "own": {"cycles": max(compute, own_bytes / case.memory_bytes_per_cycle), "dram_bytes": own_bytes},
        "seconds": {"hardplace": own_s, **case.their_seconds},
    }


def _summary(lines: list[dict[str, Any]]) -> None:
    """Print, on standard error, the median and worst relative deviations from each tool."""
    for key, kind in (("theirs", "cycles"), ("their_dram_bytes", "DRAM bytes")):
        for tool in sorted({tool for line in lines for tool in line[key]}):
            ratios = []
            for line in lines:
                if tool in line[key]:
                    ours = line["cycles"] if kind == "cycles" else line["dram_bytes"]
                    ratios.append(
                        (line["same_setting"].get(tool, ours) if kind == "cycles" else ours) / line[key][tool]
                    )
            away = np.abs(np.array(ratios) - 1.0)
            print(
                f"{tool:12} {kind:10} {len(ratios):3} cases, deviation median {100 * np.median(away):.2f} %, "
                f"ratio {min(ratios):.3f} to {max(ratios):.3f}, {int((away > 0.05).sum())} above 5 %",
                file=sys.stderr,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    lines = []
    try:
        for path in parser.parse_args().files:
            for case in cases(path):
                lines.append(answer(case))
                print(json.dumps(lines[-1]), flush=True)
    except (BadInput, OSError) as error:
        sys.exit(f"operator_reference: {error}")
    _summary(lines)


if __name__ == "__main__":
    main()
