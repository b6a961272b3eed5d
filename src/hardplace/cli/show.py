"""`hardplace show FILE|MODEL`: a recorded graph at a glance, as tables and as a drawing."""

from __future__ import annotations

from pathlib import Path

import click

from hardplace.cli import folders, options
from hardplace.cli.app import app
from hardplace.cli.printing import give, json_asked, say_json


@app.command()
@click.argument("model", metavar="FILE|MODEL")
@options.tensor_parallel
@options.sequence_parallel
@click.option("--context-parallel", type=click.IntRange(min=1), default=1, show_default=True, help="Degree.")
@click.option("--expert-parallel", type=click.IntRange(min=1), default=1, show_default=True, help="Degree.")
@options.micro_batch
@click.option("--layer", "layer_name", metavar="NAME", help="List every operator of this layer.")
@options.as_json
@options.page_folder
def show(
    model: str,
    tensor_parallel: int,
    sequence_parallel: bool,
    context_parallel: int,
    expert_parallel: int,
    micro_batch: int,
    layer_name: str | None,
    out: Path | None,
) -> None:
    """Print and draw a model's graph: layers and their repetition, operators by cost, what one rank computes.

    FILE is a Workload (.json, .json.gz), MODEL a name that `hardplace models` lists. Nothing is timed: costs are FLOPs
    and bytes.
    """
    from hardplace.api import load
    from hardplace.report.layers import drawing
    from hardplace.report.workload import page, show_layer, show_summary
    from hardplace.workload.sharding.degrees import layer_named, rank_layers
    from hardplace.workload.summary import of_layer, summarise
    from hardplace.workload.types import Parallelism

    workload = load(model)
    index = None if layer_name is None else layer_named(workload, layer_name)
    parallelism = Parallelism(
        tensor=tensor_parallel, sequence=sequence_parallel, context=context_parallel, expert=expert_parallel
    )
    layers, whole = rank_layers(workload, parallelism)
    found = summarise(workload, parallelism, micro_batch, layers, whole)
    if json_asked():
        say_json(found if layer_name is None else of_layer(found, layer_name))
        return
    folders.check_writable(out)
    drawn = page(found, drawing(workload, layers, found), layer_name, folders.command())

    def shown() -> None:
        if index is None:
            show_summary(found)
        else:
            show_layer(found, next(one for one in found.layers if one.name == layers[index].name))

    give(shown, lambda: folders.write_page(workload.name, out, "workload.html", drawn))
