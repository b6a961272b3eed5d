"""The answer of `describe`: parts and layers as tables, a page with the block diagram."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

from rich.table import Table

from hardplace.described.answer import DescribedAccelerator, DescribedPart, LayerCycles, PartLink
from hardplace.report import style
from hardplace.report.charts import Chart
from hardplace.report.console import headed, screen
from hardplace.report.rendering import rendered
from hardplace.report.reproduce import reproduction
from hardplace.units import format_quantity, percent

_WIDTH, _HEIGHT, _APART, _BETWEEN = 128, 40, 72, 16  # of a block, and the space between columns and rows
_LANE = 10.0  # between two lines above the blocks
_COLOURS = {"memory": style.BLUE, "unit": style.GREEN}
_INSTANCE = re.compile(r"([^\d.]+)[1-9]\d*\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartBlock:
    """A block of the diagram: corner, colour, name, what stands in its tooltip."""

    x: float
    y: float
    colour: str
    name: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLine:
    """A line of the diagram: its path, and what stands in its tooltip."""

    path: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartDiagram:
    """Blocks and lines, and the size that they take."""

    blocks: tuple[PartBlock, ...]
    lines: tuple[PartLine, ...]
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantTable:
    """Variants of an accelerator as a table and a chart: what varied, which is fastest, sentences about them."""

    varied: str
    fastest: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    chart: Chart
    notes: tuple[str, ...]


def show_described(answer: DescribedAccelerator) -> None:
    """Print the parts, or the layers with their cycles and, where asked for, their programs."""
    out = screen()
    out.print(headed(answer.name, f": {answer.about}, {format_quantity(answer.clock_hz, 'Hz')}"))
    if not answer.layers:
        out.print(f"figures: {answer.source}")
        if answer.parameters:
            out.print(f"parameters: {', '.join(f'{name} {value:,}' for name, value in answer.parameters.items())}")
        table = Table(box=None, padding=(0, 2, 0, 0))
        for heading in ("part", "name", "what"):
            table.add_column(heading)
        for part in _shown(answer):
            table.add_row(part.kind, part.name, part.what)
        out.print(table)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading in ("layer", "extents", "held longest") else "right")
    for layer in answer.layers:
        table.add_row(*cells(layer))
    out.print(table)
    for layer in answer.layers:
        if layer.program:
            out.print(f"\n{layer.name}: loops (level:dimension and tile) {layer.mapping}")
            for line in layer.program:
                out.print(f"  {line}", markup=False, highlight=False)
    out.print(f"{answer.network or 'all layers'}, one after the other: {total(answer)}")
    for note in notes(answer):
        out.print(note)


def total(answer: DescribedAccelerator) -> str:
    """Return cycles, seconds and what was evaluated, in words."""
    instructions = sum(layer.count * layer.instructions for layer in answer.layers)
    evaluated = sum(layer.evaluated for layer in answer.layers)
    return (
        f"{answer.cycles:,} cycles, {format_quantity(answer.seconds, 's', 4)}; "
        f"{evaluated:,} instructions evaluated for {instructions:,}"
    )


def notes(answer: DescribedAccelerator) -> list[str]:
    """Return what the numbers are worth, as sentences."""
    found = ["The bound is over the mappings considered; the model's cycles are those of the simulator where proven."]
    guessed = [layer.name for layer in answer.layers if not layer.exact]
    if guessed:
        found.append(f"Extrapolated by a mean rate, not proven: {', '.join(guessed)}.")
    wrong = [layer.name for layer in answer.layers if layer.simulated_cycles not in (None, layer.cycles)]
    if wrong:
        found.append(f"The simulator says otherwise: {', '.join(wrong)}.")
    return found


_HEADINGS = (
    "layer", "extents", "times", "cycles", "bound", "held longest", "busy", "MACs a cycle", "instructions", "evaluated",
    "simulated",
)  # fmt: skip


def cells(layer: LayerCycles) -> tuple[str, ...]:
    """Return a layer's row of the table."""
    return (
        layer.name,
        f"{layer.operation} {layer.extents}",
        f"{layer.count}",
        f"{layer.cycles:,}",
        f"{layer.bound_cycles:,}",
        layer.bound_by,
        percent(layer.busy),
        f"{layer.macs / layer.cycles:,.1f}" if layer.macs else "-",
        f"{layer.instructions:,}",
        f"{layer.evaluated:,}",
        "-" if layer.simulated_cycles is None else f"{layer.simulated_cycles:,}",
    )


