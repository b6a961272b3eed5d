"""The answer of `tables` for the terminal."""

from __future__ import annotations

from collections import Counter

from rich.table import Table

from hardplace.graph_split.table_answer import TablesResult
from hardplace.report.console import headed, screen
from hardplace.units import format_quantity


def show_tables(result: TablesResult) -> None:
    """Print the busiest device, what is proven, how many tables lie which way, and each device."""
    out = screen()
    count = len(result.device_s)
    out.print(headed(result.name, f", {len(result.tables):,} embedding tables on {count:,} devices"))
    what = f"{result.samples_per_s:,.0f} samples/s; step" if result.prices == "step" else "busiest device"
    alike = " on as many devices with this batch" if result.choices else ""
    out.print(
        f"{what}: {format_quantity(result.busiest_s, 's', 6)}; no plan{alike} "
        f"takes less than {format_quantity(result.bound_s, 's', 6)}"
    )
    out.print(str(result.certificate))
    ways = Counter(one.sharding for one in result.tables)
    out.print(", ".join(f"{number:,} {way.replace('_', '-')}" for way, number in ways.most_common()))
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("device", "seconds", "HBM"):
        table.add_column(heading, justify="right")
    for device, (seconds, held) in enumerate(zip(result.device_s, result.device_bytes, strict=True)):
        if device < 16:
            table.add_row(str(device), format_quantity(seconds, "s", 5), format_quantity(held, "B"))
    out.print(table)
    if count > 16:
        out.print(f"and {count - 16:,} more devices")
    if result.choices:
        searched = Table(box=None, padding=(0, 2, 0, 0))
        for heading in ("devices", "batch of each", "step, s", "bound, s", "samples/s"):
            searched.add_column(heading, justify="right")
        for one in result.choices:
            searched.add_row(
                f"{one.devices:,}", f"{one.batch_per_device:,}", f"{one.step_s:.5g}", f"{one.bound_s:.5g}",
                f"{one.samples_per_s:,.0f}",
            )  # fmt: skip
        out.print(searched)
    for note in result.notes:
        out.print(note)
