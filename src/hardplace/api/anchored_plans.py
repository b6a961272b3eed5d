"""What a software's name and the file of an anchor hold a plan to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardplace.errors import BadInput

if TYPE_CHECKING:
    from hardplace.plans.anchors import Anchor
    from hardplace.plans.plan_files import PlanFile


def read_anchor(path: Path) -> Anchor:
    """Return what a file that `anchor` wrote says; BadInput with the file and the field for one that is none."""
    from hardplace.files import read
    from hardplace.plans.anchors import Anchor, anchor_problems
    from hardplace.plans.efficiencies import FIGURES

    anchor = read(path, Anchor)
    for problem in anchor_problems(anchor, FIGURES):
        raise BadInput(f"{path}: {problem}")
    return anchor


@contextmanager
def naming(plan: Path | None, calibrated: Path | None) -> Iterator[None]:
    """Have what is wrong with a plan, or with its anchor, said of the file that it is from."""
    try:
        yield
    except BadInput as problem:
        said = str(problem)
        _, anchors, what = said.partition("anchor: ")
        if calibrated is not None and anchors and said.startswith(("anchor: ", "plan: anchor: ")):
            raise BadInput(f"{calibrated}: {what}") from None
        if plan is not None and said.startswith("plan: "):
            raise BadInput(f"{plan}: {said.removeprefix('plan: ')}") from None
        raise


def held_to(software: str | None, calibrated: Path | None) -> dict[str, tuple[Any, ...]]:
    """Return the fields of a plan that a software's name and an anchor's file give; BadInput where they differ."""
    from hardplace.cost.layers.software import software_named

    if software is not None:
        software_named(software)
    if calibrated is None:
        return {} if software is None else {"software": (software,)}
    anchor = read_anchor(calibrated)
    if software not in (None, anchor.software):
        said = anchor.software or "no software named"
        raise BadInput(f"{calibrated}: software: {said}: expected {software}, the one asked for")
    named = {"software": (anchor.software,)} if anchor.software else {}
    return {**named, "anchor": (anchor,)}


def planned(path: Path, software: str | None, calibrated: Path | None) -> Path | PlanFile:
    """Return a plan's file, or the plan with the software and anchor asked for."""
    from hardplace.plans.plan_files import read_plan

    held = held_to(software, calibrated)
    if not held:
        return path
    plan = read_plan(path)
    named = held.get("software", ("",))[0]
    if calibrated is not None and plan.software not in ("", named):
        said = named or "no software named"
        raise BadInput(f"{calibrated}: software: {said}: expected {plan.software}, the software of {path}")
    return replace(plan, **{name: one for name, (one,) in held.items()})


def merged(
    fixes: dict[str, tuple[Any, ...]], software: str | None, calibrated: Path | None
) -> dict[str, tuple[Any, ...]]:
    """Return dimensions held to values with what a software's name and an anchor's file hold; BadInput where they
    differ."""
    held = held_to(software, calibrated)
    for name in held.keys() & fixes.keys():
        if held[name] != fixes[name]:
            raise BadInput("fixed", f"{name}={','.join(map(str, fixes[name]))}", f"{held[name][0]}, or nothing")
    return fixes | held
