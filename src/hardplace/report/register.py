"""How each class of answer looks as text and as a page: imported once by `hardplace.api`.

Classes are named, not imported, and what draws them is imported when it is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import redirect_stdout
from html import escape
from importlib import import_module
from io import StringIO
from typing import Any, NamedTuple

from hardplace.answers import Answer, html, text


class AnswerView(NamedTuple):
    """What of the report shows answers of a class, as module.function: what prints one, what draws its page ("": no
    page)."""

    show: str
    page: str = ""


VIEWS = {
    "Infeasible": AnswerView("terminal.show_infeasible"),
    "PlanInfeasible": AnswerView("placed.show_plan_infeasible"),
    "DesignResult": AnswerView("terminal.show", "page.page"),
    "ParetoResult": AnswerView("frontier_and_fleet.show_frontier", "frontier_and_fleet.frontier_page"),
    "SharedResult": AnswerView("frontier_and_fleet.show_shared", "frontier_and_fleet.shared_page"),
    "StagesResult": AnswerView("stage_chips.show_stages", "stage_chips.stages_page"),
    "Comparison": AnswerView("compare.show", "compare.page"),
    "ShapeDesignResult": AnswerView("joint.show", "joint_page.page"),
    "PlacementResult": AnswerView("placed.show_placed", "placed_page.page"),
    "PlanFrontier": AnswerView("plan_frontier.show_plan_frontier", "plan_frontier.page"),
    "PlanEstimate": AnswerView("plan.show_plan", "estimated_page.page"),
    "ReplanResult": AnswerView("replan.show_replanned", "replan_page.page"),
    "Audit": AnswerView("audit.show_audit", "audit.page"),
    "Ranking": AnswerView("shape.show_ranking", "shape.page"),
    "TablesResult": AnswerView("tables.show_tables"),
    "SplitResult": AnswerView("split.show_split", "split.page"),
    "LayerScheduleResult": AnswerView("schedule.show", "schedule.page"),
    "DescribedAccelerator": AnswerView("described.show_described", "described.page"),
    "ParameterResult": AnswerView("described_variants.show_parameters", "described_variants.parameters_page"),
    "OperatorEstimate": AnswerView("operators.show_estimate", "operators.page"),
}


def _of_report(name: str) -> Callable[..., Any]:
    """Return a function of the report by module.function."""
    module, _, function = name.partition(".")
    found: Callable[..., Any] = getattr(import_module(f"hardplace.report.{module}"), function)
    return found


@text.register(Answer)
def as_text(answer: Answer) -> str:
    """Return what the command line prints."""
    printed = StringIO()
    with redirect_stdout(printed):
        _of_report(VIEWS[type(answer).__name__].show)(answer)
    return printed.getvalue().rstrip("\n")


@html.register(Answer)
def as_html(answer: Answer) -> str:
    """Return the styles and the body of the page; of an answer without one its text."""
    drawn = VIEWS[type(answer).__name__].page
    if not drawn:
        return f"<pre>{escape(as_text(answer))}</pre>"
    whole: str = _of_report(drawn)(answer)
    styles = "".join(re.findall(r"<style.*?</style>", whole, flags=re.DOTALL))
    body = re.search(r"<body[^>]*>(.*)</body>", whole, flags=re.DOTALL)
    return styles + (body[1] if body else whole)
