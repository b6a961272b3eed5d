"""`hardplace estimate MODEL`: every kernel of a model on one chip (--operators), or a plan on many devices (--plan)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hardplace.cli import folders, options
from hardplace.cli.app import INFEASIBLE, app
from hardplace.cli.printing import give, say_json
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from hardplace.workload.types import Workload


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
