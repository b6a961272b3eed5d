"""Measured operators of CPUs: tables that ship, and those that `hardplace verify MODEL --cpu` writes."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path

from hardplace.cost.cpu.model import CpuModel, fitted
from hardplace.cost.cpu.types import CpuOperator
from hardplace.csv_table import parse
from hardplace.errors import BadInput
from hardplace.files import read_text
from hardplace.workload.types import OperatorKind

COLUMNS = ("kind", "name", "batch", "m", "n", "k", "taps", "moved_bytes", "seconds")
_LARGEST = 2**31 - 1
_SHIPPED = resources.files("hardplace.cost.cpu") / "data"


def cpu_names() -> tuple[str, ...]:
    """Return the names of the CPUs whose measured operators ship."""
    return tuple(sorted(one.name.removesuffix(".csv") for one in _SHIPPED.iterdir() if one.name.endswith(".csv")))


def is_cpu(name: str) -> bool:
    """Return whether a name is a CPU's that ships, or a file of measured operators."""
    return name in cpu_names() or (name.endswith(".csv") and Path(name).is_file())


def cpu_named(name: str) -> CpuModel:
    """Return the model of a CPU by its name or file; BadInput with the line for a fault in it."""
    if name in cpu_names():
        return fitted(name, _operators((_SHIPPED / f"{name}.csv").read_text(), name))
    return fitted(name, _operators(read_text(Path(name)), name))


def table_text(operators: Sequence[CpuOperator], title: str) -> str:
    """Return the CSV of operators, equal ones once with the median of their seconds."""
    same: dict[CpuOperator, list[float]] = {}
    for one in operators:
        same.setdefault(replace(one, seconds=0.0), []).append(one.seconds)
    out = io.StringIO()
    out.write(f"# {title}\n")
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    for one, seconds in same.items():
        sizes = [size or "" for size in (one.m, one.n, one.k)]
        median = f"{statistics.median(seconds):.4g}"
        rows.writerow([one.kind, one.name, one.batch, *sizes, one.taps, f"{one.moved_bytes:.0f}", median])
    return out.getvalue()


def _operators(text: str, place: str) -> list[CpuOperator]:
    table = parse(text, place)
    for column in COLUMNS:
        if not table.has(column):
            raise BadInput(place, None, f"columns {', '.join(COLUMNS)}")
    kinds = tuple(OperatorKind)
    for row, kind in enumerate(table.texts("kind")):
        if kind not in kinds:
            raise BadInput(table.where(row, "kind"), repr(kind), "a kind of operator such as matmul")
    numbers = [table.whole(column, _LARGEST, 0) for column in ("batch", "m", "n", "k", "taps")]
    measured = table.latencies_s(["seconds"], 1.0)[:, 0]
    moved = table.latencies_s(["moved_bytes"], 1.0)[:, 0]
    return [
        CpuOperator(
            kind=kind, name=name, batch=int(batch), m=int(m), n=int(n), k=int(k), taps=int(taps),
            moved_bytes=float(size), seconds=float(seconds),
        )
        for kind, name, batch, m, n, k, taps, size, seconds in zip(
            table.texts("kind"), table.texts("name"), *numbers, moved, measured, strict=True
        )
    ]  # fmt: skip
