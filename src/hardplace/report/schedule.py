"""The schedules of one layer on one chip: utilisation, the page with its Gantt chart, a trace that Perfetto opens."""

from __future__ import annotations

from rich.table import Table

from hardplace.certificate import percent_at_most
from hardplace.design.exact.layer_schedule import LayerScheduleResult, cores_taken
from hardplace.report import gantt
from hardplace.report import text as words
from hardplace.report.console import headed, screen
from hardplace.report.rendering import rendered_with_figures
from hardplace.units import format_quantity, percent
from hardplace.version import __version__

_MICROSECOND = 1e-6  # the unit of time of the trace format


def show(report: LayerScheduleResult) -> None:
    """Print makespan, bound, gap and utilisation of each pass."""
    out = screen()
    out.print(
        headed(
            report.model,
            f", layer {report.layer}: micro-batch {report.micro_batch}, tensor parallel "
            f"{report.tensor_parallel}, setting {report.setting}, whole-chip kernels {report.rule.value}",
        )
    )
    out.print(f"{words.chip(report.chip)}, {words.area(report.chip.area_mm2)}")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("pass", "kernels", "makespan", "no less than", "gap", "tensor cores busy", "vector cores busy"):
        table.add_column(heading, justify="left" if heading == "pass" else "right")
    for one in report.passes:
        schedule = one.phase.schedule
        table.add_row(
            one.name,
            str(len(one.phase.kernels)),
            format_quantity(schedule.makespan_s, "s", 4),
            format_quantity(schedule.bound_s, "s", 4),
            f"{percent_at_most(schedule.gap)} ({schedule.status.value})",
            percent(one.tensor_utilisation),
            percent(one.vector_utilisation),
        )
    out.print(table)


def page(report: LayerScheduleResult) -> str:
    """Return the self-contained HTML page of a layer's schedules."""
    figure = gantt.passes_figure(tuple((one.name, one.phase) for one in report.passes), report.chip)
    return rendered_with_figures(
        "schedule.html",
        report=report,
        chip=words.chip(report.chip),
        area=words.area(report.chip.area_mm2),
        figures={"gantt": figure},
    )


def trace(report: LayerScheduleResult) -> dict[str, object]:
    """Return the schedules in the Trace Event Format (JSON object form), which Perfetto and chrome://tracing open.

    One process a pass and one thread a row of the Gantt chart; a kernel is a complete event ("X") on every row that it
    fills, with times in microseconds from the start of its pass.
    """
    events: list[dict[str, object]] = []
    for process, one in enumerate(report.passes, start=1):
        names = gantt.rows(one.phase, report.chip)
        title = f"{report.model} {report.layer} {one.name}"
        events.append({"ph": "M", "pid": process, "tid": 0, "name": "process_name", "args": {"name": title}})
        for thread, name in enumerate(names, start=1):
            for what, value in (("thread_name", {"name": name}), ("thread_sort_index", {"sort_index": thread})):
                events.append({"ph": "M", "pid": process, "tid": thread, "name": what, "args": value})
        for bar in gantt.bars(one.phase, report.chip):
            item = one.phase.schedule.assignments[bar.task]
            events.append(
                {
                    "ph": "X",
                    "pid": process,
                    "tid": names.index(bar.row) + 1,
                    "name": one.phase.kernels[bar.task],
                    "cat": one.phase.engines[bar.task].value,
                    "ts": bar.start_s / _MICROSECOND,
                    "dur": bar.duration_s / _MICROSECOND,
                    "args": {"task": bar.task, "cores": "all" if item.whole else cores_taken(item)},
                }
            )
    return {"traceEvents": events, "displayTimeUnit": "ns", "otherData": {"version": f"hardplace {__version__}"}}
