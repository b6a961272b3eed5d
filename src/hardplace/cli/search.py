"""`hardplace search`: the chip and the placement that train a model fastest."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hardplace.cli import folders, options
from hardplace.cli.app import app
from hardplace.cli.goal import Asking, asking_options, goal_arguments, limits_of
from hardplace.cli.printing import end_search, give_answer, say_written
from hardplace.cli.progress import progress_bar, uninterrupted
from hardplace.cli.search_shapes import Shaping, check_alone, shape_options
from hardplace.cli.working import options_named, search_folder, where_options
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hardplace.branch_and_bound.types import Progress, StoppingRule
    from hardplace.cli.working import Where
    from hardplace.design.goals import Objective
    from hardplace.design.question import Question
    from hardplace.design.results import DesignResult, ParetoResult, SharedResult


@app.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@options.setting
@click.option("--node", metavar="NAME|FILE", help="Node whose network replaces that of the setting.")
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
@click.option("--per-stage", is_flag=True, help="A chip of its own for each stage: two kinds at most.")
@asking_options
@shape_options
@where_options
def search(
    *,
    per_stage: bool,
    asking: Asking,
    shaping: Shaping,
    where: Where,
    evaluations: int | None,
    exhaustive: bool,
    models: tuple[str, ...],
    setting_name: str,
    node: str | None,
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
) -> None:
    """Find the chip within limits, and the plan on many of them, that train MODEL fastest (or by another objective).

    MODEL is a name that `hardplace models` lists, or a Workload file. The answer carries a certificate: nothing
    in the space is better than the printed bound. Several models share one chip, or a fleet of the best few.
    Ctrl-C stops with the best answer so far and its gap. After a kill, the same command goes on from the journal in
    the folder, and ends at the same answer. Without --out, each different search has a folder of its own.
    """
    start_s = time.perf_counter()  # a time limit is of all that follows, the imports too
    from hardplace import api
    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.design.question import question_of

    chosen: dict[str, Any] = {
        "setting": setting_name,
        "node": node,
        "space": asking.space,
        "process": asking.process,
        "ideal": asking.ideal,
        "devices": devices,
        "batch": batch,
        "limits": limits_of(area_mm2, asking.limits),
        "memory": memory,
        "micro_batch": micro_batches,
        "tensor": tensor_parallel,
        "recompute": tuple(word == "full" for word in recompute),
    }
    if exhaustive and (limit_s or evaluations or where.workers > 1 or where.scheduler):
        raise BadInput(
            "--exhaustive: runs to its end, here; expected no --seconds, --evaluations, --workers, --scheduler"
        )
    ends = StoppingRule(gap=gap, limit_s=limit_s, start_s=start_s, evaluations=evaluations, exhaustive=exhaustive)
    folders.check_writable(out)
    if per_stage:
        from hardplace.cli import search_stages

        search_stages.check(models, ends, where, goal_arguments(asking), shapes=shaping.shapes)
        check_alone(shaping)
        progress = partial(_progress_bar, ends.gap)
        search_stages.run(models[0], chosen, ends, out, progress)
        return
    if shaping.shapes:
        del chosen["ideal"]  # that search has ideal kernels alone
        _with_shapes(models, chosen, asking, shaping, ends, out, where)
        return
    check_alone(shaping)
    question = question_of(tuple(api.load(model) for model in models), **chosen, **goal_arguments(asking))
    asked = {"models": list(models), **chosen, **goal_arguments(asking), "gap": gap, "seconds": limit_s}
    with options_named():
        _run(question, ends, asked, out, where)


def _with_shapes(
    models: tuple[str, ...],
    chosen: dict[str, Any],
    asking: Asking,
    shaping: Shaping,
    ends: StoppingRule,
    out: Path | None,
    where: Where,
) -> None:
    """Search shapes too; BadInput for what goes with chips and plans only."""

    from hardplace.cli.search_shapes import run

    if len(models) > 1:
        raise BadInput(f"--shapes: {len(models)} models: expected one")
    if ends.evaluations is not None or ends.exhaustive:
        raise BadInput("--shapes: not beside --evaluations, --exhaustive: expected --seconds, or none of them")
    if goal_arguments(asking) != goal_arguments(Asking()):
        raise BadInput(
            "--shapes: expected one model and the objective throughput, without --combine, --weights, --fleet"
        )
    with options_named():
        run(models[0], chosen, shaping, ends, out, where, partial(_progress_bar, ends.gap))


def _run(question: Question, ends: StoppingRule, asked: dict[str, Any], out: Path | None, where: Where) -> None:
    """Search, print, and write the folder."""
    from hardplace.answers import Infeasible
    from hardplace.api import answered, plain
    from hardplace.api.search_runs import journalling, search_run
    from hardplace.branch_and_bound.loop import deadline_of
    from hardplace.design.exact.evaluator import in_process
    from hardplace.files import write_text

    goal = question.goal
    alone = goal.objectives[0] if len(goal.objectives) == len(goal.norms) == 1 else None
    kept = journalling(question, ends)
    evaluator = in_process(question, ends.gap, deadline=deadline_of(ends))
    with (
        search_run(kept, evaluator, partial(search_folder, kept, out, where), **where.how) as work,
        ExitStack() as writing,
    ):
        with _progress_bar(ends.gap, alone) as report:
            found = answered(question, ends, plain(asked), evaluator=work.evaluator, progress=work.reporting(report))
            writing.enter_context(uninterrupted())
        if isinstance(found, Infeasible):
            work.journal.end(found)
            names = ", ".join(workload.name for workload in question.workloads)
            end_search(names, found)
        show, page = _shown(found)

        def keep() -> None:
            work.journal.end(found)
            folder = work.folder
            found.save(folder / "result.json")
            write_text(folder / "page.html", page(found, folders.command()))
            say_written(f"{folder / 'result.json'}, {folder / 'page.html'} (open it in a browser)")

        give_answer(found, show, keep)


def _shown(found: DesignResult | ParetoResult | SharedResult) -> tuple[Callable[..., None], Callable[..., str]]:
    """Return what prints such an answer, and what draws its page for a command."""
    from hardplace.design.results import DesignResult, ParetoResult
    from hardplace.report import frontier_and_fleet as several
    from hardplace.report import terminal
    from hardplace.report.page import page

    if isinstance(found, DesignResult):
        return terminal.show, page
    if isinstance(found, ParetoResult):
        return several.show_frontier, several.frontier_page
    return several.show_shared, several.shared_page


@contextmanager
def _progress_bar(gap: float, objective: Objective | None = None) -> Iterator[Callable[[Progress], None]]:
    """Show how far the gap has closed, and incumbent and bound of the only objective, on standard error."""
    from hardplace.report.progress import search_line

    with progress_bar() as show:
        yield lambda now: show(*search_line(now, gap, objective))
