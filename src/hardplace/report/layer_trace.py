"""The schedules of a layer as a trace: a process a pass, a track a row of the Gantt chart."""

from __future__ import annotations

from hardplace.design.exact.layer_schedule import LayerScheduleResult, cores_taken
from hardplace.report import gantt
from hardplace.report.trace_writer import PerfettoWriter, TraceEventWriter, TraceWriter


def layer_trace(result: LayerScheduleResult) -> bytes:
    """Return the schedules of a layer's passes in Perfetto's binary format.

    Raises:
        BadInput: Without the package perfetto.
    """
    writer = PerfettoWriter()
    _write(result, writer)
    return writer.bytes()


def layer_events(result: LayerScheduleResult) -> dict[str, object]:
    """Return the schedules of a layer's passes in the Trace Event Format, as values of JSON."""
    writer = TraceEventWriter()
    _write(result, writer)
    return writer.json()


def _write(result: LayerScheduleResult, writer: TraceWriter) -> None:
    """Write a slice for each kernel on every row that it fills, from the start of its pass."""
    for one in result.passes:
        process = writer.process(f"{result.model} {result.layer} {one.name}")
        tracks = {name: writer.track(process, name) for name in gantt.rows(one.phase, result.chip)}
        for bar in sorted(gantt.bars(one.phase, result.chip), key=lambda bar: bar.start_s):
            item = one.phase.schedule.assignments[bar.task]
            writer.slice(
                tracks[bar.row], one.phase.kernels[bar.task], bar.start_s, bar.start_s + bar.duration_s,
                category=one.phase.engines[bar.task].value, cores="all" if item.whole else str(cores_taken(item)),
            )  # fmt: skip
