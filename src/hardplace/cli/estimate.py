"""`hardplace estimate MODEL`: every kernel of a model on one chip (--operators), or a plan on many GPUs (--plan)."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hardplace.cli.app import app
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from hardplace.cost.gpu.operators import Gpu
    from hardplace.cost.operators import Machine
    from hardplace.hardware.device import Device
    from hardplace.report.operators import Estimate
    from hardplace.workload.types import Layer, Workload


@app.command()
@click.argument("model", metavar="MODEL")
@click.option("--operators", is_flag=True, help="Every kernel: mapping, time, bound, utilisation, traffic, energy.")
@click.option("--plan", type=click.Path(dir_okay=False, path_type=Path), help="A plan's JSON or TOML file.")
@click.option("--device", metavar="NAME", help="With --plan: a GPU of the catalogue.")
@click.option("--node", "node_name", metavar="FILE|NAME", help="With --plan: the node.  [default: the device's usual]")
@click.option("--on", "chip", metavar="FILE|NAME", help="The chip, as `hardplace chip` takes it.")
@click.option("--micro-batch", type=click.IntRange(min=1), default=1, show_default=True, help="Samples.")
@click.option("--tensor-parallel", type=click.IntRange(min=1), default=1, show_default=True, help="Width.")
@click.option("--dtype", default="bf16", show_default=True, help="Type of the operands of products.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the page.  [default: hardplace-out/MODEL]")
def estimate(
    model: str,
    operators: bool,
    plan: Path | None,
    device: str | None,
    node_name: str | None,
    chip: str | None,
    micro_batch: int,
    tensor_parallel: int,
    dtype: str,
    as_json: bool,
    out: Path | None,
) -> None:
    """Print every operator of a model on one chip, and draw its roofline; or what a plan costs.

    \b
    hardplace estimate llama2-7b --operators --on tpu-v4
    hardplace estimate llama3-70b --plan plan.json --device h100-sxm
    """
    if plan is not None:
        if operators or chip is not None or device is None:
            raise BadInput("estimate: --plan: expected --device with it, without --operators and --on")
        _print_plan(model, plan, device, node_name, as_json)
        return
    from hardplace.files import dumps, write_text
    from hardplace.hardware.sheet import find
    from hardplace.report.operators import page, show_estimate
    from hardplace.workload.load import load

    if not operators or chip is None:
        raise BadInput("estimate: expected --operators with --on, or --plan with --device")
    workload, on = load(model), priced_on(find(chip), dtype)
    found = estimated(workload, on, micro_batch, tensor_parallel)
    if as_json:
        click.echo(dumps(found))
        return
    folder = out or Path("hardplace-out") / workload.name.replace("/", "-")
    folder.mkdir(parents=True, exist_ok=True)
    show_estimate(found)
    write_text(folder / "operators.html", page(found, on.device))
    click.echo(f"\nwritten: {folder / 'operators.html'} (open it in a browser)")


def _named(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Return the layers with names of their own: distinct ones of one name get a number."""
    often = Counter(layer.name for layer in layers)
    return tuple(
        replace(layer, name=f"{layer.name} {index}") if often[layer.name] > 1 else layer
        for index, layer in enumerate(layers)
    )


def priced_on(chip: Device, dtype: str) -> Machine | Gpu:
    """Return a device in the terms of its cost model: arrays, or the fitted model of GPUs."""
    from hardplace.cost.gpu.operators import gpu
    from hardplace.cost.operators import machine
    from hardplace.hardware.device import Multiprocessors

    return gpu(chip, dtype) if isinstance(chip.engine, Multiprocessors) else machine(chip, dtype)


def estimated(workload: Workload, on: Machine | Gpu, micro_batch: int, tensor_parallel: int) -> Estimate:
    """Return the kernels of every distinct layer of a model on a chip."""
    from hardplace.cost.gpu.operators import Gpu, gpu_kernel_costs
    from hardplace.cost.operators import KernelCost, kernel_costs
    from hardplace.report.operators import Estimate
    from hardplace.workload.rank import check_degrees
    from hardplace.workload.sharding import shard
    from hardplace.workload.types import Parallelism, Phase

    def costs(layer: Layer, phase: Phase) -> tuple[KernelCost, ...]:
        if isinstance(on, Gpu):
            return gpu_kernel_costs(layer, phase, micro_batch, on)
        return kernel_costs(layer, phase, micro_batch, on)

    times = Counter(workload.order)
    check_degrees(workload, Parallelism(tensor=tensor_parallel))
    layers = _named(shard(workload, Parallelism(tensor=tensor_parallel)).layers)
    network = ("collectives are left out",) if tensor_parallel > 1 else ()
    return Estimate(
        model=workload.name,
        chip=on.device.name,
        title=on.device.title,
        dtype=on.dtype,
        micro_batch=micro_batch,
        tensor_parallel=tensor_parallel,
        counts={layers[index].name: times[index] for index in dict.fromkeys(workload.order)},
        kernels=tuple(
            cost
            for index in dict.fromkeys(workload.order)
            for phase in (Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER)
            for cost in costs(layers[index], phase)
        ),
        notes=(*on.notes, *network),
    )


def _print_plan(model: str, path: Path, device: str, node_name: str | None, as_json: bool) -> None:
    """Print what a plan costs on GPUs that exist."""
    from hardplace.cost.gpu.sheets import gpu
    from hardplace.files import dumps
    from hardplace.hardware.catalogue import node
    from hardplace.placement.plan import read_plan
    from hardplace.report.plan import show_plan
    from hardplace.search.chain import of_workload
    from hardplace.search.clusters import fleet_of, node_of
    from hardplace.search.estimate import estimate_plan
    from hardplace.workload.load import load

    plan, chip = read_plan(path), gpu(device)
    where = node(node_name) if node_name else node_of(chip.name)
    if where.device != chip.name:
        raise BadInput(f"--node {where.name}: has {where.device}: expected a node of {chip.name}")
    workload = load(model)
    fleet = fleet_of([(chip, where, plan.devices)], plan)
    found = estimate_plan(of_workload(workload, plan), plan, fleet)
    if as_json:
        click.echo(dumps(found))
        return
    show_plan(workload.name, f"{plan.devices} {chip.title} in {where.title}", found)
