"""`hardplace run PLAN --model module:function`: a plan applied to a real module, and held against its prediction."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hardplace.cli import options
from hardplace.cli.app import app
from hardplace.cli.printing import json_asked, say, say_json, say_written
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from hardplace.plans.plan import Plan
    from hardplace.run.types import RunResult
    from hardplace.workload.types import Workload

FAILED = 1
TOLERANCE = 1e-5  # of the loss and of each gradient, relative, in fp32


@app.command()
@click.argument("path", metavar="PLAN", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--model", "source", required=True, metavar="MODULE:FUNCTION", help="Returns (module, inputs), as `trace`."
)
@click.option("--steps", type=click.IntRange(min=1, max=1000), default=3, show_default=True, help="Steps of AdamW.")
@click.option(
    "--runs", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Table of runs to which the measured step is added, for `anchor`.",
)  # fmt: skip
@options.as_json
def run(path: Path, source: str, steps: int, runs: Path | None) -> None:
    """Apply PLAN to a module of PyTorch and take some steps in fp32: 2 to 8 processes here over gloo, or those that
    torchrun started, on GPUs where there are any. Losses and all gradients are compared with a single process's (1e-5,
    else exit code 1); bytes of weights, gradients, states and kept activations, and the collectives of a step, with
    the plan's.

    \b
    hardplace run plan.json --model my_package.my_model:tiny --steps 3
    hardplace run plan.json --model my_package.my_model:tiny --runs my-steps.csv
    torchrun --nproc-per-node 8 -m hardplace run plan.json --model my_package.my_model:tiny

    Divided: tensor, sequence, pipeline (all schedules), data with ZeRO and hybrid sharding, context, expert, recompute,
    of transformers that Hugging Face calls Llama, Mistral, Qwen, Mixtral and BERT; any other module with data
    parallelism alone. Needs the extra: pip install 'hardplace[torch]'.
    """
    try:
        import torch  # noqa: F401
    except ImportError as problem:
        raise BadInput(f"run needs torch ({problem}): pip install 'hardplace[torch]'") from None
    from hardplace.plans.plan_files import read_plan
    from hardplace.report.run import show_run
    from hardplace.run.execute import executed
    from hardplace.run.launch import RankFailed
    from hardplace.run.measured import shape_told
    from hardplace.workload.recording.source import function_of

    plan = read_plan(path)
    workload, kept = _recorded(source)
    try:
        if runs is not None:
            shape_told(workload, plan)
        found = executed(plan, workload, kept, function_of(source), steps)
    except BadInput as problem:
        raise BadInput(f"{path}: {problem}") from None
    except RankFailed as problem:
        say(f"hardplace: {path}: {problem}", err=True)
        sys.exit(FAILED)
    if found is None:  # another rank tells
        return
    say_json(found) if json_asked() else show_run(workload.name, _as_run(plan), found, TOLERANCE)
    if max(found.loss_error, found.gradient_error) > TOLERANCE:
        sys.exit(FAILED)
    if runs is not None:
        _keep(runs, workload, _as_run(plan), found)


def _keep(runs: Path, workload: Workload, plan: Plan, found: RunResult) -> None:
    """Add the measured step to a table of runs, and say what takes it."""
    import os

    import torch

    from hardplace.run.measured import append_row, measured_row

    gpu = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if gpu else "cpu"
    node = int(os.environ.get("LOCAL_WORLD_SIZE", plan.devices))
    append_row(runs, measured_row(workload.name, workload, plan, found, device, node))
    use = "`hardplace anchor` takes it" if gpu else "a log alone: anchor takes rows of devices of the catalogue"
    say_written(f"{runs}, a row of {device} ({use})")


def _recorded(source: str) -> tuple[Workload, Workload]:
    """Return the recording of the module, of which the plan predicts, and one in fp32, as it is run."""
    import torch

    from hardplace.workload.recording.huggingface import Options
    from hardplace.workload.recording.layers import record_workload
    from hardplace.workload.recording.source import step_of_function

    name = source.rpartition(":")[2]
    plain, wide = (
        record_workload(step_of_function(source, name, one)) for one in (Options(), Options(dtype=torch.float32))
    )
    return plain, wide


def _as_run(plan: Plan) -> Plan:
    from hardplace.run.predicted import in_fp32

    return in_fp32(plan)
