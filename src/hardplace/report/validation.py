"""Errors of predictions: of published training runs by source and split, of kernels on a GPU, and of a calibration."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table

from hardplace.cost.gpu.fitting.errors import ErrorTable, TransferError
from hardplace.cost.gpu.types import GpuModel
from hardplace.plans.intervals import Spread, spreads
from hardplace.plans.published.scores import ErrorSummary, RunScore, by_source
from hardplace.report.console import screen
from hardplace.units import percent

_FIELDS = (
    "id",
    "predicted_s",
    "measured_s",
    "error",
    "not_modelled",
    "split",
    "counted",
    "memory_gib",
    "published_gib",
    "fits",
)


# Of the run as it was read: what its source leaves out is settled in these.
_READ = (
    *("software", "precision", "data", "context", "expert", "sequence", "zero", "shard", "micro_batch", "virtual"),
    *("recompute", "recompute_layers", "recompute_modules"),
)


def run_records(rows: Sequence[RunScore]) -> list[dict[str, object]]:
    """Return what is predicted and measured of each run, with 80 % intervals, and as what it was read, as records;
    seconds and GiB."""
    return [{name: getattr(one, name) for name in _FIELDS} | _sure(one) | {"read": _read(one)} for one in rows]


def _sure(one: RunScore) -> dict[str, object]:
    found, held = one.interval, one.memory_gib
    if found is None or held is None:
        return {}
    factor = math.exp(found.memory)
    return {
        "low_s": found.low_s,
        "high_s": found.high_s,
        "class": found.kind,
        "inside": one.inside,
        "memory_low_gib": held / factor,
        "memory_high_gib": held * factor,
        "memory_class": found.memory_kind,
        "memory_inside": one.memory_inside,
    }


def _read(one: RunScore) -> dict[str, object] | None:
    if one.run is None:
        return None
    plan = {name: getattr(one.run.plan, name) for name in _READ}
    return {"device": one.run.device, "node": one.run.node.name, **plan, "left_open": one.left_open}


def show_runs(rows: Sequence[RunScore], *, markdown: bool) -> None:
    """Print the errors of step times and of memory by split and source, and why runs do not count.

    Args:
        rows: Runs with what is predicted of them.
        markdown: As `docs/validation.md` has the tables.
    """
    for name in sorted({one.split for one in rows}, reverse=True):
        part = [one for one in rows if one.split == name]
        of = f", {name} split" if name else ""
        _print(f"Step times{of}", part, markdown=markdown)
        _print(f"Memory of the fullest stage{of}", part, memory=True, markdown=markdown)
    if not markdown and (cells := coverage_rows(rows)):
        heading = ("80 % interval of", "width", "rows", "sources", "inside", "inside, sources left out of the fit")
        _table("Intervals", heading, cells, markdown=False)
    _reasons(rows, markdown=markdown)


def summary_rows(rows: Sequence[RunScore], *, memory: bool = False) -> list[tuple[str, ...]]:
    """Return the table of errors by source, then of all rows and of the sources' means; [] where nothing counts."""
    found = by_source(rows, memory=memory)
    cells = [_cells(one) for one in found]
    if len(found) > 2:
        mean = sum(one.mean for one in found[:-1]) / (len(found) - 1)
        cells.append(("mean of the sources' means", "", f"{mean:.1%}", "", "", "", "", ""))
    return cells


def _print(title: str, rows: Sequence[RunScore], *, memory: bool = False, markdown: bool) -> None:
    heading = ("source", "rows", "mean", "median", "worst", "which", "bias", "rank correlation")
    if cells := summary_rows(rows, memory=memory):
        _table(title, heading, cells, markdown=markdown)


def coverage_rows(rows: Sequence[RunScore]) -> list[tuple[str, ...]]:
    """Return how many measured steps and memories lie in their 80 % intervals, by class, beside what was measured of
    whole sources that no fit has seen; [] where nothing counts."""
    sound = [one for one in rows if one.sound and one.interval is not None]
    steps = [(one, one.interval.kind, one.inside) for one in sound if one.interval]
    memories = [(one, one.interval.memory_kind, one.memory_inside) for one in sound if one.interval]
    return [*_inside("step", steps, spreads().step), *_inside("memory", memories, spreads().memory)]


def _inside(
    what: str, rows: Sequence[tuple[RunScore, str, bool | None]], shipped: Mapping[str, Spread]
) -> Iterator[tuple[str, ...]]:
    """Yield a row of the table for each class that has rows; rows: with their class and whether they are inside."""
    for kind, spread in shipped.items():
        own = [(one.source, inside) for one, name, inside in rows if name == kind and inside is not None]
        if own:
            share, left = sum(inside for _, inside in own) / len(own), f"{spread.coverage:.0%}"
            counts = (str(len(own)), str(len({source for source, _ in own})), f"{share:.0%}")
            yield f"{what}: {kind}", f"x {math.exp(spread.half):.2f}", *counts, f"{left} of {spread.sources} sources"


