"""`hardplace search`: the chip and the placement that train a model fastest."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hardplace.cli.app import INFEASIBLE, app
from hardplace.cli.chips import budget_of
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hardplace.hardware.types import Setting
    from hardplace.search.types import Choices, Progress, Question
    from hardplace.workload.types import Workload


@app.command()
@click.argument("model")
@click.option(
    "--setting",
    "setting_name",
    default="hbm3",
    show_default=True,
    help="Memory, network and optimizer: hbm3 or phaze.",
)
@click.option("--area", "area_mm2", type=float, help="Area budget of the chip, mm2.  [default: 278.83, PHAZE's]")
@click.option("--devices", type=click.IntRange(min=1), default=1024, show_default=True, help="Number of accelerators.")
@click.option("--batch", type=click.IntRange(min=1), default=4096, show_default=True, help="Samples of a global batch.")
@click.option(
    "--memory",
    multiple=True,
    metavar="SIZE",
    help="Memory of a device to choose from, e.g. '80 GiB'.  [default: 32, 64, 80 GiB]",
)
@click.option(
    "--micro-batch",
    "micro_batches",
    type=click.IntRange(min=1),
    multiple=True,
    help="Samples of a micro-batch to choose from.  [default: 1, 2, 4, 8]",
)
@click.option(
    "--tensor-parallel",
    type=click.IntRange(min=1),
    multiple=True,
    help="Tensor-parallel degrees to choose from.  [default: 1, 2, 4, 8]",
)
@click.option(
    "--recompute",
    type=click.Choice(["none", "full"]),
    multiple=True,
    help="Recompute of activations to choose from.  [default: both]",
)
@click.option(
    "--gap",
    type=click.FloatRange(min=0, max=1, max_open=True),
    default=0.01,
    show_default=True,
    help="Stop when nothing can be faster by more than this share.",
)
@click.option("--seconds", "limit_s", type=click.FloatRange(min=0, min_open=True), help="Stop after this many seconds.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for result.json and page.html.  [default: hardplace-out/MODEL]",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the whole result as JSON on standard output, and nothing else there.",
)
def search(
    model: str,
    setting_name: str,
    area_mm2: float | None,
    devices: int,
    batch: int,
    memory: tuple[str, ...],
    micro_batches: tuple[int, ...],
    tensor_parallel: tuple[int, ...],
    recompute: tuple[str, ...],
    gap: float,
    limit_s: float | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Search for the chip within an area budget and the placement of MODEL that train fastest.

    MODEL is a name that `hardplace models` lists, or a Workload file. The answer carries a certificate: nothing
    in the space is faster than the printed bound. Ctrl-C stops with the best answer so far and its gap.
    """
    from hardplace.hardware.settings import setting as named
    from hardplace.hardware.settings import with_devices
    from hardplace.workload.load import load
    from hardplace.workload.rank import check_degrees
    from hardplace.workload.types import Parallelism

    setting = replace(with_devices(named(setting_name), devices), batch_samples=batch)
    workload = load(model)
    choices = _choices(setting, memory, micro_batches, tensor_parallel, recompute)
    if not workload.training:
        raise BadInput(f"{model}: recorded for inference; expected a training step, with its backward pass")
    for width in tensor_parallel:
        check_degrees(workload, Parallelism(tensor=width))
    question = _question(workload, setting, choices, area_mm2)
    folder = out or Path("hardplace-out") / workload.name.replace("/", "-")
    check_writable(folder)
    _run(question, gap, limit_s, folder, as_json)


def check_writable(folder: Path) -> None:
    """Raise BadInput, before any work, if the folder cannot be made or written."""
    nearest = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise BadInput(f"--out: {folder}: expected a folder that can be written; {nearest} cannot")


def _question(workload: Workload, setting: Setting, choices: Choices, area_mm2: float | None) -> Question:
    from hardplace.hardware.space import phaze_space
    from hardplace.search.types import Question

    budget = budget_of(area_mm2)
    return Question(workload=workload, setting=setting, budget=budget, chips=phaze_space(budget), choices=choices)


def _choices(
    setting: Setting,
    memory: tuple[str, ...],
    micro_batches: tuple[int, ...],
    tensor_parallel: tuple[int, ...],
    recompute: tuple[str, ...],
) -> Choices:
    from hardplace.search.types import Choices
    from hardplace.units import parse_quantity

    sizes = tuple(parse_quantity(text, "B", "--memory") for text in memory)
    fitting = tuple(size for size in micro_batches or (1, 2, 4, 8) if setting.batch_samples % size == 0)
    if not fitting:
        raise BadInput(f"--micro-batch: none of {micro_batches} divides the batch of {setting.batch_samples} samples")
    for width in tensor_parallel:
        if width > setting.cluster.devices:
            raise BadInput(f"--tensor-parallel: {width}: more than the {setting.cluster.devices} devices")
    return Choices(
        memory_bytes=tuple(sorted(sizes or setting.memory_capacities_bytes)),
        micro_batches=fitting,
        recompute=tuple(word == "full" for word in recompute or ("none", "full")),
        tensor_parallel=tuple(width for width in tensor_parallel or (1, 2, 4, 8) if width <= setting.cluster.devices),
    )


def _run(question: Question, gap: float, limit_s: float | None, folder: Path, as_json: bool) -> None:
    """Search, print, and write the folder."""
    from hardplace.files import dumps, write, write_text
    from hardplace.placement.types import Infeasible
    from hardplace.report.terminal import infeasible_line, show
    from hardplace.search.answer import answer

    with _progress_bar(gap) as report:
        exploration = answer(question, gap=gap, limit_s=limit_s, report=report)
    if isinstance(exploration, Infeasible):
        click.echo(f"infeasible: {question.workload.name}: {infeasible_line(exploration)}", err=True)
        raise SystemExit(INFEASIBLE)
    from hardplace.report.page import page

    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "result.json", exploration)
    write_text(folder / "page.html", page(exploration))
    if as_json:
        click.echo(dumps(exploration))
    else:
        show(exploration)
        click.echo(f"\nwritten: {folder / 'result.json'}, {folder / 'page.html'} (open it in a browser)")


@contextmanager
def _progress_bar(gap: float) -> Iterator[Callable[[Progress], None]]:
    """Show the incumbent, the bound and how far the gap has closed, on standard error."""
    import math

    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("laying out the space", total=1.0)

        def report(now: Progress) -> None:
            left = now.bound / now.score - 1.0 if now.score else math.inf
            closed = math.log(max(left, 1e-9)) / math.log(max(gap, 1e-6)) if left < 1 else 0.0
            text = f"best {now.score:,.1f}  bound {now.bound:,.1f} samples/s  gap {left:.2%}"
            bar.update(task, description=text, completed=min(1.0, closed))

        yield report
