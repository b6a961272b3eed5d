"""How each class of answer looks as text and as a page: imported once by `hardplace.api`."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import redirect_stdout
from html import escape
from io import StringIO
from typing import TypeVar

from hardplace.answers import Answer, Infeasible, html, text
from hardplace.cost.one_chip.estimate import OperatorEstimate
from hardplace.design.strategies.types import Comparison
from hardplace.design.types import DesignResult, ParetoResult, SharedResult
from hardplace.plans.estimate import PlanEstimate
from hardplace.plans.infeasible import PlanInfeasible
from hardplace.plans.placement.search import PlacementResult
from hardplace.plans.replanning.replan import ReplanResult
from hardplace.report import audit, compare, frontier_and_fleet, joint, operators, page, placed, plan, replan, shape
from hardplace.report import terminal
from hardplace.shapes.audit import Audit
from hardplace.shapes.joint.types import ShapeDesignResult
from hardplace.shapes.types import Ranking

A = TypeVar("A", bound=Answer)


def infeasible(found: Infeasible) -> None:
    """Print what is short, by how much, and what would mend it."""
    print(f"infeasible: {terminal.infeasible_line(found)}")


def plan_infeasible(found: PlanInfeasible) -> None:
    """Print why no plan fits: of `place` with the changes that were tried, of `replan` in a line."""
    if found.considered:
        placed.show_short(found)
    else:
        replan.say_stuck(found)


def _register(kind: type[A], show: Callable[[A], None], drawn: Callable[[A], str] | None = None) -> None:
    """Join the two ways in which answers of a class are shown; drawn: a whole page, None: there is none."""

    def as_text(answer: A) -> str:
        printed = StringIO()
        with redirect_stdout(printed):
            show(answer)
        return printed.getvalue().rstrip("\n")

    def as_html(answer: A) -> str:
        return _body(drawn(answer)) if drawn is not None else f"<pre>{escape(as_text(answer))}</pre>"

    text.register(kind)(as_text)
    html.register(kind)(as_html)


def _body(whole: str) -> str:
    """Return the styles and the body of a page."""
    styles = "".join(re.findall(r"<style.*?</style>", whole, flags=re.DOTALL))
    body = re.search(r"<body[^>]*>(.*)</body>", whole, flags=re.DOTALL)
    return styles + (body[1] if body else whole)


_register(Infeasible, infeasible)
_register(PlanInfeasible, plan_infeasible)
_register(DesignResult, terminal.show, page.page)
_register(ParetoResult, frontier_and_fleet.show_frontier, frontier_and_fleet.frontier_page)
_register(SharedResult, frontier_and_fleet.show_shared, frontier_and_fleet.shared_page)
_register(Comparison, compare.show, compare.page)
_register(ShapeDesignResult, joint.show)
_register(PlacementResult, placed.show_placed, placed.page)
_register(PlanEstimate, plan.show_plan)
_register(ReplanResult, replan.show_replanned)
_register(Audit, audit.show_audit, audit.page)
_register(Ranking, shape.show_ranking, shape.page)
_register(OperatorEstimate, operators.show_estimate, operators.page)
