"""The Python interface: every question of the command line as a function, with the same defaults and the same answer.

`import hardplace as hp` gives these functions. Each takes names or files and returns a frozen answer (`answers.Answer`)
or an `Infeasible`, which is an answer too: it says what is short and what would mend it. Bad input raises `BadInput`, a
ValueError of one line that names the argument, its value and what was expected.
"""

from __future__ import annotations

import hardplace.report.register  # noqa: F401  (how answers look as text and as a page)
from hardplace.api.asking import plain
from hardplace.api.chip_shapes import codesign
from hardplace.api.chips import answered, frontier, search, share
from hardplace.api.described import describe
from hardplace.api.graphs import split, tables
from hardplace.api.kernels import audit, operators, shapes
from hardplace.api.layer_schedules import schedule
from hardplace.api.plans import estimate, export, place, plan_file, plan_frontier, replan
from hardplace.api.saved import read
from hardplace.api.sources import devices, load, models, trace
from hardplace.api.stage_chips import stages
from hardplace.api.strategies import compare

__all__ = [
    "answered", "audit", "codesign", "compare", "describe", "devices", "estimate", "export", "frontier", "load",
    "models", "operators", "place", "plain", "plan_file", "plan_frontier", "read", "replan", "schedule", "search",
    "shapes", "share", "split", "stages", "tables", "trace",
]  # fmt: skip
