"""`hardplace import FILE`: the plan of what somebody runs today, from the trainer's own flags or configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hardplace.cli import folders
from hardplace.cli.app import app
from hardplace.cli.printing import say
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from hardplace.plans.plan_files import DeviceCount


@app.command("import")
@click.argument("path", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--from", "trainer", metavar="TARGET", help="megatron, torchtitan, deepspeed, accelerate.")
@click.option("--model", metavar="NAME|FILE", help="What it trains.  [default: by the sizes in FILE]")
@click.option("--device", metavar="NAME", help="What it runs on.")
@click.option("--node", metavar="FILE|NAME", help="Its node.  [default: the device's usual]")
@click.option("--devices", type=click.IntRange(min=1), help="How many, where FILE leaves that open.")
@click.option("--batch", type=click.IntRange(min=1), help="Samples a step, where FILE leaves that open.")
@click.option("--micro-batch", type=click.IntRange(min=1), help="Of a micro-batch, where FILE leaves that open.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder.  [default: by the model's name]")
def import_plan(
    path: Path,
    trainer: str | None,
    model: str | None,
    device: str | None,
    node: str | None,
    devices: int | None,
    batch: int | None,
    micro_batch: int | None,
    out: Path | None,
) -> None:
    """Write the plan of FILE, which a trainer runs, as plan.json: `estimate --plan` prices it, `place` says how far
    from the best it is, `replan` starts from it. What FILE says and a plan cannot is named.

    \b
    hardplace import run.sh --device h100-sxm --devices 64
    hardplace import job.toml --model llama3-8b --device h100-sxm
    hardplace import ds_config.json --model llama2-7b --device a100-80gb-sxm --devices 16
    """
    from hardplace.api import load
    from hardplace.exports.importers.found import Answers
    from hardplace.exports.importers.read import imported_plan, trainer_of
    from hardplace.exports.targets import target_of
    from hardplace.files import write
    from hardplace.plans.plan import stage_layers
    from hardplace.plans.plan_files import PlanFile
    from hardplace.version import __version__

    target = target_of(trainer, "--from") if trainer else trainer_of(path)
    found = imported_plan(path, target, Answers(devices=devices, batch=batch, micro_batch=micro_batch))
    name = model or _model(path, found.sizes)
    workload = load(name)
    layers = len(workload.order) - 2
    if found.sizes.get("layers", layers) != layers:
        raise BadInput(f"{path}: {found.sizes['layers']} layers: expected those of {name}, {layers}")
    plan = found.plan
    if plan.pipeline > 1:
        stage_layers(layers, plan)
    own = {one.name: getattr(plan, one.name) for one in fields(plan)}
    file = PlanFile(**own, model=name, on=_on(device, node, plan.devices), version=__version__)
    for note in found.notes:
        say(f"warning: {note}", err=True)
    folder = folders.folder_of(f"{workload.name}-imported", out)
    write(folder / "plan.json", file)
    say(
        f"{name} on {plan.devices:,} devices: tensor {plan.tensor}, context {plan.context}, data {plan.data}, pipeline "
        f"{plan.pipeline} x {plan.virtual}, expert {plan.expert}, ZeRO {plan.zero}, {plan.micro_batches} micro-batches "
        f"of {plan.micro_batch}"
    )
    say(f"written: {folder / 'plan.json'} (hardplace estimate {name} --plan {folder / 'plan.json'} prices it)")


def _model(path: Path, sizes: Mapping[str, int]) -> str:
    """Return the model of the catalogue that has the sizes of a file; BadInput where they do not say which."""
    from hardplace.exports.importers.read import model_of_sizes

    found = model_of_sizes(sizes)
    if not found:
        raise BadInput("model", "missing", f"a name or a Workload file: {path} does not say which model it trains")
    return found


def _on(device: str | None, node: str | None, devices: int) -> tuple[DeviceCount, ...]:
    """Return the devices as a plan's file names them; () where none is said."""
    from hardplace.hardware.catalogue import device as device_named
    from hardplace.hardware.catalogue import node as node_named
    from hardplace.plans.fleet import node_of
    from hardplace.plans.plan_files import DeviceCount

    if device is None:
        return ()
    where = node_named(node) if node else node_of(device_named(device).name)
    return (DeviceCount(device=device, node=node or where.name, count=devices),)
