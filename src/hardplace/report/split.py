"""The answer of `split`: its tables, the Gantt page, a trace that Perfetto opens."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from hardplace.graph_split.answer import SplitResult
from hardplace.report import style
from hardplace.report.charts import Chart, ChartAxis, Panel, row_bar
from hardplace.report.console import headed, screen
from hardplace.report.rendering import rendered
from hardplace.report.reproduce import reproduction
from hardplace.report.trace_writer import TraceEventWriter
from hardplace.units import format_quantity

_MOST_BARS = 6_000  # the longest of them; the trace has all
_COLOURS = (style.BLUE, style.GREEN, style.PURPLE, style.ORANGE, style.TEAL)
_WORD = {"latency": "one sample", "throughput": "between two samples"}


def show_split(result: SplitResult) -> None:
    """Print the value, what is proven, what each device does, and what each solver reached."""
    out = screen()
    out.print(headed(result.graph, f", {len(result.placement):,} operators: {result.objective}, {_of(result)}"))
    out.print(
        f"{_word(result)}: {format_quantity(result.value_s, 's', 5)}; no split takes less than "
        f"{format_quantity(result.bound_s, 's', 5)}"
    )
    if result.certificate is not None:
        out.print(str(result.certificate))
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("device", "operators", "busy", "memory"):
        table.add_column(heading, justify="left" if heading == "device" else "right")
    for name, busy_s, held in zip(result.devices, result.busy_s, result.memory_bytes, strict=True):
        count = sum(row.device == name for row in result.placement)
        table.add_row(name, f"{count:,}", format_quantity(busy_s, "s"), format_quantity(held, "B"))
    out.print(table)
    for name, value_s in dict(result.methods).items():
        out.print(f"{name}: {format_quantity(value_s, 's', 5)}")
    for note in result.notes:
        out.print(note)


def _word(result: SplitResult) -> str:
    """Return what the value is the time of."""
    if result.samples == 1:
        return _WORD[result.objective]
    return (
        f"{result.samples} samples" if result.objective == "latency" else f"between two times {result.samples} samples"
    )


def page(result: SplitResult, command: str = "") -> str:
    """Return the self-contained page with the Gantt chart of one sample; command: the one that asked, if one did."""
    return rendered(
        "split.html",
        result=result,
        of=_of(result),
        counts=[sum(row.device == name for row in result.placement) for name in result.devices],
        chart=_gantt(result),
        reproduction=reproduction(result, command, "split.json"),
    )


def trace(result: SplitResult) -> dict[str, object]:
    """Return the schedule in the Trace Event Format, as values of JSON: a track a device and a link."""
    writer = TraceEventWriter()
    process = writer.process(result.graph)
    for lane, bars in _lanes(result).items():
        track = writer.track(process, lane)
        for name, start_s, end_s in bars:
            writer.slice(track, name, start_s, end_s)
    return writer.json()


def _of(result: SplitResult) -> str:
    if result.semantics == "links":
        return "links between devices"
    if result.semantics == "stages":
        return "stages in a line with data and tensor degrees and recompute"
    return f"through host memory, shape {result.shape}"


def _lanes(result: SplitResult) -> Mapping[str, list[tuple[str, float, float]]]:
    """Return what runs when on every device, then on every link in use; a load's length where times are not decided."""
    lanes: dict[str, list[tuple[str, float, float]]] = {name: [] for name in result.devices}
    for row in result.placement:
        if row.start_s is not None and row.end_s is not None:
            lanes[row.device].append((row.operator, row.start_s, row.end_s))
    if result.semantics != "links":
        for name, busy_s in zip(result.devices, result.busy_s, strict=True):
            lanes[name].append(("load", 0.0, busy_s))
    for move in result.transfers:
        lanes.setdefault(f"{move.source} to {move.target}", []).append((move.operator, move.start_s, move.end_s))
    return lanes


def _gantt(result: SplitResult) -> Chart:
    lanes = _lanes(result)
    longest_s = max((end_s for bars in lanes.values() for _, _, end_s in bars), default=0.0) or 1.0
    scale, unit = style.seconds_scale(longest_s)
    drawn, left = [], _MOST_BARS
    for row, (lane, bars) in enumerate(lanes.items()):
        longest = sorted(bars, key=lambda bar: bar[1] - bar[2])[:left]
        left -= len(longest)
        drawn += [
            row_bar(
                row,
                start_s / scale,
                end_s / scale,
                _COLOURS[row % len(_COLOURS)],
                name="",
                label=name,
                title=f"{name} ({lane}): starts {format_quantity(start_s, 's')}, "
                f"takes {format_quantity(end_s - start_s, 's')}",
            )
            for name, start_s, end_s in longest
        ]
    panel = Panel(
        x=ChartAxis(title=f"time from the start of the sample, {unit}", high=1.01 * longest_s / scale),
        y=ChartAxis(names=tuple(lanes)),
        height=30.0 * len(lanes),
        bars=tuple(drawn),
    )
    return Chart(label="what each device and link does during one sample", panels=(panel,))
