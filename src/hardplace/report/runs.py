"""Runs by their journals: the terminal's table, and every evaluation as a Parquet file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from hardplace.answers import Infeasible
from hardplace.certificate import percent_at_most
from hardplace.design.journal_rows import JournalSummary, evaluations
from hardplace.design.types import Evaluation, Job, Outcome
from hardplace.errors import BadInput
from hardplace.report import text as words
from hardplace.report.console import screen

Cell = str | float | int | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderAnswer:
    """An answer that keeps no journal: its folder, the verb and the command that asked for it."""

    path: str
    verb: str
    command: str
    updated_unix_s: float


def show(runs: tuple[JournalSummary, ...], answers: tuple[FolderAnswer, ...], folder: str) -> None:
    """Print a line for each search and each other answer; the folder is whole at any width."""
    console = screen()
    if not runs and not answers:
        console.print(f"no runs in {folder}")
        return
    if runs:
        console.print(_searches(runs, console.width))
    if runs and answers:
        console.print()
    if answers:
        lines = Table("folder", "command", "last written (UTC)", box=None, padding=(0, 2, 0, 0))
        _keep_first(lines, [one.path for one in answers], console.width)
        for one in answers:
            lines.add_row(one.path, one.command, _when(one.updated_unix_s))
        console.print(lines)


def _searches(runs: tuple[JournalSummary, ...], width: int) -> Table:
    """Return a table with a line for each search."""
    lines = Table("folder", "model", "objective", box=None, padding=(0, 2, 0, 0))
    _keep_first(lines, [str(Path(run.path).parent) for run in runs], width)
    for heading in ("best", "bound", "gap", "evaluations"):
        lines.add_column(heading, justify="right")
    lines.add_column("ended")
    lines.add_column("last written (UTC)")
    for run in runs:
        lines.add_row(
            str(Path(run.path).parent),
            run.model,
            f"{run.objective}, {run.unit}" if run.unit else run.objective,
            _best(run),
            "" if run.bound is None else words.number(run.bound, 5),
            "" if run.gap is None else percent_at_most(run.gap),
            f"{run.evaluations:,}",
            run.stop or "not yet",
            _when(run.updated_unix_s),
        )
    return lines


def _keep_first(lines: Table, folders: list[str], width: int) -> None:
    """Keep the folders whole on a line where they take at most half of the width; wrapped, not cut, where they do not;
    the other columns wrap."""
    lines.columns[0].overflow = "fold"
    lines.columns[0].min_width = min(max(map(len, folders)), width // 2)
    for column in lines.columns[1:]:
        column.overflow = "fold"


def _when(unix_s: float) -> str:
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M:%S}"


def _best(run: JournalSummary) -> str:
    if run.incumbent is not None:
        return words.number(run.incumbent, 5)
    return "none yet" if run.gap is None else ""  # a frontier has no one value


def table(runs: tuple[JournalSummary, ...]) -> bytes:
    """Return a Parquet file with a row for each evaluation of the runs; BadInput if pyarrow is not installed."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise BadInput("parquet", "needs pyarrow", "pip install 'hardplace[parquet]'") from None
    cells = [row for run in runs for row in _rows(run)]
    columns = {name: [row[name] for row in cells] for name in (cells[0] if cells else {})}
    content = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), content)
    return content.getvalue()


def _rows(run: JournalSummary) -> Iterator[dict[str, Cell]]:
    for job, outcome in evaluations(Path(run.path)):
        yield {"run": str(Path(run.path).parent), **_asked(job), **_reached(outcome), **_short(outcome)}


def _asked(job: Job) -> dict[str, Cell]:
    chip, family = job.chip, job.family
    return {
        "model": job.model,
        "chip": chip.name,
        "tensor_cores": chip.tensor_cores,
        "array_rows": chip.array_rows,
        "array_columns": chip.array_columns,
        "vector_cores": chip.vector_cores,
        "vector_lanes": chip.vector_lanes,
        "buffer_bytes": chip.buffer_bytes,
        "clock_hz": chip.clock_hz,
        "memory_bandwidth_bytes_per_s": chip.memory_bandwidth_bytes_per_s,
        "area_mm2": chip.area_mm2,
        "memory_bytes": family.memory_bytes,
        "micro_batch": family.micro_batch,
        "recompute": family.recompute,
        "tensor_parallel": family.tensor_parallel,
        "max_stages": job.max_stages,
    }


def _reached(outcome: Outcome) -> dict[str, Cell]:
    found = outcome if isinstance(outcome, Evaluation) else None
    return {
        "samples_per_s": found.samples_per_s if found else None,
        "bound_samples_per_s": found.bound_samples_per_s if found else None,
        "batch_s": found.placement.batch_s if found else None,
        "model_flops_utilisation": found.model_flops_utilisation if found else None,
        "pipeline_stages": len(found.placement.stages) if found else None,
        "data_parallel": found.placement.data_parallel if found else None,
    }


def _short(outcome: Outcome) -> dict[str, Cell]:
    lack = outcome if isinstance(outcome, Infeasible) else None
    return {
        "short_of": lack.what if lack else None,
        "needed": lack.needed if lack else None,
        "available": lack.available if lack else None,
        "unit": lack.unit if lack else None,
    }
