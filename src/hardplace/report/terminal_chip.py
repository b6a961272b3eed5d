"""A chip as tables in the terminal."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table

from hardplace.hardware.blueprint import training_dtype
from hardplace.hardware.device import Device, Node
from hardplace.hardware.sheet import DeviceSheet, SheetPart
from hardplace.report import text as words
from hardplace.report.console import headed, screen
from hardplace.report.text import total
from hardplace.units import MIB, format_quantity, percent

_BAR = 24


def show_chip(sheet: DeviceSheet) -> None:
    """Print a chip: what it is, area and power by part with bars to scale, peaks and ridge points, cost."""
    console = screen()
    console.print(headed(sheet.name, f": {sheet.title}; {sheet.engines}"))
    console.print(
        f"{sheet.process}, {format_quantity(sheet.clock_hz, 'Hz')}, buffer {sheet.buffer_bytes / MIB:g} MiB, "
        f"{words.gib(sheet.memory_bytes)} {sheet.memory} at "
        f"{format_quantity(sheet.memory_bandwidth_bytes_per_s, 'B/s')}"
        + (
            f", links {format_quantity(sheet.link_bandwidth_bytes_per_s, 'B/s')} one way"
            if sheet.link_bandwidth_bytes_per_s
            else ""
        )
    )
    die = total(sheet.model_die_mm2, sheet.published_die_mm2, sheet.die_is_bound, "mm²", sheet.die_interval_mm2)
    console.print(_bars(sheet.area, "mm²", f"die: {die}"))
    tdp = total(sheet.model_tdp_w, sheet.published_tdp_w, False, "W", sheet.tdp_interval_w)
    console.print(_bars(sheet.power, "W", f"TDP: {tdp}"))
    console.print(_peaks(sheet))
    console.print(Group(*_costs(sheet)))
    for note in sheet.notes:
        console.print(f"note: {note}")


def _bars(parts: tuple[SheetPart, ...], unit: str, title: str) -> Table:
    table = Table("part", unit, "share", "", title=title, title_justify="left", box=None)
    total, largest = sum(part.value for part in parts), max(part.value for part in parts)
    for part in parts:
        bar = "█" * max(1, round(_BAR * part.value / largest))
        table.add_row(part.name, words.number(part.value), f"{percent(part.value / total, 0)}", bar)
    return table


def _peaks(sheet: DeviceSheet) -> Table:
    title = "peaks, dense, and ridge points"
    table = Table("operands", "peak", "ridge, FLOPs a byte of memory", title=title, title_justify="left", box=None)
    rows = [(peak.dtype, peak.flops_per_s) for peak in sheet.peaks]
    for name, value in (*rows, ("fp32, vector units", sheet.vector_flops_per_s)):
        ridge = words.number(value / sheet.memory_bandwidth_bytes_per_s)
        table.add_row(name, format_quantity(value, "FLOP/s"), ridge)
    return table


def _costs(sheet: DeviceSheet) -> tuple[str, str]:
    parts = ", ".join(f"{part.name} {words.number(part.value)}" for part in sheet.cost)
    total = words.number(sum(part.value for part in sheet.cost))
    return (
        f"cost of making: {total} USD ({parts}); {percent(sheet.good_share, 0)} of the dies good",
        f"carbon: {words.number(sheet.embodied_kg)} kg CO2e to make, {words.number(sheet.use_kg)} kg in 4 years of use",
    )


def show_catalogue(devices: tuple[Device, ...], nodes: tuple[Node, ...]) -> None:
    """Print the devices and nodes that ship with the package."""
    table = Table("device", "", "peak", "memory", "links, one way", "TDP")
    for one in devices:
        dtype = training_dtype(one)
        link = one.link_bandwidth_bytes_per_s
        table.add_row(
            one.name,
            one.title,
            f"{format_quantity(one.peak_flops_per_s(dtype), 'FLOP/s')} {dtype}",
            f"{words.gib(one.memory_bytes)}, {format_quantity(one.memory_bandwidth_bytes_per_s, 'B/s')}",
            format_quantity(link, "B/s") if link else "-",
            f"{one.tdp_w:g} W" if one.tdp_w else "-",
        )
    places = Table("node", "", "device", "network, inside out: devices at bandwidth of one, one way")
    for place in nodes:
        levels = "; ".join(
            f"{level.devices or 'more'} at {format_quantity(level.bandwidth_bytes_per_s, 'B/s')}"
            for level in place.levels
        )
        places.add_row(place.name, place.title, place.device, levels)
    console = screen()
    console.print(table)
    console.print(places)
