"""All verbs: importing this joins them to the group."""

from __future__ import annotations

from hardplace.cli import (
    audit,
    calibrate,
    chip,
    chips,
    compare,
    estimate,
    export,
    import_plan,
    models,
    place,
    replan,
    runs,
    schedule,
    search,
    shape,
    show,
    trace,
    validate,
    validate_training,
    verify,
)

__all__ = [
    "audit",
    "calibrate",
    "chip",
    "chips",
    "compare",
    "estimate",
    "export",
    "import_plan",
    "models",
    "place",
    "replan",
    "runs",
    "schedule",
    "search",
    "shape",
    "show",
    "trace",
    "validate",
    "validate_training",
    "verify",
]
