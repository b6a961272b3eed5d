"""`hardplace estimate MODEL`: every kernel of a model on one chip (--operators), or a plan on many devices (--plan)."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hardplace.cli import folders, options
from hardplace.cli.app import INFEASIBLE, app
from hardplace.cli.printing import give, give_answer, json_asked, say_json, say_written
from hardplace.errors import BadInput


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
@click.option("--on", "chip", metavar="FILE|NAME", help="The chip, as `hardplace chip` takes it, or a description.")
@options.micro_batch
@options.tensor_parallel
@click.option("--dtype", default="bf16", show_default=True, help="Type of the operands of products.")
@options.software
@options.calibrated
@options.trace_file
@options.as_json
@options.answer_folder
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
    software: str | None,
    calibrated: Path | None,
    trace_path: Path | None,
    out: Path | None,
) -> None:
    """Print every operator of a model on one chip, and draw its roofline; or what a plan costs, with exit code 3 where
    it does not fit.

    \b
    hardplace estimate llama2-7b --operators --on tpu-v4
    hardplace estimate llama3-70b --plan hardplace-out/llama3-70b/plan.json
    hardplace estimate llama3-70b --plan plan.toml --device a100-80gb-sxm
    """
    from hardplace import api

    if trace_path is not None and plan is None:
        raise BadInput("estimate: --trace: expected --plan with it")
    if plan is not None:
        if operators or chip is not None:
            raise BadInput("estimate: --plan: expected neither --operators nor --on with it")
        if micro_batch > 1 or tensor_parallel > 1 or dtype != "bf16":
            raise BadInput("estimate: --plan: has its own; expected no --micro-batch, --tensor-parallel, --dtype")
        from hardplace.api.anchored_plans import naming, planned
        from hardplace.api.step_traces import step_trace_of
        from hardplace.exports.planned import planned_of
        from hardplace.files import write_bytes, write_text
        from hardplace.report.estimated_page import page as plan_page
        from hardplace.report.plan import show_plan

        folders.check_writable(out)
        with naming(plan, calibrated):
            cost = api.estimate(model, planned(plan, software, calibrated), devices, node=nodes)

        def keep() -> None:
            folder = folders.folder_of(api.load(model).name, out)
            cost.save(folder / "estimate.json")
            write_text(folder / "estimate.html", plan_page(cost, folders.command()))
            if trace_path is not None:
                write_bytes(trace_path, step_trace_of(planned_of(plan, model, devices, nodes, api.load), cost))
            say_written(f"{folder / 'estimate.json'}, {folder / 'estimate.html'} (open it in a browser)", trace_path)

        give_answer(cost, show_plan, keep)
        if not cost.fits:
            sys.exit(INFEASIBLE)
        return
    from hardplace.report.operators import page, show_estimate

    if not operators or chip is None:
        raise BadInput("estimate: expected --operators with --on, or --plan")
    if devices or nodes or software is not None or calibrated is not None:
        raise BadInput("estimate: --device, --node, --software, --calibrated: expected --plan with them")
    found = api.operators(model, chip, micro_batch=micro_batch, tensor=tensor_parallel, dtype=dtype)
    if json_asked():
        say_json(found.envelope())
        return
    folders.check_writable(out)
    drawn = page(found, folders.command())
    give(lambda: show_estimate(found), lambda: folders.write_page(found.model, out, "operators.html", drawn))
