"""`hardplace verify`: a script that times a model's kernels on the user's own GPU."""

from __future__ import annotations

from pathlib import Path

import click

from hardplace.cli import options
from hardplace.cli.app import app
from hardplace.cli.printing import say


@app.command()
@click.argument("model")
@options.micro_batch
@options.tensor_parallel
@click.option("--sweep", is_flag=True, help="Also time 300 GEMMs, unaligned ones above all, and two reference layers.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File.  [default: verify_MODEL.py]")
def verify(model: str, micro_batch: int, tensor_parallel: int, sweep: bool, out: Path | None) -> None:
    """Write a script that times each distinct kernel of a plan of MODEL, and a real layer, on your GPU.

    The script needs only PyTorch. It writes the CSV that `hardplace calibrate` reads and `hardplace validate` judges.
    """
    from hardplace.api import load
    from hardplace.cost.gpu.fitting.script import plan_of, script_text
    from hardplace.files import path_name, write_text
    from hardplace.workload.sharding.degrees import check_degrees
    from hardplace.workload.types import Parallelism

    workload = load(model)
    check_degrees(workload, Parallelism(tensor=tensor_parallel))
    plan = plan_of(workload, micro_batch, tensor_parallel, sweep=sweep)
    where = out or Path(f"verify_{path_name(workload.name)}.py")
    write_text(where, script_text(plan))
    say(
        f"written: {where}: {len(plan.gemms)} GEMMs, {len(plan.attention)} attention kernels, "
        f"{len(plan.layers)} layers\n"
        f"next: python {where} --out measured.csv, then hardplace calibrate measured.csv --device NAME"
    )
