"""`hardplace search`: the chip and the placement that train a model fastest."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hardplace.cli import folders, options
from hardplace.cli.app import INFEASIBLE, app
from hardplace.cli.goal import Asking, area_limit, asking_options, question_of
from hardplace.cli.printing import give, say, say_json
from hardplace.cli.progress import progress_bar, uninterrupted
from hardplace.cli.search_shapes import Shaping, check_alone, shape_options
from hardplace.cli.working import where_options, working
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hardplace.branch_and_bound.types import Progress, StoppingRule
    from hardplace.cli.working import Where
    from hardplace.design.goals import Objective
    from hardplace.design.partition.types import Infeasible
    from hardplace.design.question import Question
    from hardplace.design.types import DesignResult, ParetoResult, PlanChoices, SharedResult
    from hardplace.hardware.types import Setting
    from hardplace.workload.types import Workload


@app.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@options.setting
@options.area
@options.devices
@options.batch
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
@options.gap("Stop when nothing can be faster by more than this share.", 0.01)
@options.seconds("Stop after this many seconds.")
@options.folder("Folder for result.json and page.html.  [default: hardplace-out/MODEL, MODEL-2, ...]")
@options.as_json
@click.option("--exhaustive", is_flag=True, help="Evaluate every candidate of a small space exactly.")
@click.option("--evaluations", type=click.IntRange(min=1), help="Stop after this many exact evaluations.")
@asking_options
@shape_options
@where_options
def search(
    *,
    asking: Asking,
    shaping: Shaping,
    where: Where,
    evaluations: int | None,
    exhaustive: bool,
    models: tuple[str, ...],
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
    """Search for the chip within limits and the placement of MODEL that train fastest, or do best at what is asked.

    MODEL is a name that `hardplace models` lists, or a Workload file. The answer carries a certificate: nothing
    in the space is better than the printed bound. Several models share one chip, or a fleet of the best few.
    Ctrl-C stops with the best answer so far and its gap. After a kill, the same command goes on from the journal in
    the folder, and ends at the same answer. Without --out, each different search has a folder of its own.
    """
    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.hardware.settings import setting as named
    from hardplace.hardware.settings import with_devices
    from hardplace.workload.load import load

    setting = replace(with_devices(named(setting_name), devices), batch_samples=batch)
    workloads = tuple(load(model) for model in models)
    choices = choices_of(setting, memory, micro_batches, tensor_parallel, recompute)
    for model, workload in zip(models, workloads, strict=True):
        _check(model, workload, tensor_parallel)
    if len({workload.name for workload in workloads}) < len(workloads):
        raise BadInput(f"{' '.join(models)}: a model twice; expected different ones")
    asking = replace(asking, limits=(*area_limit(area_mm2), *asking.limits))
    question = question_of(workloads, setting, choices, asking)
    if memory and question.space.memories:
        raise BadInput(
            f"--memory: the chips of space {question.space.name} bring their own; expected --limit memory=SIZE"
        )
    if exhaustive and (limit_s or evaluations or where.workers > 1 or where.scheduler):
        raise BadInput(
            "--exhaustive: runs to its end, here; expected no --seconds, --evaluations, --workers, --scheduler"
        )
    ends = StoppingRule(gap=gap, limit_s=limit_s, evaluations=evaluations, exhaustive=exhaustive)
    if shaping.shapes:
        folders.check_writable(out)
        _with_shapes(models, question, shaping, ends, out, where, as_json)
        return
    check_alone(shaping)
    folders.check_writable(out)
    _run(question, ends, out, where, as_json)


def _with_shapes(
    models: tuple[str, ...],
    question: Question,
    shaping: Shaping,
    ends: StoppingRule,
    out: Path | None,
    where: Where,
    as_json: bool,
) -> None:
    """Search shapes too; BadInput for what goes with chips and plans only."""
    from functools import partial

    from hardplace.cli.search_shapes import run

    if len(models) > 1:
        raise BadInput(f"--shapes: {len(models)} models: expected one")
    if where.workers > 1 or where.scheduler is not None:
        raise BadInput("--shapes: not beside --workers, --scheduler: expected one process")
    bar = partial(_progress_bar, ends.gap)
    run(models[0], question, shaping, ends, out, bar, as_json=as_json)


def _check(model: str, workload: Workload, tensor_parallel: tuple[int, ...]) -> None:
    """Raise BadInput for a model that cannot be trained, or a degree that cannot divide it."""
    from hardplace.workload.sharding.degrees import check_degrees
    from hardplace.workload.types import Parallelism

    if not workload.training:
        raise BadInput(f"{model}: recorded for inference; expected a training step, with its backward pass")
    for width in tensor_parallel:
        check_degrees(workload, Parallelism(tensor=width))


def choices_of(
    setting: Setting,
    memory: tuple[str, ...],
    micro_batches: tuple[int, ...],
    tensor_parallel: tuple[int, ...],
    recompute: tuple[str, ...],
) -> PlanChoices:
    """Return what a plan may choose; an empty option leaves its default. BadInput for what divides nothing."""
    from hardplace.design.types import PlanChoices
    from hardplace.units import parse_quantity

    sizes = tuple(parse_quantity(text, "B", "--memory") for text in memory)
    fitting = tuple(size for size in micro_batches or (1, 2, 4, 8) if setting.batch_samples % size == 0)
    if not fitting:
        raise BadInput(f"--micro-batch: none of {micro_batches} divides the batch of {setting.batch_samples} samples")
    for width in tensor_parallel:
        if width > setting.cluster.devices:
            raise BadInput(f"--tensor-parallel: {width}: more than the {setting.cluster.devices} devices")
    return PlanChoices(
        memory_bytes=tuple(sorted(sizes or setting.memory_capacities_bytes)),
        micro_batches=fitting,
        recompute=tuple(word == "full" for word in recompute or ("none", "full")),
        tensor_parallel=tuple(width for width in tensor_parallel or (1, 2, 4, 8) if width <= setting.cluster.devices),
    )


def _run(question: Question, ends: StoppingRule, out: Path | None, where: Where, as_json: bool) -> None:
    """Search, print, and write the folder."""
    from hardplace.design.partition.types import Infeasible
    from hardplace.files import write, write_text
    from hardplace.report.terminal import infeasible_line

    goal = question.goal
    alone = goal.objectives[0] if len(goal.objectives) == len(goal.norms) == 1 else None
    with working(question, ends, out, where) as work, ExitStack() as writing:
        with _progress_bar(ends.gap, alone) as report:
            found = _asked(question)(question, ends, report=work.reporting(report), evaluator=work.evaluator)
            writing.enter_context(uninterrupted())
        if isinstance(found, Infeasible):
            work.journal.end(found)
            names = ", ".join(workload.name for workload in question.workloads)
            say(f"infeasible: {names}: {infeasible_line(found)}", err=True)
            raise SystemExit(INFEASIBLE)
        show, page = _shown(found)

        def keep() -> None:
            work.journal.end(found)
            folder = work.folder
            write(folder / "result.json", found)
            write_text(folder / "page.html", page())
            if not as_json:
                say(f"\nwritten: {folder / 'result.json'}, {folder / 'page.html'} (open it in a browser)")

        give(lambda: say_json(found) if as_json else show(), keep)


def _asked(question: Question) -> Callable[..., DesignResult | ParetoResult | SharedResult | Infeasible]:
    """Return the search that a question takes."""
    from hardplace.design.answer import answer, frontier
    from hardplace.design.several_models import together

    if len(question.workloads) > 1:
        return together
    return frontier if len(question.goal.objectives) > 1 else answer


def _shown(found: DesignResult | ParetoResult | SharedResult) -> tuple[Callable[[], None], Callable[[], str]]:
    """Return what prints an answer, and what draws its page."""
    from functools import partial

    from hardplace.design.types import DesignResult, ParetoResult
    from hardplace.report import frontier_and_fleet as several
    from hardplace.report import terminal
    from hardplace.report.page import page

    if isinstance(found, DesignResult):
        return partial(terminal.show, found), partial(page, found)
    if isinstance(found, ParetoResult):
        return partial(several.show_frontier, found), partial(several.frontier_page, found)
    return partial(several.show_shared, found), partial(several.shared_page, found)


@contextmanager
def _progress_bar(gap: float, objective: Objective | None = None) -> Iterator[Callable[[Progress], None]]:
    """Show how far the gap has closed, and incumbent and bound of the only objective, on standard error."""
    import math

    from hardplace.branch_and_bound.types import Finishing
    from hardplace.certificate import gap_of, percent_at_most
    from hardplace.design.goals import UNITS, shown

    with progress_bar() as show:

        def report(now: Progress) -> None:
            if isinstance(now, Finishing):
                show(now.doing, 1.0)
                return
            left = gap_of(now.score, now.bound) if now.score else math.inf
            closed = math.log(max(left, 1e-9)) / math.log(max(gap, 1e-6)) if left < 1 else 0.0
            values = ""
            if objective is not None:
                best, bound = (f"{shown(objective, one):,.5g}" if one else "none" for one in (now.score, now.bound))
                values = f"best {best}  bound {bound} {UNITS[objective][0]}  "
            known = f"gap {percent_at_most(left)}" if math.isfinite(left) else "no answer yet"
            show(f"{values}{known}", closed)

        yield report
