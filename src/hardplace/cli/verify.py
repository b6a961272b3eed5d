"""`hardplace verify`: a script that times a model's kernels on the user's own GPU."""

from __future__ import annotations

from pathlib import Path

import click

from hardplace.cli import options
from hardplace.cli.app import app
from hardplace.cli.printing import say
from hardplace.errors import BadInput


@app.command()
@click.argument("model")
@options.micro_batch
@options.tensor_parallel
@click.option("--sweep", is_flag=True, help="Also time 300 GEMMs, mostly unaligned, and two reference layers.")
@click.option("--cpu", is_flag=True, help="Time the operators of one inference on this CPU instead, here and now.")
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    help="Repetitions with --cpu; the minimum counts.  [default: 5]",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File.  [default: verify_MODEL.py; with --cpu cpu_MODEL.csv]",
)
def verify(
    model: str, micro_batch: int, tensor_parallel: int, sweep: bool, cpu: bool, repeats: int | None, out: Path | None
) -> None:
    """Write a script that times each distinct kernel of a plan of MODEL, and a real layer, on your GPU.

    The script needs only PyTorch. It writes the CSV that `hardplace calibrate` reads and `hardplace validate` judges.

    With --cpu the operators of one inference, and usual ones besides, are timed here on one thread (extra torch), and
    the table is a --device of `hardplace split MODEL`.
    """
    from hardplace.api import load
    from hardplace.cost.gpu.fitting.script import plan_of, script_text
    from hardplace.files import path_name, write_text
    from hardplace.workload.sharding.degrees import check_degrees
    from hardplace.workload.types import Parallelism

    if repeats is not None and not cpu:
        raise BadInput("--repeats: only with --cpu; the script of a GPU repeats by itself")
    if cpu:
        if sweep or tensor_parallel > 1:
            raise BadInput("--cpu: not beside --sweep, --tensor-parallel: expected the operators of one inference")
        _time_cpu(model, micro_batch, 5 if repeats is None else repeats, out)
        return
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


def _time_cpu(model: str, batch: int, repeats: int, out: Path | None) -> None:
    """Write the table of operators on this CPU, and say how the whole compares with their sum by the fit."""
    from hardplace.cost.cpu.table import cpu_named, table_text
    from hardplace.files import path_name, write_text

    try:
        from hardplace.run.cpu_times import anchors, step_named, timed
    except ImportError:
        raise BadInput("cpu", None, "the extra torch: pip install 'hardplace[torch]'") from None
    run, usual = timed(step_named(model), batch, repeats), anchors(repeats)
    where = out or Path(f"cpu_{path_name(model)}.csv")
    title = (
        f"one thread, fp32: operators of {model} at batch {batch} and usual ones; least processor seconds of repeats"
    )
    write_text(where, table_text([*run.operators, *usual.operators], title))
    fit = cpu_named(str(where))
    predicted_s = sum(fit.seconds(one) for one in run.operators)
    say(
        f"written: {where}: {len(run.operators)} operators of {model}; the whole takes {run.whole_s * 1e3:.4g} ms of "
        f"processor time, the sum of the fitted operators {predicted_s * 1e3:.4g} ms\n"
        f"next: hardplace split {model} --device {where} --device NAME"
    )
