"""Which accelerator, and which placement of a model on many of them, trains fastest within a budget.

    import hardplace as hp
    hp.search("opt-350m")                                  the chip and the plan that train a model fastest
    hp.place("llama2-7b", "h100-sxm", 64, batch=512)       the best plans on devices that exist
    hp.estimate("llama2-7b", "plan.json")                  what a plan costs

The functions are those of `hardplace.api`; they are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hardplace.errors import BadInput
from hardplace.version import __version__

if TYPE_CHECKING:
    from hardplace.answers import Infeasible
    from hardplace.api import (
        audit,
        codesign,
        compare,
        describe,
        devices,
        estimate,
        export,
        frontier,
        load,
        models,
        operators,
        place,
        plan_file,
        plan_frontier,
        read,
        replan,
        schedule,
        search,
        shapes,
        share,
        split,
        stages,
        tables,
        trace,
    )
    from hardplace.certificate import Certificate
    from hardplace.plans.plan import Plan

_ELSEWHERE = {"Certificate": "certificate", "Infeasible": "answers", "Plan": "plans.plan"}  # all others: api

__all__ = [
    "BadInput",
    "Certificate",
    "Infeasible",
    "Plan",
    "__version__",
    "audit",
    "codesign",
    "compare",
    "describe",
    "devices",
    "estimate",
    "export",
    "frontier",
    "load",
    "models",
    "operators",
    "place",
    "plan_file",
    "plan_frontier",
    "read",
    "replan",
    "schedule",
    "search",
    "shapes",
    "share",
    "split",
    "stages",
    "tables",
    "trace",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'hardplace' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"hardplace.{_ELSEWHERE.get(name, 'api')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
