"""The page of a joint search: shape, chip and plan together, beside each choice on its own."""

from __future__ import annotations

from hardplace.report import style
from hardplace.report import text as words
from hardplace.report.breakdown import progress_panel
from hardplace.report.charts import Chart, ChartAxis, Level, Panel, row_bar
from hardplace.report.joint import account, certificate, choices, scored, sizes
from hardplace.report.rendering import rendered
from hardplace.report.reproduce import reproduction
from hardplace.shaping.joint.types import ShapeDesignResult
from hardplace.shaping.types import FIELDS
from hardplace.units import format_quantity, percent


def page(found: ShapeDesignResult, command: str = "") -> str:
    """Return the HTML page of a joint search; command: the one that asked, if one did."""
    best, speed = found.best, found.best.evaluation
    rows = [
        (
            label,
            f"{one.score:,.1f}",
            f"{one.score / found.base.score:.3f}",
            *(str(getattr(one.shape, name)) for name in FIELDS),
            f"{one.parameters / 1e9:.3f}",
            f"{words.chip(one.evaluation.chip)}, {words.area(one.evaluation.chip.area_mm2)}",
            words.plan(one.evaluation),
        )
        for label, one in choices(found)
    ]
    return rendered(
        "joint.html",
        found=found,
        answer=f"{sizes(best)}; {words.chip(speed.chip)}, {words.area(speed.chip.area_mm2)}; {words.plan(speed)}",
        scored=scored(found),
        certificate=certificate(found),
        account=account(found),
        step=format_quantity(speed.placement.batch_s, "s"),
        utilisation=percent(speed.model_flops_utilisation),
        changes=", ".join(best.changes) or "none: the model's own shape",
        heads=("choice", "score", "gain", *FIELDS, "parameters, B", "chip", "plan"),
        rows=rows,
        chart=figure(found),
        progress=progress(found),
        reproduction=reproduction(found, command, "shapes.json"),
    )


def figure(found: ShapeDesignResult) -> Chart:
    """Return the score of each choice on its own and of all together, with the bound."""
    bars = tuple(
        row_bar(
            row, 0.0, one.score, (style.GREY, style.BLUE, style.ORANGE)[row], name="", label=f"{one.score:,.1f}",
            title=f"{label}: {one.score:,.1f}, {one.score / found.base.score:.3f} times the model's own shape",
        )
        for row, (label, one) in enumerate(choices(found))
    )  # fmt: skip
    panel = Panel(
        x=ChartAxis(title=f"score, {found.score_unit}", high=1.08 * max(found.bound, found.best.score)),
        y=ChartAxis(names=tuple(label for label, _ in choices(found))),
        height=110.0,
        bars=bars,
        levels=(Level(value=found.bound, label="bound", upright=True),),
    )
    return Chart(label="score of each choice on its own and of shape, chip and plan together", panels=(panel,))


def progress(found: ShapeDesignResult) -> Chart:
    """Return incumbent and bound over the seconds of the search."""
    panel = progress_panel(
        found.progress, found.score, found.bound, found.seconds, "faster", f"score, {found.score_unit}", lambda one: one
    )
    return Chart(label="best found and bound over the time of the search", panels=(panel,))
