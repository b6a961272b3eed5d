"""`hardplace estimate MODEL`: every kernel of a model on one chip (--operators), or a plan on many devices (--plan)."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hardplace.cli import folders, options
from hardplace.cli.app import INFEASIBLE, app
from hardplace.cli.printing import give, say_json
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from hardplace.cost.arrays.machine import ArrayMachine
    from hardplace.cost.one_chip.gpu_kernels import Gpu
    from hardplace.hardware.device import Device
    from hardplace.report.operators import Estimate
    from hardplace.workload.types import Layer, Workload


@app.command()
@click.argument("model", metavar="MODEL")
@click.option("--operators", is_flag=True, help="Every kernel: mapping, time, bound, utilisation, traffic, energy.")
@click.option("--plan", type=click.Path(dir_okay=False, path_type=Path), help="A plan's JSON or TOML file.")
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME[:COUNT]",
    help="With --plan: as `place` takes it.  [default: the file's]",
)
@click.option("--node", "nodes", multiple=True, metavar="FILE|NAME", help="With --plan: as `place` takes it.")
@click.option("--on", "chip", metavar="FILE|NAME", help="The chip, as `hardplace chip` takes it.")
@options.micro_batch
@options.tensor_parallel
@click.option("--dtype", default="bf16", show_default=True, help="Type of the operands of products.")
@options.as_json
@options.page_folder
def estimate(
    model: str,
    operators: bool,
    plan: Path | None,
    devices: tuple[str, ...],
    nodes: tuple[str, ...],
    chip: str | None,
    micro_batch: int,
    tensor_parallel: int,
    dtype: str,
    as_json: bool,
    out: Path | None,
) -> None:
    """Print every operator of a model on one chip, and draw its roofline; or what a plan costs, with exit code 3 where
    it does not fit.

    \b
    hardplace estimate llama2-7b --operators --on tpu-v4
    hardplace estimate llama3-70b --plan hardplace-out/llama3-70b/plan.json
    hardplace estimate llama3-70b --plan plan.toml --device a100-80gb-sxm
    """
    if plan is not None:
        if operators or chip is not None:
            raise BadInput("estimate: --plan: expected neither --operators nor --on with it")
        _print_plan(model, plan, devices, nodes, as_json)
        return
    from hardplace.hardware.sheet import find
    from hardplace.report.operators import page, show_estimate
    from hardplace.workload.load import load

    if not operators or chip is None:
        raise BadInput("estimate: expected --operators with --on, or --plan")
    workload, on = load(model), priced_on(find(chip), dtype)
    found = estimated(workload, on, micro_batch, tensor_parallel)
    if as_json:
        say_json(found)
        return
    folders.check_writable(out)
    drawn = page(found, on.device)
    give(lambda: show_estimate(found), lambda: folders.write_page(workload.name, out, "operators.html", drawn))


def _named(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Return the layers with names of their own: distinct ones of one name get a number."""
    often = Counter(layer.name for layer in layers)
    return tuple(
        replace(layer, name=f"{layer.name} {index}") if often[layer.name] > 1 else layer
        for index, layer in enumerate(layers)
    )


def priced_on(chip: Device, dtype: str) -> ArrayMachine | Gpu:
    """Return a device in the terms of its cost model: arrays, or the fitted model of GPUs."""
    from hardplace.cost.arrays.machine import machine
    from hardplace.cost.one_chip.gpu_kernels import gpu
    from hardplace.hardware.device import Multiprocessors

    return gpu(chip, dtype) if isinstance(chip.engine, Multiprocessors) else machine(chip, dtype)


def estimated(workload: Workload, on: ArrayMachine | Gpu, micro_batch: int, tensor_parallel: int) -> Estimate:
    """Return the kernels of every distinct layer of a model on a chip."""
    from hardplace.cost.one_chip.array_kernels import KernelCost, kernel_costs
    from hardplace.cost.one_chip.gpu_kernels import Gpu, gpu_kernel_costs
    from hardplace.report.operators import Estimate
    from hardplace.workload.sharding import shard
    from hardplace.workload.sharding.degrees import check_degrees
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


def _print_plan(model: str, path: Path, asked: tuple[str, ...], nodes: tuple[str, ...], as_json: bool) -> None:
    """Print what a plan costs on the devices asked for (without a number: as many as the plan's degrees make), else on
    those that its file names."""
    from hardplace.cli.place import inventory
    from hardplace.plans.chain import of_workload
    from hardplace.plans.estimate import estimate_plan
    from hardplace.plans.fleet import fleet_of
    from hardplace.plans.plan import read_plan
    from hardplace.report.plan import show_plan
    from hardplace.workload.load import load

    plan = read_plan(path)
    if not asked and not plan.on:
        raise BadInput(f"{path}: on: missing: expected --device NAME, or the file that `hardplace place` wrote")
    named = not asked  # by the file
    if named:
        asked = tuple(f"{lot.device}:{lot.count}" for lot in plan.on)
        nodes = nodes or tuple(dict.fromkeys(lot.node for lot in plan.on))
    counted = any(":" in one for one in asked)
    try:
        parts = inventory(asked, None if counted else plan.devices, nodes)
    except BadInput as problem:
        raise BadInput(f"{path}: on: {problem}" if named else str(problem)) from None
    workload = load(model)
    if not _same(plan.model, model, workload):
        raise BadInput(f"{path}: model: {plan.model!r}: expected {model!r}, the MODEL asked for, or no model")
    fleet = fleet_of(parts, plan)
    try:
        found = estimate_plan(of_workload(workload, plan), plan, fleet)
    except BadInput as problem:
        raise BadInput(f"{path}: {problem}") from None
    if as_json:
        say_json(found)
    else:
        where = " and ".join(f"{count:,} {chip.title} in {node.title}" for chip, node, count in parts)
        show_plan(workload.name, where, found)
    if not found.fits:
        sys.exit(INFEASIBLE)


def _same(made_for: str, model: str, workload: Workload) -> bool:
    """Return whether a plan's file was made for a model (or for none); a Workload file may have moved since."""
    from hardplace.workload.load import load

    if made_for in ("", model):
        return True
    try:
        return load(made_for).name == workload.name
    except BadInput:
        return Path(made_for).name == Path(model).name
