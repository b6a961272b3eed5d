"""`hardplace place MODEL`: the best plans of a model on devices that exist, with a certificate."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hardplace.cli import folders, options
from hardplace.cli.app import INFEASIBLE, app
from hardplace.cli.printing import give, say, say_json
from hardplace.cli.progress import progress_bar, uninterrupted
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from hardplace.hardware.device import Device, Node
    from hardplace.plans.placement.space import PlanSpace
    from hardplace.plans.plan import Plan, PlanFile
    from hardplace.workload.types import Workload


@app.command()
@click.argument("model", metavar="MODEL")
@click.option(
    "--device",
    "asked",
    required=True,
    multiple=True,
    metavar="NAME[:COUNT]",
    help="GPU, TPU, Trainium or Gaudi; several kinds have stages of their own.",
)
@click.option("--devices", type=click.IntRange(min=1), help="How many, of one kind.")
@click.option("--batch", required=True, type=click.IntRange(min=1), help="Samples a step.")
@click.option("--node", "nodes", multiple=True, metavar="FILE|NAME", help="A node.  [default: the device's usual]")
@click.option("--for", "trainer", metavar="TARGET", help="Only plans that a trainer runs, as `export` names it.")
@click.option("--fix", "fixes", multiple=True, metavar="NAME=VALUE,..", help="Hold a dimension to values: tensor=4,8.")
@options.as_json
@options.folder("Folder of plan and page.  [default: hardplace-out/MODEL]")
def place(
    model: str,
    asked: tuple[str, ...],
    devices: int | None,
    batch: int,
    nodes: tuple[str, ...],
    trainer: str | None,
    fixes: tuple[str, ...],
    as_json: bool,
    out: Path | None,
) -> None:
    """Find the ten best plans for MODEL on accelerators that exist, and prove it; or say what is short, and what
    mends it.

    \b
    hardplace place llama2-7b --device h100-sxm --devices 64 --batch 512
    hardplace place llama2-7b --device h100-sxm --devices 64 --batch 512 --fix tensor=1,2 --fix zero=3
    hardplace place gpt3-175b --device a100-80gb-sxm:512 --device h100-sxm:512 --batch 1024
    hardplace place llama2-7b --device h100-sxm --devices 64 --batch 512 --for megatron

    Searched: tensor, sequence, pipeline, virtual, data, context (long sequences), context_exchange, expert, zero,
    shard, micro_batch, schedule, recompute, recompute_layers, order (of the degrees on the network, inside out:
    tensor-context-data-pipeline), and where the stages are cut. As they are unless --fix says more: precision bf16,
    optimizer adamw, gradient fp32, offload, overlap, flash, fragmentation, reserve_bytes. All of these can be fixed.
    """
    from hardplace.files import write, write_text
    from hardplace.plans.placement.search import PlanSearch
    from hardplace.plans.placement.shortage import Short, placed_or_short
    from hardplace.plans.placement.space import PlanSpace, fixed
    from hardplace.report.placed import page, show_placed, show_short
    from hardplace.report.text import plural
    from hardplace.workload.load import load

    parts = inventory(asked, devices, nodes)
    held, workload = fixed(fixes), load(model)
    if not workload.training:
        raise BadInput(f"{model}: recorded for inference; expected a training step, with its backward pass")
    space = PlanSpace(global_batch=batch, fixed=held)
    if trainer is not None:
        space = _space_of(trainer, model, workload, batch, held, parts)
    folders.check_writable(out)
    title = f"{model} on " + " and ".join(f"{count:,} {chip.title}" for chip, _, count in parts)
    title += f", for {space.within.title}" if space.within else ""
    with _watching() as watch:
        found = placed_or_short(workload, parts, space, PlanSearch(workload, parts, space, watch))
    if isinstance(found, Short):
        say_json(found) if as_json else show_short(title, found)
        sys.exit(INFEASIBLE)
    title = f"{title}, {plural(batch, 'sample')} a step"
    # An answer is there: from here on an interrupt does not undo it.
    with uninterrupted():
        file, drawn = _as_file(model, found.best[0].plan, asked, parts, nodes), page(title, found)
        readers = " and replan" if len(parts) == 1 else "; replan takes devices of one kind"

        def keep() -> None:
            folder = folders.folder_of(workload.name, out)
            write(folder / "plan.json", file)
            write_text(folder / "place.html", drawn)
            files = f"{folder / 'plan.json'} (for estimate --plan{readers}), {folder / 'place.html'} (for a browser)"
            if not as_json:
                say(f"\nwritten: {files}")

        give(lambda: say_json(found) if as_json else show_placed(title, found), keep)


def _space_of(
    trainer: str,
    model: str,
    workload: Workload,
    batch: int,
    held: dict[str, tuple[Any, ...]],
    parts: list[tuple[Device, Node, int]],
) -> PlanSpace:
    """Return the plans that a trainer runs; BadInput where it runs none of this model on these devices."""
    from hardplace.exports.architecture import architecture_of
    from hardplace.exports.export import refused_model
    from hardplace.exports.space import space_for
    from hardplace.exports.targets import target_of

    target, architecture = target_of(trainer, "--for"), architecture_of(model, workload, None)
    for chip, _, _ in parts:
        if said := refused_model(target, chip.vendor, architecture):
            raise BadInput(f"--for {trainer}: {said}")
    return space_for(target, workload, architecture, batch, held)


def _as_file(
    model: str, plan: Plan, asked: tuple[str, ...], parts: list[tuple[Device, Node, int]], nodes: tuple[str, ...]
) -> PlanFile:
    """Return the plan with its model, devices and nodes by the names that were asked for."""
    from hardplace.hardware.catalogue import node
    from hardplace.plans.plan import DeviceCount, PlanFile
    from hardplace.version import __version__

    named = {node(one).name: one for one in nodes}
    lots = tuple(
        DeviceCount(device=text.partition(":")[0], node=named.get(where.name, where.name), count=count)
        for text, (_, where, count) in zip(asked, parts, strict=True)
    )
    own = {one.name: getattr(plan, one.name) for one in fields(plan)}
    return PlanFile(**own, model=model, on=lots, version=__version__)


def inventory(asked: tuple[str, ...], devices: int | None, nodes: tuple[str, ...]) -> list[tuple[Device, Node, int]]:
    """Return the devices, their nodes and numbers; BadInput where a number is missing or a node has another kind."""
    from hardplace.hardware.catalogue import device, node
    from hardplace.plans.fleet import node_of

    named = [node(one) for one in nodes]
    found = []
    for text in asked:
        name, colon, number = text.partition(":")
        if colon and (not number.isdecimal() or int(number) < 1):
            raise BadInput(f"--device {text}: {number!r}: expected NAME:COUNT with a whole number from 1")
        if bool(colon) == (devices is not None) or (devices is not None and len(asked) > 1):
            raise BadInput(f"--device {text}: expected --devices with one kind, or NAME:COUNT with each of several")
        chip = device(name)
        named = [replace(one, device=chip.name) if one.device == Path(name).name else one for one in named]
        own = [one for one in named if one.device == chip.name]
        found.append((chip, own[0] if own else node_of(chip.name), int(number) if colon else devices or 0))
    for one in named:
        if one.device not in {chip.name for chip, _, _ in found}:
            names = ", ".join(chip.name for chip, _, _ in found)
            raise BadInput(f"--node {one.name}: has {one.device}: expected a node of {names}")
    return found


@contextmanager
def _watching() -> Iterator[Callable[[int, int, float, float], None]]:
    """Show the best step, the bound and what is left, on standard error."""
    with progress_bar() as show:

        def watch(considered: int, left: int, best_s: float, bound_s: float) -> None:
            best = f"best {best_s:.4g} s" if math.isfinite(best_s) else "no plan fits yet"
            show(
                f"{best}, bound {bound_s:.4g} s, {considered:,} plans, {left:,} to look at",
                bound_s / best_s if math.isfinite(best_s) else 0.0,
            )

        yield watch
