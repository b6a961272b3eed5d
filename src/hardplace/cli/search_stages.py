"""`hardplace search --per-stage`: chips of their own for the stages of a pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardplace.cli import folders
from hardplace.cli.printing import end_search, give_answer, say_written
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.cli.working import Where


def check(models: tuple[str, ...], ends: StoppingRule, where: Where, goal: dict[str, Any], *, shapes: bool) -> None:
    """Raise BadInput for what does not go with --per-stage, by name."""
    from hardplace.cli.goal import Asking, goal_arguments
    from hardplace.design.goals import Objective

    if shapes:
        raise BadInput("--per-stage: not beside --shapes; expected one of both")
    if len(models) > 1:
        raise BadInput(f"--per-stage: {len(models)} models: expected one")
    if where.workers > 1 or where.scheduler is not None:
        raise BadInput("--per-stage: not beside --workers, --scheduler: expected one process")
    if ends.evaluations is not None or ends.exhaustive:
        raise BadInput("--per-stage: not beside --evaluations, --exhaustive: expected --seconds, or none of them")
    if where.fresh:
        raise BadInput("--per-stage: not beside --fresh: it keeps no journal")
    if len(goal["objectives"]) > 1:
        raise BadInput("--per-stage: not beside --pareto: expected --objective throughput")
    if {**goal, "objectives": ()} != {**goal_arguments(Asking()), "objectives": ()}:
        raise BadInput("--per-stage: not beside --combine, --weights, --fleet: expected one model")
    (name,) = goal["objectives"]
    if name != Objective.THROUGHPUT:
        raise BadInput(f"--per-stage: objective {name}: expected throughput")


def run(
    model: str, chosen: dict[str, Any], ends: StoppingRule, out: Path | None,
    progress: Callable[[], Any],
) -> None:  # fmt: skip
    """Search the chips of one model's stages; print, and write the folder."""
    from hardplace import api
    from hardplace.answers import Infeasible
    from hardplace.files import write_text
    from hardplace.report.stage_chips import show_stages, stages_page

    with progress() as report:
        found = api.stages(model, gap=ends.gap, seconds=ends.limit_s, progress=report, **chosen)
    if isinstance(found, Infeasible):
        end_search(model, found)

    def keep() -> None:
        folder = folders.folder_of(found.model, out, verb="search-stages")
        found.save(folder / "stages.json")
        write_text(folder / "page.html", stages_page(found, folders.command(), "stages.json"))
        say_written(f"{folder / 'stages.json'}, {folder / 'page.html'} (open it in a browser)")

    give_answer(found, show_stages, keep)
