"""`hardplace place MODEL`: the best plans of a model on so many GPUs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from hardplace.cli.app import INFEASIBLE, app
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from hardplace.search.place import Placed, Short


@app.command()
@click.argument("model", metavar="MODEL")
@click.option("--device", required=True, metavar="NAME", help="A GPU of the catalogue.")
@click.option("--devices", required=True, type=click.IntRange(min=1), help="How many.")
@click.option("--batch", required=True, type=click.IntRange(min=1), help="Samples a step.")
@click.option("--node", "node_name", metavar="FILE|NAME", help="The node.  [default: the device's usual]")
@click.option("--context", type=click.IntRange(min=1), default=1, show_default=True, help="Context-parallel degree.")
@click.option("--expert", type=click.IntRange(min=1), default=1, show_default=True, help="Expert-parallel degree.")
@click.option("--precision", type=click.Choice(["bf16", "fp16", "fp8"]), default="bf16", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def place(
    model: str,
    device: str,
    devices: int,
    batch: int,
    node_name: str | None,
    context: int,
    expert: int,
    precision: str,
    as_json: bool,
) -> None:
    """Price every plan of a stated space for MODEL on GPUs that exist and print the ten best, or what is short.

    The space: tensor within a node, pipeline, data, virtual stages, ZeRO, micro-batch, recompute; context, expert and
    precision as asked for. The answer is the optimum of the model within it.
    """
    from hardplace.cost.gpu.sheets import gpu
    from hardplace.files import dumps
    from hardplace.hardware.catalogue import node
    from hardplace.placement.plan import Format, Plan
    from hardplace.search.clusters import node_of
    from hardplace.search.place import Places, Short
    from hardplace.workload.load import load

    chip = gpu(device)
    where = node(node_name) if node_name else node_of(chip.name)
    if where.device != chip.name:
        raise BadInput(f"--node {where.name}: has {where.device}: expected a node of {chip.name}")
    asked = Plan(global_batch=batch, context=context, expert=expert, precision=Format(precision))
    found = Places(load(model), chip, where).with_remedies(asked, devices)
    if as_json:
        click.echo(dumps(found))
    elif isinstance(found, Short):
        _say_short(found)
    else:
        _show(f"{model} on {devices} {chip.title} in {where.title}, {batch} samples a step", found)
    if isinstance(found, Short):
        sys.exit(INFEASIBLE)


def _show(title: str, found: Placed) -> None:
    from rich.console import Console
    from rich.table import Table

    from hardplace.units import GIB

    heads = (
        "step s",
        "MFU",
        "tensor",
        "pipe",
        "virtual",
        "data",
        "ZeRO",
        "micro",
        "recompute",
        "GiB",
        "next to products",
    )
    table = Table(*heads, box=None)
    for one in found.best:
        plan = one.plan
        most = max(one.shares[1:], key=lambda share: share.seconds)
        degrees = (plan.tensor, plan.pipeline, plan.virtual, plan.data, plan.zero, plan.micro_batch)
        full = max(room.total_bytes for room in one.memory) / GIB
        bound = f"{most.name} {most.seconds / one.step_s:.0%}"
        table.add_row(
            f"{one.step_s:.4g}", f"{one.mfu:.1%}", *map(str, degrees), str(plan.recompute), f"{full:.1f}", bound
        )
    console = Console(width=140)
    console.print(title)
    console.print(
        f"best of {found.tried:,} plans, {found.fitting:,} of which fit: the optimum of the model in its space\n"
    )
    console.print(table)
    for note in found.best[0].notes:
        console.print(f"note: {note}")


def _say_short(found: Short) -> None:
    plan = found.nearest
    click.echo(
        f"infeasible: none of {found.tried:,} plans fits; the nearest (tensor {plan.tensor}, pipeline {plan.pipeline}, "
        f"data {plan.data}, ZeRO {plan.zero}, recompute {plan.recompute}) is short of {found.short_bytes:,.0f} bytes "
        f"on stage {found.stage}"
    )
    for one in found.remedies:
        click.echo(f"  fits with {one.what}: {one.step_s:.4g} s a step")
    if not found.remedies:
        click.echo(
            "  nothing tried makes it fit (gradients in bf16, 8-bit states, context 2 and 4, up to 16 x the devices)"
        )
