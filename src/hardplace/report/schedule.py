"""The schedules of one layer on one chip: utilisation, and the page with its Gantt chart."""

from __future__ import annotations

from rich.table import Table

from hardplace.certificate import percent_at_most
from hardplace.design.exact.layer_schedule import LayerScheduleResult
from hardplace.report import gantt
from hardplace.report import text as words
from hardplace.report.console import headed, screen
from hardplace.report.rendering import rendered
from hardplace.report.reproduce import reproduction
from hardplace.units import format_quantity, percent


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


def page(report: LayerScheduleResult, command: str = "") -> str:
    """Return the self-contained HTML page of a layer's schedules; command: the one that asked, if one did."""
    return rendered(
        "schedule.html",
        report=report,
        chip=words.chip(report.chip),
        area=words.area(report.chip.area_mm2),
        chart=gantt.passes_figure(tuple((one.name, one.phase) for one in report.passes), report.chip),
        reproduction=reproduction(report, command, "schedule.json"),
    )
