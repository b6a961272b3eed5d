"""All verbs: importing this joins them to the group."""

from __future__ import annotations

from importlib import import_module

_VERBS = (
    "anchor", "audit", "calibrate", "chip", "chips", "compare", "describe", "doctor", "estimate", "explain", "export",
    "import_plan", "models", "new", "place", "replan", "run", "runs", "schedule", "search", "shape", "show", "split",
    "tables", "trace", "validate", "validate_learned", "verify",
)  # fmt: skip

for _verb in _VERBS:
    import_module(f"hardplace.cli.{_verb}")
