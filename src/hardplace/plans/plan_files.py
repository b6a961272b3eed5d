"""What a plan's file holds: the plan, its model and its devices by name, read strictly from JSON or TOML."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args, get_type_hints

from hardplace.errors import BadInput
from hardplace.files import read
from hardplace.plans.plan import Plan
from hardplace.plans.plan_problems import check_sound


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCount:
    """So many devices of a kind in nodes of a kind.

    Attributes:
        device: Name or file of the device.
        node: Name or file of the node.
        count: Number of devices.
    """

    device: str
    node: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFile(Plan):
    """A plan as a file holds it, with what it was made for.

    Attributes:
        model: Catalogue name or Workload file; "": the file does not say.
        on: The devices; (): the file does not say.
        version: Version of the package that placed it; "": not placed by one.
    """

    model: str = ""
    on: tuple[DeviceCount, ...] = ()
    version: str = ""


def read_plan(path: Path) -> PlanFile:
    """Return the plan that a JSON or TOML file holds.

    Raises:
        BadInput: One line with file, field, value and what was expected.
    """
    plan = read(path, PlanFile)
    for lot in plan.on:
        if lot.count < 1:
            raise BadInput(f"{path}: on: count: {lot.count}: expected a whole number of devices from 1")
    check_sound(plan, str(path))
    return plan


def plan_at(plan: Plan | str | os.PathLike[str]) -> tuple[str, PlanFile]:
    """Return what a message calls a plan ("plan", or the path of its file), and the plan as a file holds it.

    Args:
        plan: A plan at hand, or the path of a plan's file.

    Raises:
        BadInput: One line with file, field, value and what was expected, also for a plan that contradicts itself.
    """
    if not isinstance(plan, Plan):
        return str(plan), read_plan(Path(plan))
    typed = {name: _typed(name, value) for name, value in _own(plan).items()}
    file = replace(plan, **typed) if isinstance(plan, PlanFile) else PlanFile(**typed)
    check_sound(file, "plan")
    return "plan", file


def bare(plan: Plan) -> Plan:
    """Return a plan without what its file says of model, devices and version."""
    return Plan(**_own(plan))


def _typed(name: str, value: Any) -> Any:
    """Return a field's value, a text as the member of its type: recompute="full" is Recompute.FULL."""
    hint = get_type_hints(Plan)[name]
    kinds = [one for one in (hint, *get_args(hint)) if isinstance(one, type) and issubclass(one, StrEnum)]
    if not kinds or not isinstance(value, str):
        return value
    try:
        return kinds[0](value)
    except ValueError:
        raise BadInput(f"plan: {name}", repr(value), ", ".join(kinds[0])) from None


def _own(plan: Plan) -> dict[str, Any]:
    return {one.name: getattr(plan, one.name) for one in fields(Plan)}
