"""What is said of an export: the targets, what one cannot run of a plan, the nearest plan that it can."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from hardplace.exports.export import ExportVerdict
from hardplace.exports.targets import TRAINERS
from hardplace.report.console import screen
from hardplace.units import percent


def show_targets() -> None:
    """Print the trainers that plans are exported for: versions, and what checks the files."""
    table = Table("target", "trainer", "for version", "files checked by", "on devices of", "models", box=None)
    for target, info in TRAINERS.items():
        models = ", ".join(info.families) or "any: the training script's own"
        table.add_row(target, info.title, info.version, info.checked, ", ".join(info.vendors), models)
    screen().print(table)


def refusals(verdict: ExportVerdict) -> Iterator[str]:
    """Yield a line for each field of a plan that a trainer cannot run."""
    title = TRAINERS[verdict.job.target].title
    for limit in verdict.broken:
        value = getattr(verdict.job.plan, limit.field)
        said = f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value).lower()
        yield f"{title} cannot run {limit.field} {said} of the plan: {limit.reason}"


def nearest_line(verdict: ExportVerdict) -> str:
    """Return the changes that lead to the nearest plan which a trainer runs, its step and how much slower it is."""
    found = verdict.nearest
    if found is None:
        return "no plan near it is one that it can run"
    changes = ", ".join(f"{name} {new} for {old}" for name, old, new in found.changes)
    slower = found.estimate.step_s / verdict.job.estimate.step_s - 1.0
    words = f"{percent(abs(slower))} {'slower' if slower >= 0 else 'faster'} by prediction"
    return f"{changes}: step {found.estimate.step_s:.4g} s, {words}"
