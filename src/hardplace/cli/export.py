"""`hardplace export PLAN --to TARGET`: a plan as the files of a trainer, with the command that launches it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hardplace.cli import folders
from hardplace.cli.app import INFEASIBLE, app
from hardplace.cli.printing import say
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from hardplace.exports.job import ExportJob
    from hardplace.exports.planned import PlannedRun

_EXPORTS_IT = "; --nearest exports it"


@app.command()
@click.argument("path", metavar="PLAN", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--to",
    "target",
    metavar="TARGET",
    help="megatron, torchtitan, deepspeed, accelerate, maxtext, ..., chakra, scalesim.",
)
@click.option("--list", "listed", is_flag=True, help="List the targets: versions, and what checks the files.")
@click.option("--nearest", is_flag=True, help="Where TARGET cannot run the plan, export the nearest one that it can.")
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="The model's config.json.")
@click.option("--model", metavar="NAME|FILE", help="Model, if PLAN does not name it.")
@click.option("--device", "devices", multiple=True, metavar="NAME[:COUNT]", help="Devices, if PLAN does not name them.")
@click.option("--node", "nodes", multiple=True, metavar="FILE|NAME", help="Node, if PLAN does not name it.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder.  [default: hardplace-out/MODEL-TARGET]"
)
def export(
    path: Path | None,
    target: str | None,
    listed: bool,
    nearest: bool,
    config: Path | None,
    model: str | None,
    devices: tuple[str, ...],
    nodes: tuple[str, ...],
    out: Path | None,
) -> None:
    """Write PLAN as the files and the launch command of a trainer; or say what it cannot run of the plan, and the
    nearest plan that it can with what that costs, exit code 3.

    \b
    hardplace export --list
    hardplace export hardplace-out/llama2-7b/plan.json --to megatron
    hardplace export hardplace-out/llama2-7b/plan.json --to torchtitan --nearest
    hardplace export hardplace-out/llama2-7b/plan.json --to chakra     one step, a trace a rank, for ASTRA-sim
    hardplace export llama2-7b --to scalesim --device tpu-v4           a model's products on one array of a chip
    """
    from hardplace.api import load
    from hardplace.exports.export import exported, refused_model
    from hardplace.exports.planned import job_of, planned_of
    from hardplace.exports.targets import target_of
    from hardplace.files import write_text
    from hardplace.report.exports import show_targets

    if listed:
        show_targets()
        return
    if path is None or target is None:
        raise BadInput("export: expected PLAN and --to TARGET, or --list")
    if target == "scalesim":
        _scalesim(str(path), devices, out)
        return
    if target == "chakra":
        _chakra(path, model, devices, nodes, out)
        return
    asked = target_of(target, "--to")
    planned = planned_of(path, model, devices, nodes, load)
    job = job_of(planned, asked, planned.plan, config)
    if said := refused_model(asked, job.device.vendor, job.architecture):
        raise BadInput(f"{path}: {said}")
    job = _runnable(planned, job, nearest)
    found = exported(job)
    folders.check_writable(out)
    for warning in found.warnings:
        say(f"warning: {warning}", err=True)
    folder = folders.folder_of(f"{planned.workload.name}-{asked}", out)
    for file in found.files:
        write_text(folder / file.name, file.text)
    say(f"written: {', '.join(str(folder / file.name) for file in found.files)}")
    say(f"start it with: {found.command.replace('bash ', f'bash {folder}/')}")


def _scalesim(model: str, devices: tuple[str, ...], out: Path | None) -> None:
    """Write a model's products on one array of a chip for SCALE-Sim."""
    from hardplace.api import load
    from hardplace.exports.scalesim import scalesim_files
    from hardplace.files import write_text
    from hardplace.hardware.sheet import find

    if len(devices) != 1:
        raise BadInput("export: --to scalesim: expected MODEL in place of PLAN, and one --device, a chip with arrays")
    workload = load(model)
    files = scalesim_files(find(devices[0]), workload)
    folder = folders.folder_of(f"{workload.name}-scalesim", out)
    for file in files:
        write_text(folder / file.name, file.text)
    say(f"written: {', '.join(str(folder / file.name) for file in files)}")


def _chakra(path: Path, model: str | None, devices: tuple[str, ...], nodes: tuple[str, ...], out: Path | None) -> None:
    """Write a step as traces for a network simulator."""
    from hardplace.api import load
    from hardplace.exports.chakra import chakra_traces
    from hardplace.exports.planned import planned_of
    from hardplace.files import write_bytes

    planned = planned_of(path, model, devices, nodes, load)
    traces = list(chakra_traces(planned))
    folder = folders.folder_of(f"{planned.workload.name}-chakra", out)
    for name, content in traces:
        write_bytes(folder / name, content)
    say(f"written: {folder}/rank.0.et to rank.{planned.plan.devices - 1}.et, {folder / 'comm_groups.json'}")


def _runnable(planned: PlannedRun, job: ExportJob, nearest: bool) -> ExportJob:
    """Return the job, or that of the nearest plan; ends with exit code 3 where neither can be had."""
    from hardplace.exports.export import verdict_of
    from hardplace.report.exports import nearest_line, refusals
    from hardplace.report.plan import fit

    verdict = verdict_of(job, planned.priced)
    for line in refusals(verdict):
        say(line, err=True)
    if verdict.broken:
        lead, more = ("exported in its place: ", "") if nearest else ("the nearest that it can run: ", _EXPORTS_IT)
        found = verdict.nearest is not None
        say(f"{lead if found else ''}{nearest_line(verdict)}{more if found else ''}", err=True)
    if verdict.runnable is None or (verdict.broken and not nearest):
        sys.exit(INFEASIBLE)
    if short := fit(verdict.runnable.estimate):
        say(f"{planned.place}: {short}; nothing is written", err=True)
        sys.exit(INFEASIBLE)
    return verdict.runnable
