"""What a trainer's file says of a plan, what it leaves open, and what in it the plan cannot say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hardplace.errors import BadInput
from hardplace.plans.plan import Plan
from hardplace.plans.plan_problems import problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What is said beside a file that leaves it open: devices, samples a step and a micro-batch; None: nothing."""

    devices: int | None = None
    batch: int | None = None
    micro_batch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedPlan:
    """A plan read from a trainer's file. sizes: of the model, as far as the file says them (layers, hidden, heads).
    sequence: tokens of a sample; 0: the file does not say. notes: what the file says and the plan cannot, each with
    what it would change."""

    plan: Plan
    sizes: Mapping[str, int] = field(default_factory=dict)
    sequence: int = 0
    notes: tuple[str, ...] = ()


def plan_of(place: str, fields: Mapping[str, Any]) -> Plan:
    """Return the plan of these fields; BadInput, one line, where they make none."""
    plan = Plan(**fields)
    for problem in problems(plan):
        raise BadInput(f"{place}: {problem}")
    return plan


def count(place: str, name: str, value: Any, least: int = 1) -> int:
    """Return a whole number of a file; BadInput for anything else, such as a shell variable or "auto"."""
    text = str(value).strip()
    if isinstance(value, bool) or not (text.lstrip("-").isdecimal() and int(text) >= least):
        raise BadInput(f"{place}: {name}: {value!r}: expected a whole number from {least}, not what stands for one")
    return int(text)


def asked(place: str, what: str, value: int | None, field: str) -> int:
    """Return an answer; BadInput that names what the file leaves open where there is none. field: of `Answers`."""
    if value is None:
        raise BadInput(field, "missing", f"{what}, which {place} does not say")
    return value


def divided(place: str, devices: int, degrees: Mapping[str, int]) -> int:
    """Return the data-parallel degree: what the other degrees leave of the devices."""
    inside = 1
    for value in degrees.values():
        inside *= value
    if devices % inside:
        names = " x ".join(f"{name} {value}" for name, value in degrees.items())
        raise BadInput(f"{place}: {names}: expected degrees that divide the {devices} devices")
    return devices // inside
