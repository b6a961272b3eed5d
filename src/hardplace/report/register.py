"""How each class of answer looks as text and as a page: imported once by `hardplace.api`.

Classes are named, not imported, and what draws them is imported when it is used.
"""

from __future__ import annotations

import re
from contextlib import redirect_stdout
from html import escape
from importlib import import_module
from io import StringIO
from typing import NamedTuple

from hardplace.answers import Answer, html, text


class AnswerView(NamedTuple):
    """The module of the report that shows answers of a class: what prints one, what draws its page (empty: nothing)."""

    module: str
    show: str
    page: str = ""


VIEWS = {
    "Infeasible": AnswerView("terminal", "show_infeasible"),
    "PlanInfeasible": AnswerView("placed", "show_plan_infeasible"),
    "DesignResult": AnswerView("terminal", "show"),
    "ParetoResult": AnswerView("frontier_and_fleet", "show_frontier", "frontier_page"),
    "SharedResult": AnswerView("frontier_and_fleet", "show_shared", "shared_page"),
    "StagesResult": AnswerView("stage_chips", "show_stages", "stages_page"),
    "Comparison": AnswerView("compare", "show", "page"),
    "ShapeDesignResult": AnswerView("joint", "show"),
    "PlacementResult": AnswerView("placed", "show_placed", "page"),
    "PlanFrontier": AnswerView("plan_frontier", "show_plan_frontier", "page"),
    "PlanEstimate": AnswerView("plan", "show_plan"),
    "ReplanResult": AnswerView("replan", "show_replanned"),
    "Audit": AnswerView("audit", "show_audit", "page"),
    "Ranking": AnswerView("shape", "show_ranking", "page"),
    "TablesResult": AnswerView("tables", "show_tables"),
    "SplitResult": AnswerView("split", "show_split", "page"),
    "LayerScheduleResult": AnswerView("schedule", "show", "page"),
    "DescribedAccelerator": AnswerView("described", "show_described", "page"),
    "ParameterResult": AnswerView("described_variants", "show_parameters", "parameters_page"),
    "OperatorEstimate": AnswerView("operators", "show_estimate", "page"),
}
# Whose page has a module of its own.
_PAGES = {
    "DesignResult": ("page", "page"),
    "PlacementResult": ("placed_page", "page"),
    "PlanEstimate": ("estimated_page", "page"),
    "ReplanResult": ("replan_page", "page"),
    "ShapeDesignResult": ("joint_page", "page"),
}


@text.register(Answer)
def as_text(answer: Answer) -> str:
    """Return what the command line prints."""
    view = VIEWS[type(answer).__name__]
    printed = StringIO()
    with redirect_stdout(printed):
        getattr(import_module(f"hardplace.report.{view.module}"), view.show)(answer)
    return printed.getvalue().rstrip("\n")


@html.register(Answer)
def as_html(answer: Answer) -> str:
    """Return the styles and the body of the page; of an answer without one its text."""
    name = type(answer).__name__
    module, drawn = _PAGES.get(name, (VIEWS[name].module, VIEWS[name].page))
    if not drawn:
        return f"<pre>{escape(as_text(answer))}</pre>"
    whole: str = getattr(import_module(f"hardplace.report.{module}"), drawn)(answer)
    styles = "".join(re.findall(r"<style.*?</style>", whole, flags=re.DOTALL))
    body = re.search(r"<body[^>]*>(.*)</body>", whole, flags=re.DOTALL)
    return styles + (body[1] if body else whole)
