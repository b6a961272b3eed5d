"""`hardplace schedule`: the kernels of one layer on the cores of one chip."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hardplace.cli import folders, options
from hardplace.cli.app import app
from hardplace.cli.printing import give, say, say_json
from hardplace.errors import BadInput, unknown

if TYPE_CHECKING:
    from hardplace.design.exact.layer_schedule import LayerPass, LayerQuestion
    from hardplace.hardware.types import Chips
    from hardplace.workload.types import Layer, Workload

_CHIP = re.compile(r"(\d+)x(\d+)x(\d+)[-+](\d+)x(\d+)[-,]\s*(\d+)\s*MiB", re.ASCII)
_MOST_CORES = 2**16  # of a kind, and lanes or rows


@app.command()
@click.argument("model")
@click.option(
    "--chip",
    "chip_text",
    required=True,
    metavar="CHIP",
    help="A name that `hardplace search` prints, such as 8x128x128-2x128-128MiB, or 8x128x128+2x128,128MiB: tensor "
    "cores x rows x columns, vector cores x lanes, buffer.",
)
@options.micro_batch
@options.tensor_parallel
@click.option("--layer", "layer_name", help="The layer.  [default: the one that the model repeats most]")
@click.option(
    "--phase",
    "phases",
    type=click.Choice(["forward", "backward", "recompute"]),
    multiple=True,
    help="What to schedule; recompute: the recomputed forward pass joined to the backward pass.  "
    "[default: forward, backward]",
)
@click.option(
    "--rule",
    type=click.Choice(["exclusive", "sharing"]),
    default="exclusive",
    show_default=True,
    help="Whether a kernel on all cores of its kind has the chip to itself, or leaves the other kind free.",
)
@click.option("--splits", is_flag=True, help="Let kernels run on 2, 4, 8, ... cores, besides on one and on all.")
@options.setting
@options.gap("Stop when no schedule can be shorter by more than this share.", 0.001)
@options.seconds("Stop each pass after this many seconds.", 30.0)
@options.folder("Folder for schedule.json, page.html and trace.json.  [default: hardplace-out/MODEL-schedule]")
@options.as_json
def schedule(
    model: str,
    chip_text: str,
    micro_batch: int,
    tensor_parallel: int,
    layer_name: str | None,
    phases: tuple[str, ...],
    rule: str,
    splits: bool,
    setting_name: str,
    gap: float,
    limit_s: float,
    out: Path | None,
    as_json: bool,
) -> None:
    """Schedule one layer of MODEL on the cores of a chip: makespan, bound, utilisation, Gantt chart and trace.

    MODEL is a name that `hardplace models` lists, or a Workload file. No schedule is shorter than the printed bound.
    trace.json opens in ui.perfetto.dev.
    """
    from hardplace.api import load
    from hardplace.design.exact.layer_schedule import LayerPass, LayerQuestion
    from hardplace.design.scheduling.types import SharingRule
    from hardplace.hardware.settings import setting as named

    setting = named(setting_name)
    workload = load(model)
    question = LayerQuestion(
        layer=_layer(workload, tensor_parallel, layer_name),
        tensor_parallel=tensor_parallel,
        micro_batch=micro_batch,
        chips=chip_of(chip_text),
        setting=setting,
        rule=SharingRule(rule),
        splits=splits,
    )
    folders.check_writable(out)
    wanted = tuple(LayerPass(name) for name in dict.fromkeys(phases)) or (LayerPass.FORWARD, LayerPass.BACKWARD)
    _run(question, workload.name, wanted, gap, limit_s, out, as_json)


def chip_of(text: str) -> Chips:
    """Return the chip that a name or a specification stands for; BadInput for anything else."""
    from hardplace.hardware.phaze import chips_from_rows
    from hardplace.units import MIB

    expected = "expected a chip such as 8x128x128-2x128-128MiB (tensor cores, vector cores, buffer)"
    match = _CHIP.fullmatch(text.strip())
    if match is None:
        raise BadInput(f"--chip: {text!r}: {expected}")
    sizes = [int(digits) for digits in match.groups()]
    if not all(0 < size <= _MOST_CORES for size in sizes):
        raise BadInput(f"--chip: {text!r}: every number must lie in 1 to {_MOST_CORES}; {expected}")
    import numpy as np

    try:
        return chips_from_rows(np.array([[*sizes[:5], sizes[5] * MIB]], dtype=np.int64))
    except BadInput as problem:
        raise BadInput(f"--chip: {text!r}: {problem}") from None


def _layer(workload: Workload, tensor_parallel: int, name: str | None) -> Layer:
    """Return the layer by its name, or the one that the model repeats most."""
    from hardplace.workload.sharding import shard
    from hardplace.workload.sharding.degrees import check_degrees
    from hardplace.workload.types import Parallelism

    check_degrees(workload, Parallelism(tensor=tensor_parallel))
    layers = shard(workload, Parallelism(tensor=tensor_parallel)).layers
    if name is None:
        return layers[max(workload.order, key=workload.order.count)]
    for layer in layers:
        if layer.name == name:
            return layer
    raise unknown("layer", name, [layer.name for layer in layers])


def _run(
    question: LayerQuestion,
    model: str,
    wanted: tuple[LayerPass, ...],
    gap: float,
    limit_s: float,
    out: Path | None,
    as_json: bool,
) -> None:
    """Schedule, print, and write the folder."""
    from hardplace.design.exact.layer_schedule import schedule_pass
    from hardplace.files import dumps, write, write_text
    from hardplace.hardware.phaze import accelerator
    from hardplace.report.schedule import LayerReport, page, scheduled_pass, show, trace
    from hardplace.version import __version__

    chip = accelerator(question.chips, 0, question.setting, question.setting.memory_capacities_bytes[-1])
    report = LayerReport(
        version=__version__,
        model=model,
        layer=question.layer.name,
        micro_batch=question.micro_batch,
        tensor_parallel=question.tensor_parallel,
        setting=question.setting.name,
        rule=question.rule,
        splits=question.splits,
        chip=chip,
        passes=tuple(
            scheduled_pass(which.value, schedule_pass(question, which, gap=gap, limit_s=limit_s), chip)
            for which in wanted
        ),
    )
    drawn, traced = page(report), dumps(trace(report), compact=True)

    def keep() -> None:
        folder = folders.folder_of(f"{model}-schedule", out)
        write(folder / "schedule.json", report)
        write_text(folder / "page.html", drawn)
        write_text(folder / "trace.json", traced)
        files = ", ".join(str(folder / name) for name in ("schedule.json", "page.html", "trace.json"))
        if not as_json:
            say(f"\nwritten: {files} (trace.json opens in ui.perfetto.dev)")

    give(lambda: say_json(report) if as_json else show(report), keep)
