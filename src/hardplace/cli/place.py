"""`hardplace place MODEL`: the best plans of a model on devices that exist, with a certificate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from hardplace.cli import folders, options
from hardplace.cli.app import app
from hardplace.cli.printing import end_infeasible, give_answer, say_written
from hardplace.cli.progress import progress_bar, uninterrupted
from hardplace.errors import BadInput


@app.command()
@click.argument("model", metavar="MODEL")
@click.option(
    "--device",
    "device",
    required=True,
    multiple=True,
    metavar="NAME[:COUNT]",
    help="GPU, TPU, Trainium or Gaudi; several kinds have stages of their own.",
)
@click.option("--devices", type=click.IntRange(min=1), help="How many, of one kind.")
@click.option("--batch", required=True, type=click.IntRange(min=1), help="Samples a step.")
@click.option("--node", "node", multiple=True, metavar="FILE|NAME", help="A node.  [default: the device's usual]")
@click.option(
    "--for", "trainer", metavar="TARGET", help="Search only plans that this trainer can run (a target of `export`)."
)
@click.option("--fix", "fixes", multiple=True, metavar="NAME=VALUE,..", help="Hold a dimension to values: tensor=4,8.")
@click.option("--top", type=click.IntRange(min=1, max=1000), help="Plans to find.  [default: 10]")
@click.option(
    "--pareto",
    "pareto",
    type=click.Choice(("step,memory", "step,devices")),
    help="Find the fastest plan within each lower limit on memory or number of devices instead.",
)
@options.software
@options.calibrated
@options.headroom
@options.gap("Stop when no plan can have more samples/s than the best by more than this share.", 0.0)
@options.seconds("Stop after this many seconds.")
@options.trace_file
@options.as_json
@options.folder("Folder of plan and page.  [default: hardplace-out/MODEL]")
def place(
    model: str,
    device: tuple[str, ...],
    devices: int | None,
    batch: int,
    node: tuple[str, ...],
    trainer: str | None,
    fixes: tuple[str, ...],
    top: int | None,
    pareto: str | None,
    software: str | None,
    calibrated: Path | None,
    headroom: float,
    gap: float,
    limit_s: float | None,
    trace_path: Path | None,
    out: Path | None,
) -> None:
    """Find the ten best plans for MODEL on accelerators that exist, with a proof; or say what does not fit, and what
    makes it fit.

    \b
    hardplace place llama2-7b --device h100-sxm --devices 64 --batch 512
    hardplace place llama2-7b --device h100-sxm --devices 64 --batch 512 --fix tensor=1,2 --fix zero=3
    hardplace place gpt3-175b --device a100-80gb-sxm:512 --device h100-sxm:512 --batch 1024
    hardplace place llama2-7b --device h100-sxm --devices 64 --batch 512 --for megatron
    hardplace place llama2-7b --device h100-sxm --devices 64 --batch 512 --pareto step,memory

    Searched: tensor, sequence, pipeline, virtual, data, context (long sequences), context_exchange, expert, zero,
    shard, micro_batch, schedule (zb-v, v-half, v-min and dualpipe-v only if --fix names them), recompute,
    recompute_layers, order (of the degrees on the network, inside out: tensor-context-data-pipeline), and where the
    stages are cut. Not searched unless --fix
    names several values: precision (bf16), optimizer (adamw), gradient (fp32), offload, overlap, flash, fragmentation,
    reserve_bytes. --fix holds any of all these, and recompute_modules (mlp+layernorm) of selective recompute.
    """
    from hardplace import api
    from hardplace.api.anchored_plans import merged, naming
    from hardplace.api.step_traces import planned_run, step_trace_of
    from hardplace.exports.targets import target_of
    from hardplace.files import write, write_bytes, write_text
    from hardplace.plans.infeasible import PlanInfeasible
    from hardplace.plans.placement.held_dimensions import fixed
    from hardplace.report.placed import show_placed, show_short
    from hardplace.report.placed_page import page

    folders.check_writable(out)
    if trainer is not None:
        target_of(trainer, "--for")
    held = merged(fixed(fixes), software, calibrated)
    if pareto is not None:
        if top is not None:
            raise BadInput("--top: not beside --pareto, which gives every plan of the frontier; expected one of both")
        _frontier(
            pareto.removeprefix("step,"), out, trace_path, model=model, device=device, devices=devices,
            batch=batch, node=node, fixed=held, gap=gap, seconds=limit_s, trainer=trainer, headroom=headroom,
        )  # fmt: skip
        return
    with naming(None, calibrated), _watching() as watch:
        found = api.place(
            model, device, devices, batch=batch, node=node, fixed=held, top=top or 10, gap=gap, seconds=limit_s,
            trainer=trainer, headroom=headroom, watch=watch,
        )  # fmt: skip
    if isinstance(found, PlanInfeasible):
        end_infeasible(found, show_short)
    # An answer is there: from here on an interrupt does not undo it.
    with uninterrupted():
        file, drawn = api.plan_file(found), page(found, folders.command())
        readers = " and replan" if len(device) == 1 else "; replan takes devices of one kind"

        def keep() -> None:
            folder = folders.folder_of(found.model, out)
            write(folder / "plan.json", file)
            found.save(folder / "place.json")
            write_text(folder / "place.html", drawn)
            if trace_path is not None:
                run = planned_run(found.best[0].plan, model, device, devices, node)
                write_bytes(trace_path, step_trace_of(run, found.best[0]))
            files = f"{folder / 'plan.json'} (for estimate --plan{readers}), {folder / 'place.html'} (for a browser)"
            say_written(files, trace_path)

        give_answer(found, show_placed, keep)


def _frontier(against: str, out: Path | None, trace_path: Path | None, **asked: Any) -> None:
    """Search, print and write a frontier of plans."""
    from hardplace import api
    from hardplace.files import write_text
    from hardplace.plans.infeasible import PlanInfeasible
    from hardplace.report.placed import show_short
    from hardplace.report.plan_frontier import page, show_plan_frontier

    if trace_path is not None:
        raise BadInput("trace", trace_path, "no frontier: a trace is of one plan")
    with _watching() as watch:
        found = api.plan_frontier(**asked, against=against, watch=watch)
    if isinstance(found, PlanInfeasible):
        end_infeasible(found, show_short)
    with uninterrupted():
        drawn = page(found, folders.command())

        def keep() -> None:
            folder = folders.folder_of(found.model, out)
            found.save(folder / "frontier.json")
            write_text(folder / "frontier.html", drawn)
            say_written(f"{folder / 'frontier.json'}, {folder / 'frontier.html'} (for a browser)")

        give_answer(found, show_plan_frontier, keep)


@contextmanager
def _watching() -> Iterator[Callable[[int, int, float, float], None]]:
    """Show the best step, the bound and what is left, on standard error."""
    from hardplace.report.progress import placement_line

    begun_s = time.monotonic()
    with progress_bar() as show:
        yield lambda considered, left, best_s, bound_s: show(
            *placement_line(considered, left, best_s, bound_s, time.monotonic() - begun_s)
        )