def _cells(one: ErrorSummary) -> tuple[str, ...]:
    rank = "" if one.rank is None else f"{one.rank:.3f}"
    shares = (f"{one.mean:.1%}", f"{one.median:.1%}", f"{one.worst:.1%}")
    return (one.name, str(one.rows), *shares, one.worst_id, f"{one.bias:+.1%}", rank)


def _reasons(rows: Sequence[RunScore], *, markdown: bool) -> None:
    reasons = Counter(one.not_modelled for one in rows if one.not_modelled)
    cells = [(reason, str(count)) for reason, count in reasons.most_common()]
    room = [one for one in rows if one.fits is not None]
    cells.append((f"ran out of memory, {sum(one.oom for one in room)} runs: fit by the model", _count(room, oom=True)))
    cells.append((f"ran, {sum(not one.oom for one in room)} runs: do not fit by the model", _count(room, oom=False)))
    short = [one for one in room if not one.oom and not one.fits]
    cells.append(
        ("of these, on TPUs, or recompute or offload not stated by the source", str(sum(one.unstated for one in short)))
    )
    left = sum(not one.counted and not one.not_modelled for one in rows)
    cells.append(("predicted, not counted: grade C, flagged, or nothing measured", str(left)))
    _table(f"Not modelled, {sum(reasons.values())} of {len(rows)} rows", ("reason", "rows"), cells, markdown=markdown)


def _count(rows: Sequence[RunScore], *, oom: bool) -> str:
    return str(sum(one.oom is oom and one.fits is oom for one in rows))


def _table(title: str, heading: tuple[str, ...], cells: Sequence[tuple[str, ...]], *, markdown: bool) -> None:
    if markdown:
        lines = [f"**{title}**", "", "| " + " | ".join(heading) + " |", "|---|" + "---:|" * (len(heading) - 1)]
        print("\n".join([*lines, *("| " + " | ".join(row) + " |" for row in cells), ""]))
        return
    table = Table(*heading, box=None, title=title, title_justify="left")
    for row in cells:
        table.add_row(*row)
    screen().print(table)


def show_errors(tables: Sequence[ErrorTable]) -> None:
    """Print the errors of a GPU's model by class of kernel."""
    for table in tables:
        seen = "shapes that no fit has seen" if table.held_out else "all rows"
        shown = Table("class", "rows", "mean", "worst", "bias", "no residual", "roofline", "noise", box=None)
        for row in table.rows:
            shares = (row.mean, row.worst, row.bias, row.without_residual, row.roofline, row.noise)
            shown.add_row(row.name, str(row.rows), *map(_share, shares))
        scale = f", times {table.scale:.3f}" if table.scale != 1.0 else ""
        print(f"{table.device}, {table.what}: {seen}{scale}")
        screen().print(shown)


def show_fits(model: GpuModel) -> None:
    """Print the parts of a calibrated model: how each was had, and its held-out error."""
    table = Table("part", "how", "rows", "held out", "error", "error, large", "noise", box=None)
    for fit in model.fits:
        shares = (fit.held_out_error, fit.held_out_error_large, fit.noise)
        table.add_row(fit.part, fit.method, str(fit.rows), str(fit.held_out_rows), *map(_share, shares))
    screen(soft_wrap=True).print(table)


def gpu_markdown(tables: Sequence[ErrorTable], carried: Sequence[TransferError]) -> str:
    """Return errors on held-out rows and of transferred figures as `docs/validation.md` has them."""
    lines = [
        "## Held-out shapes",
        "",
        "| device | kernel | class | rows | mean | worst | bias | no residual | roofline | noise |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for table in tables:
        for row in table.rows:
            shares = (row.mean, row.worst, row.bias, row.without_residual, row.roofline, row.noise)
            cells = " | ".join("" if share is None else f"{share:.1%}" for share in shares)
            lines.append(f"| {table.device} | {table.what} | {row.name} | {row.rows} | {cells} |")
    lines += [
        "",
        "## Transfer",
        "",
        "m >= 1024, n and k >= 512; figures of another GPU with the device's own datasheet, no row measured.",
        "",
        "| device | figures of | mean error | bias | after one scalar |",
        "|---|---|--:|--:|--:|",
    ]
    for one in carried:
        lines.append(f"| {one.device} | {one.of} | {one.mean:.1%} | {one.bias:+.1%} | {one.mean_scaled:.1%} |")
    return "\n".join(lines)


def _share(share: float | None) -> str:
    return "" if share is None else percent(share)
