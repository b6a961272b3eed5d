"""The drawing of a layer graph: repeated runs folded into one node, edges with the bytes that they carry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hardplace.report import text as words
from hardplace.report.layers_graph import GraphNode, Link, data_bytes, links, nodes
from hardplace.report.layers_places import NodePlace, places
from hardplace.units import format_quantity, percent
from hardplace.workload.summary import Summary
from hardplace.workload.types import Layer, Workload

WIDTH, HEIGHT = 270.0, 72.0  # of a node, in the units of the drawing
_PITCH, _GAP, _MARGIN, _TOP, _BAR = 114.0, 190.0, 130.0, 40.0, 250.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerBox:
    """A node as it is drawn; bars: what it takes of the model's FLOPs and parameters, in the drawing's units."""

    x: float
    y: float
    name: str
    lines: tuple[str, ...]
    flops_bar: float
    parameters_bar: float
    title: str
    repeated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """An edge as it is drawn: an SVG path with an arrowhead and a label."""

    path: str
    label: str
    x: float
    y: float
    anchor: str
    table: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A layer graph, ready for a template."""

    width: float
    height: float
    boxes: tuple[LayerBox, ...]
    lines: tuple[Line, ...]


def drawing(workload: Workload, layers: dict[int, Layer], summary: Summary) -> Drawing:
    """Return the drawing of a workload's layer graph; layers, summary: of one rank at the micro-batch."""
    found = nodes(workload.order)
    by_index = [layers.get(index, layer) for index, layer in enumerate(workload.layers)]
    joined = links(found, workload.edges, by_index, summary.micro_batch)
    far = [
        (link.source, link.target, sum(link.edges)) for link in joined if not link.table and link.source != link.target
    ]
    placed = places(len(found), far)
    columns, rows = max(place.column for place in placed) + 1, max(place.row for place in placed) + 1
    boxes = tuple(
        _box(
            node,
            place,
            by_index[node.layer],
            summary,
            [link for link in joined if link.source == link.target == number],
        )
        for number, (node, place) in enumerate(zip(found, placed, strict=True))
    )
    lines = _lines(found, joined, placed, boxes)
    lines += _data(found, placed, by_index, boxes, summary.micro_batch)
    return Drawing(
        width=2 * _MARGIN + columns * WIDTH + (columns - 1) * _GAP,
        height=_TOP + (rows - 1) * _PITCH + HEIGHT + 12,
        boxes=boxes,
        lines=lines,
    )


def _x(place: NodePlace) -> float:
    return _MARGIN + place.column * (WIDTH + _GAP)


def _y(place: NodePlace) -> float:
    return _TOP + place.row * _PITCH


def _box(node: GraphNode, place: NodePlace, layer: Layer, summary: Summary, own: Sequence[Link]) -> LayerBox:
    count = len(node.positions)
    one = next(facts for facts in summary.layers if facts.name == layer.name)
    flops = count * (one.forward_flops + one.backward_flops)
    flops_share = flops / summary.flops if summary.flops else 0.0
    parameters_share = count * one.parameters / max(1, sum(each.count * each.parameters for each in summary.layers))
    handed = f"{_sizes(own[0])} from each to the next" if own else ""
    amounts = (
        f"FLOPs {format_quantity(flops, 'FLOP')}, {percent(flops_share)}; "
        f"parameters {words.number(count * one.parameters)}, {percent(parameters_share)}"
    )
    return LayerBox(
        x=_x(place),
        y=_y(place),
        name=f"{count} × {layer.name}" if count > 1 else layer.name,
        lines=(f"{percent(flops_share)} of FLOPs, {words.count(count * one.parameters)} parameters", handed),
        flops_bar=_BAR * flops_share,
        parameters_bar=_BAR * parameters_share,
        title=f"{layer.name}: {amounts}; saved {format_quantity(count * one.saved_bytes, 'B')}",
        repeated=count > 1,
    )


def _sizes(link: Link) -> str:
    return " + ".join(format_quantity(size, "B") for size in link.bytes)


def _lines(
    found: Sequence[GraphNode], joined: Sequence[Link], placed: Sequence[NodePlace], boxes: Sequence[LayerBox]
) -> tuple[Line, ...]:
    """Return the edges between different nodes; those of tables between neighbours share the others' line."""
    several = max(place.column for place in placed) > 0
    tables = {(link.source, link.target): link for link in joined if link.table}
    made: list[Line] = []
    arrivals: dict[tuple[int, bool], int] = {}
    arcs: dict[int, int] = {}
    for link in sorted(joined, key=lambda one: (one.table, placed[one.source].row, one.source)):
        pair = (link.source, link.target)
        start, end = placed[link.source], placed[link.target]
        boxed = boxes[link.source], boxes[link.target]
        near = start.column == end.column and abs(start.row - end.row) == 1 and link.target > link.source
        label = _label(link, found)
        if link.source == link.target or (link.table and near and any(_is(one, pair) for one in joined)):
            continue  # in the node's own text; in the label of the other line between the two
        if near:
            beside = f" + {_label(tables[pair], found)}" if pair in tables and not link.table else ""
            made.append(_straight(*boxed, label + beside, link.table))
        elif start.column == end.column:
            arcs[start.column] = arcs.get(start.column, 0) + 1
            made.append(_arc(*boxed, label, link.table, several and start.column == 0, arcs[start.column]))
        else:
            side = (link.target, end.column > start.column)
            arrivals[side] = arrivals.get(side, 0) + 1
            made.append(_across(*boxed, label, link.table, arrivals[side] - 1))
    return tuple(made)


