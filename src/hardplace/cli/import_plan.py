"""`hardplace import FILE`: the plan of what somebody runs today, from the trainer's own flags or configuration."""

from __future__ import annotations

from pathlib import Path

import click

from hardplace.cli import folders
from hardplace.cli.app import app
from hardplace.cli.printing import say


@app.command("import")
@click.argument("path", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--from", "trainer", metavar="TARGET", help="megatron, torchtitan, deepspeed, accelerate.")
@click.option("--model", metavar="NAME|FILE", help="What it trains.  [default: by the sizes in FILE]")
@click.option("--device", metavar="NAME", help="What it runs on.")
@click.option("--node", metavar="FILE|NAME", help="Its node.  [default: the device's usual]")
@click.option("--devices", type=click.IntRange(min=1), help="Number of devices, if FILE does not say.")
@click.option("--batch", type=click.IntRange(min=1), help="Samples of a step, if FILE does not say.")
@click.option("--micro-batch", type=click.IntRange(min=1), help="Samples of a micro-batch, if FILE does not say.")
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
    from the best it is, `replan` starts from it. Settings of FILE that a plan cannot express are listed.

    \b
    hardplace import run.sh --device h100-sxm --devices 64
    hardplace import job.toml --model llama3-8b --device h100-sxm
    hardplace import ds_config.json --model llama2-7b --device a100-80gb-sxm --devices 16
    """
    from hardplace.api.trainer_files import imported
    from hardplace.exports.targets import target_of
    from hardplace.files import write

    if trainer:
        target_of(trainer, "--from")
    found = imported(
        path, trainer=trainer, model=model, device=device, node=node, devices=devices, batch=batch,
        micro_batch=micro_batch,
    )  # fmt: skip
    for note in found.notes:
        say(f"warning: {note}", err=True)
    folder = folders.folder_of(f"{found.workload}-imported", out)
    plan = found.file
    write(folder / "plan.json", plan)
    say(
        f"{plan.model} on {plan.devices:,} devices: tensor {plan.tensor}, context {plan.context}, data {plan.data}, "
        f"pipeline {plan.pipeline} x {plan.virtual}, expert {plan.expert}, ZeRO {plan.zero}, {plan.micro_batches} "
        f"micro-batches of {plan.micro_batch}"
    )
    asked = f"{plan.model} --plan {folder / 'plan.json'}" + (f" --software {found.software}" if found.software else "")
    say(f"written: {folder / 'plan.json'} (hardplace estimate {asked} prices it)")