def _shown(answer: DescribedAccelerator) -> list[DescribedPart]:
    """Return the parts; of instances that are alike the first."""
    return [part for part in answer.parts if not _INSTANCE.match(part.name)]


def page(answer: DescribedAccelerator, command: str = "", variants: VariantTable | None = None) -> str:
    """Return the self-contained page: the block diagram, the parts, the layers; command: the one that asked.

    Args:
        answer: The accelerator.
        command: The command that asked.
        variants: What it was chosen from, where parameters varied.
    """
    return rendered(
        "described.html",
        answer=answer,
        variants=variants,
        drawn=diagram(answer),
        parts=_shown(answer),
        headings=_HEADINGS,
        rows=[cells(layer) for layer in answer.layers],
        total=total(answer) if answer.layers else "",
        notes=notes(answer) if answer.layers else (),
        reproduction=reproduction(answer, command),
    )


def diagram(answer: DescribedAccelerator) -> PartDiagram:
    """Return memories and units in columns by how many connections they are from where operands lie."""
    parts = {part.name: part for part in _shown(answer) if part.kind in _COLOURS}
    links = [link for link in answer.links if link.source in parts and link.target in parts]
    column = _columns(next(part.name for part in parts.values() if "where operands lie" in part.what), links)
    rows: dict[int, list[str]] = {}
    for name in parts:
        rows.setdefault(column.get(name, 0), []).append(name)
    drawn: dict[tuple[str, str], list[str]] = {}
    for link in links:
        through = f" via {link.via}" if link.via else ""
        pair = (min(link.source, link.target), max(link.source, link.target))
        drawn.setdefault(pair, []).append(f"{link.source} to {link.target}: {link.operands}{through}")
    far = [(a, b) for a, b in drawn if abs(column.get(a, 0) - column.get(b, 0)) > 1]
    lanes = {pair: 8.0 + _LANE * place for place, pair in enumerate(far)}  # above all blocks, so that none is crossed
    head = 8.0 + _LANE * len(far)
    tallest = max(map(len, rows.values()))
    places = {}
    for place, names in rows.items():
        top = head + (tallest - len(names)) * (_HEIGHT + _BETWEEN) / 2
        for row, name in enumerate(names):
            places[name] = (8 + place * (_WIDTH + _APART), top + row * (_HEIGHT + _BETWEEN))
    return PartDiagram(
        blocks=tuple(
            PartBlock(x=x, y=y, colour=_COLOURS[parts[name].kind], name=name, title=f"{name}: {parts[name].what}")
            for name, (x, y) in places.items()
        ),
        lines=tuple(
            PartLine(path=_line(places[a], places[b], lanes.get((a, b))), title="; ".join(said))
            for (a, b), said in drawn.items()
        ),
        width=16 + (max(rows) + 1) * (_WIDTH + _APART) - _APART,
        height=head + 8 + tallest * (_HEIGHT + _BETWEEN) - _BETWEEN,
    )


def _columns(start: str, links: list[PartLink]) -> dict[str, int]:
    """Return how many connections each part is from the start, breadth first, along the way of operands."""
    found, ahead = {start: 0}, deque([start])
    while ahead:
        here = ahead.popleft()
        for link in links:
            if link.source == here and link.target not in found:
                found[link.target] = found[here] + 1
                ahead.append(link.target)
    return found


def _line(a: tuple[float, float], b: tuple[float, float], lane: float | None) -> str:
    """Return a curve from one block's side to the other's; along a lane where columns lie between them."""
    (left, top), (right, bottom) = sorted((a, b))
    x, end = left + _WIDTH, right
    if end < x:  # one column
        x, end = left + _WIDTH / 2, right + _WIDTH / 2
    y, low = top + _HEIGHT / 2, bottom + _HEIGHT / 2
    if lane is not None:
        up, down = x + _APART / 2, end - _APART / 2
        rise = f"M{x:.0f} {y:.0f} C{up:.0f} {y:.0f} {up:.0f} {lane:.0f} {x + _APART:.0f} {lane:.0f}"
        return f"{rise} L{end - _APART:.0f} {lane:.0f} C{down:.0f} {lane:.0f} {down:.0f} {low:.0f} {end:.0f} {low:.0f}"
    middle = (x + end) / 2
    return f"M{x:.0f} {y:.0f} C{middle:.0f} {y:.0f} {middle:.0f} {low:.0f} {end:.0f} {low:.0f}"
