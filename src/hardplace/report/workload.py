"""A workload as tables in the terminal, and its page: facts, layers, kinds, the heaviest operators, the graph."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from hardplace.answers import flat
from hardplace.report import style
from hardplace.report.console import headed, screen
from hardplace.report.layers import Drawing
from hardplace.report.rendering import rendered
from hardplace.report.reproduce import reproduced
from hardplace.report.workload_rows import (
    COLLECTIVE_COLUMNS,
    HEAVY_COLUMNS,
    LAYER_COLUMNS,
    OPERATOR_COLUMNS,
    facts,
    heaviest,
    heavy_cells,
    kept,
    kind_cells,
    layer_cells,
    notes,
    operator_cells,
    parallel,
)
from hardplace.workload.summary import KindFacts, LayerFacts, Summary

_MOST_LAYERS = 12


def show_summary(summary: Summary) -> None:
    """Print a workload at a glance."""
    console = screen()
    console.print(headed(summary.model, f": {facts(summary)}"), soft_wrap=True)
    console.print(f"source {summary.source}; made by: {summary.command}", soft_wrap=True)
    rank = f"one rank of {parallel(summary)}, " if parallel(summary) else ""
    console.print(f"below: {rank}one micro-batch of {summary.micro_batch}, no recompute{kept(summary)}", soft_wrap=True)
    console.print(f"order: {summary.order}")
    console.print(_layers(summary))
    console.print(_kinds(summary.kinds))
    for by, unit, title in (("flops", "FLOP", "heaviest by FLOPs"), ("moved_bytes", "B", "heaviest by bytes")):
        console.print(_heaviest(summary, by, unit, title))
    for note in notes(summary):
        console.print(Text.assemble(("warning", "yellow"), f": {note}"), soft_wrap=True)


def _table(title: str, *columns: str, left: Sequence[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), title_style="bold")
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right", no_wrap=column not in left)
    return table


def _layers(summary: Summary) -> Table:
    collectives = any(layer.collectives for layer in summary.layers)
    columns = LAYER_COLUMNS + (COLLECTIVE_COLUMNS if collectives else ())
    table = _table("layers, one of each", *columns, left=("layer",))
    shown = summary.layers
    if len(shown) > _MOST_LAYERS:
        ranked = sorted(shown, key=lambda one: -one.count * (one.forward_flops + one.backward_flops))
        kept = {one.name for one in ranked[: _MOST_LAYERS - 1]}
        shown = tuple(one for one in shown if one.name in kept)
    for layer in shown:
        table.add_row(*layer_cells(layer, collectives))
    if len(shown) < len(summary.layers):
        table.add_row(f"and {len(summary.layers) - len(shown)} lighter")
    return table


def _kinds(kinds: tuple[KindFacts, ...]) -> Table:
    columns = ("kind", "operators", "FLOPs", "share", "bytes", "share")
    table = _table("operators by kind, the whole model; FLOPs of matrix products", *columns, left=("kind",))
    for kind in kinds:
        table.add_row(*kind_cells(kind))
    return table


def _heaviest(summary: Summary, by: str, unit: str, title: str) -> Table:
    rows = [heavy_cells(operator, by, unit, getattr(summary, by)) for operator in heaviest(summary, by)]
    table = _table(title)
    for place, column in enumerate(HEAVY_COLUMNS):
        needed = max([len(column), *(len(row[place]) for row in rows)])
        table.add_column(
            column,
            justify="right" if place < 2 else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=min(needed, 38) if place < 4 else None,
        )
    for row in rows:
        table.add_row(*row)
    return table


def show_layer(summary: Summary, layer: LayerFacts) -> None:
    """Print every operator of a layer."""
    console = screen()
    console.print(
        headed(
            f"{summary.model}, {layer.name}",
            f": {layer.count:,} of them, "
            f"{layer.operators:,} operators, micro-batch {summary.micro_batch}"
            + (f", one rank of {parallel(summary)}" if parallel(summary) else ""),
        ),
        soft_wrap=True,
    )
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in OPERATOR_COLUMNS:
        number = column in OPERATOR_COLUMNS[-3:]
        table.add_column(column, justify="right" if number else "left", no_wrap=number, overflow="fold")
    for operator in summary.operators:
        if operator.layer == layer.name:
            table.add_row(*operator_cells(operator))
    console.print(table)


def page(summary: Summary, drawing: Drawing, listed: str | None = None, command: str = "") -> str:
    """Return the HTML page: the layer graph and the tables.

    Args:
        summary: The model, of one rank.
        drawing: Its layer graph.
        listed: A layer whose operators are listed too.
        command: The command that asked, if one did.
    """
    collectives = any(layer.collectives for layer in summary.layers)
    return rendered(
        "workload.html",
        summary=summary,
        facts=facts(summary),
        parallel=parallel(summary),
        drawing=drawing,
        colours=(style.BLUE, style.ORANGE),
        layer_columns=LAYER_COLUMNS + (COLLECTIVE_COLUMNS if collectives else ()),
        layers=[layer_cells(layer, collectives) for layer in summary.layers],
        kinds=[kind_cells(kind) for kind in summary.kinds],
        heavy=[
            (title, [heavy_cells(one, by, unit, getattr(summary, by)) for one in heaviest(summary, by)])
            for by, unit, title in (("flops", "FLOP", "by FLOPs"), ("moved_bytes", "B", "by bytes"))
        ],
        notes=notes(summary),
        operator_columns=OPERATOR_COLUMNS,
        listed=listed,
        operators=[operator_cells(one) for one in summary.operators if one.layer == listed],
        reproduction=reproduced(
            command, f"hardplace.load({summary.model!r})", [flat(one) for one in summary.operators], summary.layers
        ),
    )
