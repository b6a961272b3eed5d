"""The page of one plan's estimate: whether it fits, how fast, where time and memory go, the timeline."""

from __future__ import annotations

from hardplace.plans.estimate import PlanEstimate
from hardplace.report.plan import estimate_notes, evidence, fit, plan_words, speed, surety
from hardplace.report.plan_detail import PART_COLOURS, PARTS, plan_detail
from hardplace.report.plan_timeline import PASS_COLOURS
from hardplace.report.rendering import rendered
from hardplace.report.reproduce import reproduction
from hardplace.report.surety_chart import surety_chart
from hardplace.units import format_quantity


def page(found: PlanEstimate, command: str = "") -> str:
    """Return the HTML page of an estimate.

    Args:
        found: The estimate.
        command: The command that asked for it, if one did.
    """
    return rendered(
        "estimate.html",
        found=found,
        short=fit(found),
        speed=speed(found),
        surety=surety(found),
        evidence=evidence(found),
        plan=plan_words(found),
        step=format_quantity(found.step_s, "s", 4),
        one=plan_detail(1, found),
        sure=surety_chart([found]),
        memory_names=[(name, PART_COLOURS[name]) for name in PARTS],
        passes=[(phase.value, colour) for phase, colour in PASS_COLOURS.items()],
        notes=estimate_notes(found),
        reproduction=reproduction(found, command, "estimate.json"),
    )
