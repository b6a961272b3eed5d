"""`hardplace chips`: the space of chips within a budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardplace.cli import options
from hardplace.cli.app import app
from hardplace.cli.printing import json_asked, say_json
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from hardplace.hardware.types import Budget


def budget_of(area_mm2: float | None) -> Budget:
    """Return the budget of --area, or the default one."""
    from hardplace.hardware.phaze import default_budget
    from hardplace.hardware.types import Budget

    if area_mm2 is None:
        return default_budget()
    if not 0 < area_mm2 < float("inf"):
        raise BadInput(f"--area: {area_mm2:g}: expected a positive number of mm2")
    return Budget(area_mm2=area_mm2)


@app.command()
@options.area
@options.as_json
def chips(area_mm2: float | None) -> None:
    """List PHAZE's space of chips within a budget, the chip to compare with, and the settings they share."""
    from hardplace.hardware.phaze import phaze_space
    from hardplace.hardware.settings import settings
    from hardplace.report.terminal import chip_columns, show_chips

    budget = budget_of(area_mm2)
    space = phaze_space(budget)
    say_json(chip_columns(space, budget)) if json_asked() else show_chips(space, budget, settings())
