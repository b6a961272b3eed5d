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
    out.print(
        f"busiest device: {format_quantity(result.busiest_s, 's', 6)}; no plan takes less than "
        f"{format_quantity(result.bound_s, 's', 6)}"
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
    for note in result.notes:
        out.print(note)