def _is(link: Link, pair: tuple[int, int]) -> bool:
    """Return whether a link joins these two nodes and is no table."""
    return (link.source, link.target) == pair and not link.table


def _label(link: Link, found: Sequence[GraphNode]) -> str:
    """Return what a link carries in words."""
    if link.table or link.target < link.source:
        return _sizes(link) + (" table" if link.table else " to the next")
    times = len(found[link.target].positions)
    fans_out = len(found[link.source].positions) == 1 and times > 1
    return " + ".join(
        format_quantity(size, "B") + (" to each" if fans_out and edges >= times else "")
        for size, edges in sorted(zip(link.bytes, link.edges, strict=True), key=lambda one: one[1])
    )


def _straight(start: LayerBox, end: LayerBox, label: str, table: bool) -> Line:
    x = start.x + WIDTH / 2
    down = end.y > start.y
    y0, y1 = (start.y + HEIGHT, end.y) if down else (start.y, end.y + HEIGHT)
    tip = (-8 if end.repeated else -2) if down else 2
    return Line(
        path=f"M{x:.1f} {y0:.1f} V{y1 + tip:.1f}",
        label=label, x=x + 8, y=(y0 + y1) / 2 + 4, anchor="start", table=table,
    )  # fmt: skip


def _arc(start: LayerBox, end: LayerBox, label: str, table: bool, left: bool, number: int) -> Line:
    """Return an edge past the nodes between, outside of the column."""
    sign, x = (-1, start.x) if left else (1, start.x + WIDTH)
    y0, y1 = start.y + HEIGHT / 2 + 6 * number, end.y + HEIGHT / 2 - 6 * number
    out, turn = x + sign * (26 + 16 * number), math.copysign(20, y1 - y0)
    return Line(
        path=f"M{x:.1f} {y0:.1f} Q{out:.1f} {y0:.1f} {out:.1f} {y0 + turn:.1f} V{y1 - turn:.1f} "
        f"Q{out:.1f} {y1:.1f} {x + sign * 2:.1f} {y1:.1f}",
        label=label,
        x=out + sign * 5,
        y=(y0 + y1) / 2 - 12 + 14 * number,
        anchor="end" if left else "start",
        table=table,
    )


def _across(start: LayerBox, end: LayerBox, label: str, table: bool, number: int) -> Line:
    """Return an edge from one column to another."""
    right = end.x > start.x
    x0, x1 = (start.x + WIDTH, end.x - 2) if right else (start.x, end.x + WIDTH + 2)
    y0, y1 = start.y + HEIGHT / 2, end.y + HEIGHT / 2 + 18 * number
    bend = x0 + 0.45 * (x1 - x0), x0 + 0.05 * (x1 - x0)
    return Line(
        path=f"M{x0:.1f} {y0:.1f} C{bend[0]:.1f} {y0:.1f} {bend[1]:.1f} {y1:.1f} {x1:.1f} {y1:.1f}",
        label=label, x=x1 - 10 if right else x1 + 10, y=y1 - 6, anchor="end" if right else "start", table=table,
    )  # fmt: skip


def _data(
    found: Sequence[GraphNode],
    placed: Sequence[NodePlace],
    layers: Sequence[Layer],
    boxes: Sequence[LayerBox],
    micro_batch: int,
) -> tuple[Line, ...]:
    """Return an arrow into each node that reads the model's input: of any type for the first, elsewhere tokens."""
    made = []
    for number, (node, box) in enumerate(zip(found, boxes, strict=True)):
        size = data_bytes(layers[node.layer], first=number == 0, micro_batch=micro_batch)
        if not size:
            continue
        label = f"data {format_quantity(size, 'B')}"
        if placed[number].row == 0 or number == 0:
            x = box.x + WIDTH / 2
            made.append(
                Line(
                    path=f"M{x:.1f} {box.y - 26:.1f} V{box.y - 2:.1f}",
                    label=label, x=x + 8, y=box.y - 14, anchor="start", table=False,
                )
            )  # fmt: skip
        else:
            y = box.y + HEIGHT / 2
            made.append(
                Line(
                    path=f"M{box.x - 60:.1f} {y:.1f} H{box.x - 2:.1f}",
                    label=label, x=box.x - 10, y=y - 6, anchor="end", table=False,
                )
            )  # fmt: skip
    return tuple(made)
