"""`hardplace schedule`: the kernels of one layer on the cores of one chip."""

from __future__ import annotations

from pathlib import Path

import click

from hardplace.cli import folders, options
from hardplace.cli.app import app
from hardplace.cli.printing import give_answer, say_written


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
@click.option(
    "--splits", is_flag=True, help="Let kernels run on 2, 4, 8, ... cores, in addition to one core and all cores."
)
@options.setting
@options.gap("Stop when no schedule can be faster by more than this share.", 0.001)
@options.seconds("Stop each pass after this many seconds.", 30.0)
@options.folder("Folder for schedule.json, page.html and trace.json.  [default: hardplace-out/MODEL-schedule]")
@options.trace_file
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
    trace_path: Path | None,
) -> None:
    """Schedule one layer of MODEL on the cores of a chip: makespan, bound, utilisation, Gantt chart and trace.

    MODEL is a name that `hardplace models` lists, or a Workload file. No schedule is shorter than the printed bound.
    trace.json opens in ui.perfetto.dev; --trace writes the same in Perfetto's own format.
    """
    from hardplace import api
    from hardplace.files import dumps, write_bytes, write_text
    from hardplace.report.layer_trace import layer_events, layer_trace
    from hardplace.report.schedule import page, show

    folders.check_writable(out)
    found = api.schedule(
        model, chip_text, layer=layer_name, phase=phases or ("forward", "backward"), micro_batch=micro_batch,
        tensor=tensor_parallel, rule=rule, splits=splits, setting=setting_name, gap=gap, seconds=limit_s,
    )  # fmt: skip
    drawn, traced = page(found, folders.command()), dumps(layer_events(found), compact=True)
    if trace_path is not None:
        write_bytes(trace_path, layer_trace(found))

    def keep() -> None:
        folder = folders.folder_of(f"{found.model}-schedule", out)
        found.save(folder / "schedule.json")
        write_text(folder / "page.html", drawn)
        write_text(folder / "trace.json", traced)
        files = ", ".join(str(folder / name) for name in ("schedule.json", "page.html", "trace.json"))
        say_written(f"{files} (trace.json opens in ui.perfetto.dev)", trace_path)

    give_answer(found, show, keep)
