"""`hardplace search --shapes`: model shape, chip and plan in one search."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hardplace.cli import folders
from hardplace.cli.options import by_name, gathered
from hardplace.cli.printing import end_search, give_answer, say_written
from hardplace.cli.working import search_folder
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.cli.working import Where

_SHARE = re.compile(r"(?:±|\+-|\+/-)?\s*([0-9]+(?:\.[0-9]+)?)\s*%")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaping:
    """The options as they were given; shapes: whether shapes are searched at all."""

    shapes: bool = False
    params: str = "2%"
    freeze: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()
    raw: bool = False


shape_options = gathered(
    "shaping",
    Shaping,
    click.option("--shapes", is_flag=True, help="Search the model's shape too, as `hardplace shape` has them."),
    click.option(
        "--params", default="2%", show_default=True, help="With --shapes: allowed change of the number of parameters."
    ),
    click.option("--freeze", multiple=True, metavar="FIELD", help="With --shapes: keep layers, hidden, heads, ..."),
    click.option("--range", "ranges", multiple=True, metavar="FIELD=FROM:TO:STEP|A,B", help="With --shapes: values."),
    click.option("--raw", is_flag=True, help="With --shapes: score samples/s, not parameters x samples/s."),
)


def share_of(params: str) -> float:
    """Return a share such as "2%" as a number; BadInput for another text, or more than half."""
    match = _SHARE.fullmatch(params.strip())
    if match is None or not 0 < float(match[1]) <= 50:
        raise BadInput(f"--params: {params!r}: expected a share up to 50%, such as 2%")
    return float(match[1]) / 100


def ranges_of(texts: tuple[str, ...]) -> dict[str, str]:
    """Return values of fields by name from texts such as hidden=3584:4608:64; BadInput for a field given twice."""
    return by_name("range", texts, "hidden=3584:4608:64")


def check_alone(shaping: Shaping) -> None:
    """Raise BadInput where an option of shapes is given without --shapes."""
    for name, given in (
        ("params", shaping.params != "2%"),
        ("freeze", shaping.freeze),
        ("range", shaping.ranges),
        ("raw", shaping.raw),
    ):
        if given:
            raise BadInput(f"--{name}: only with --shapes (or `hardplace shape`)")


def run(
    model: str, chosen: dict[str, Any], shaping: Shaping, ends: StoppingRule, out: Path | None, where: Where,
    progress: Callable[[], Any],
) -> None:  # fmt: skip
    """Search shape, chip and plan of one model; print, and write the folder."""
    from hardplace import api
    from hardplace.answers import Infeasible
    from hardplace.api.chip_shapes import asked_shapes, codesigned
    from hardplace.api.search_runs import journalling, search_run
    from hardplace.branch_and_bound.loop import Deadline
    from hardplace.design.exact.evaluator import in_process
    from hardplace.design.question import question_of
    from hardplace.files import write_text
    from hardplace.report.joint import show
    from hardplace.report.joint_page import page

    question = question_of((api.load(model),), **chosen)
    how: dict[str, Any] = {
        "within": share_of(shaping.params),
        "freeze": shaping.freeze,
        "ranges": ranges_of(shaping.ranges),
        "raw": shaping.raw,
    }
    shapes = asked_shapes(model, **how)
    kept = journalling(
        question, ends, file="shapes.sqlite", sought="shapes", within=how["within"], raw=shaping.raw,
        freeze=",".join(sorted(shaping.freeze)),
        ranges=", ".join(f"{name}={values}" for name, values in sorted(how["ranges"].items())),
    )  # fmt: skip
    evaluator = in_process(question, ends.gap, deadline=Deadline(limit_s=ends.limit_s))
    folder = partial(search_folder, kept, out, where, "search-shapes")
    with search_run(kept, evaluator, folder, **where.how) as work:
        with progress() as report:
            found = codesigned(
                question, shapes, ends, {"model": model, **how, **chosen, "gap": ends.gap, "seconds": ends.limit_s},
                evaluator=work.evaluator, progress=work.reporting(report),
            )  # fmt: skip
        if not isinstance(found, Infeasible):
            work.journal.tell(found.score, found.bound, found.stop.value)
    if isinstance(found, Infeasible):
        end_search(model, found)

    def keep() -> None:
        folder = work.folder
        found.save(folder / "shapes.json")
        write_text(folder / "page.html", page(found, folders.command()))
        say_written(f"{folder / 'shapes.json'}, {folder / 'page.html'} (open it in a browser)")

    give_answer(found, show, keep)
