"""What a search is for, as options: the space of chips, objectives, limits, several models."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from hardplace.cli.chips import budget_of as area_budget
from hardplace.cli.options import gathered
from hardplace.errors import BadInput, unknown
from hardplace.units import parse_quantity

if TYPE_CHECKING:
    from hardplace.design.goals import Goal
    from hardplace.design.question import Question
    from hardplace.design.types import PlanChoices
    from hardplace.hardware.types import Budget, Setting
    from hardplace.workload.types import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """The options as they were given."""

    space: str = "phaze"
    objective: str | None = None
    pareto: str | None = None
    limits: tuple[str, ...] = ()
    combine: str | None = None
    weights: str | None = None
    fleet: int = 1


asking_options = gathered(
    "asking",
    Asking,
    click.option(
        "--space",
        default="phaze",
        show_default=True,
        metavar="NAME|FILE",
        help="Chips: phaze, open, or a TOML file.",
    ),
    click.option(
        "--objective",
        metavar="NAME",
        help="throughput, throughput-per-watt, throughput-per-dollar, energy, carbon, tdp, price or area.  "
        "[default: throughput]",
    ),
    click.option("--pareto", metavar="NAME,NAME", help="Frontier over two or three of these."),
    click.option(
        "--limit",
        "limits",
        multiple=True,
        metavar="NAME=VALUE",
        help="area, tdp, price, memory or step at most, e.g. tdp=400W.  [default: the space's area]",
    ),
    click.option("--combine", metavar="HOW", help="Several models: geometric (default), worst, weights; arithmetic."),
    click.option("--weights", metavar="W,W,...", help="Weights of the models, with --combine weights."),
    click.option("--fleet", type=click.IntRange(min=1), default=1, show_default=True, help="Chips that share MODELs."),
)


def area_limit(area_mm2: float | None) -> tuple[str, ...]:
    """Return --area as a limit."""
    return () if area_mm2 is None else (f"area={area_budget(area_mm2).area_mm2}mm2",)


def budget_of(asking: Asking, area_mm2: float) -> Budget:
    """Return the limits; BadInput for one that is unknown or given twice, or is no quantity of its unit."""
    from hardplace.design.goals import LIMITS
    from hardplace.hardware.types import Budget

    found: dict[str, float] = {}
    for text in asking.limits:
        name, equals, value = text.partition("=")
        if not equals or name not in LIMITS:
            raise BadInput(f"--limit: {text!r}: expected NAME=VALUE with {', '.join(LIMITS)}, such as tdp=400W")
        field, unit = LIMITS[name]
        if field in found:
            raise BadInput(f"--limit: {text!r}: a second limit on {name}; expected one")
        found[field] = parse_quantity(value, unit, f"--limit {name}")
    return replace(Budget(area_mm2=area_mm2), **found)


def goal_of(asking: Asking, models: int, devices: int, setting: str) -> Goal:
    """Return what is asked for; BadInput for names that do not exist and for what does not go together."""
    from hardplace.design.goals import Combine, Goal, Objective

    if asking.pareto is not None and asking.objective is not None:
        raise BadInput("--pareto: not beside --objective; expected one of both")
    names = (asking.pareto or asking.objective or "throughput").split(",")
    for name in names:
        if name not in list(Objective):
            raise unknown("objective", name, list(Objective))
    if asking.objective is not None and len(names) > 1:
        raise BadInput(f"--objective: {asking.objective!r}: expected one; several go to --pareto")
    if asking.pareto is not None and not 2 <= len(set(names)) == len(names) <= 3:
        raise BadInput(f"--pareto: {asking.pareto!r}: expected two or three different objectives")
    if models > 1 and asking.pareto is not None:
        raise BadInput("--pareto: not with several models; expected one")
    if models == 1 and (asking.fleet > 1 or asking.combine or asking.weights):
        raise BadInput("--fleet, --combine, --weights: expected several models")
    combine = asking.combine or ("weights" if asking.weights else "geometric")
    if combine not in list(Combine):
        raise unknown("way to combine models", combine, list(Combine))
    if combine == "arithmetic" and setting != "phaze":
        raise BadInput("--combine: arithmetic: PHAZE's mean of raw throughputs; expected it with --setting phaze only")
    if (combine == "weights") != (asking.weights is not None):
        raise BadInput("--combine weights, --weights: expected both or neither")
    weights = (1.0,) * models
    if asking.weights is not None:
        parts = asking.weights.split(",")
        weights = tuple(parse_quantity(part, "", "--weights") for part in parts)
        if len(weights) != models:
            raise BadInput(f"--weights: {asking.weights!r}: expected one for each of the {models} models")
    return Goal(
        objectives=tuple(Objective(name) for name in names),
        devices=devices,
        combine=Combine(combine),
        weights=weights,
        norms=(1.0,) * models,
        fleet=asking.fleet,
    )


def question_of(workloads: tuple[Workload, ...], setting: Setting, choices: PlanChoices, asking: Asking) -> Question:
    """Return the question that the options ask."""
    from hardplace.design.question import Question
    from hardplace.hardware.space_files import space as named

    space = named(asking.space)
    return Question(
        workloads=workloads,
        setting=setting,
        budget=budget_of(asking, space.area_limit_mm2),
        space=space,
        choices=choices,
        goal=goal_of(asking, len(workloads), setting.cluster.devices, setting.name),
    )
