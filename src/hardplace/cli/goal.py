"""What a search is for, as options: the space of chips, objectives, limits, several models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from hardplace.cli.options import by_name, gathered
from hardplace.errors import BadInput
from hardplace.units import parse_quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """The options as they were given."""

    space: str = "reticle"
    process: str | None = None
    ideal: bool = False
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
        default="reticle",
        show_default=True,
        metavar="NAME|FILE",
        help="Chips: reticle (5 nm, 858 mm2, 700 W), open, phaze (PHAZE's), or a TOML file.",
    ),
    click.option(
        "--process", metavar="NODE", help="Process node of the chips: 7nm, 5nm, 4nm, 3nm, ...  [default: the space's]"
    ),
    click.option(
        "--ideal", is_flag=True, help="Ideal kernels and links. Without it, chips by parts reach what fitted GPUs do."
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
        help="area, tdp, price, memory or step at most, e.g. tdp=400W.  [default: the space's]",
    ),
    click.option("--combine", metavar="HOW", help="Several models: geometric (default), worst, weights; arithmetic."),
    click.option("--weights", metavar="W,W,...", help="Weights of the models, with --combine weights."),
    click.option("--fleet", type=click.IntRange(min=1), default=1, show_default=True, help="Chips that share MODELs."),
)


def limits_of(area_mm2: float | None, texts: tuple[str, ...]) -> dict[str, str | float]:
    """Return limits by name from --area and texts such as tdp=400W; BadInput for another form, or one given twice."""
    if area_mm2 is not None and not 0.0 < area_mm2 < float("inf"):
        raise BadInput(f"--area: {area_mm2:g}: expected a positive number of mm2")
    named = by_name("limit", texts, "tdp=400W")
    if area_mm2 is None:
        return {**named}
    if "area" in named:
        raise BadInput(f"--limit: area={named['area']}: beside --area {area_mm2:g}; expected one of both")
    return {"area": area_mm2, **named}


def goal_arguments(asking: Asking) -> dict[str, Any]:
    """Return what is asked for, as `hardplace` takes it; BadInput for options that do not go together."""
    if asking.pareto is not None and asking.objective is not None:
        raise BadInput("--pareto: not beside --objective; expected one of both")
    names = tuple((asking.pareto or asking.objective or "throughput").split(","))
    if asking.objective is not None and len(names) > 1:
        raise BadInput(f"--objective: {asking.objective!r}: expected one; several go to --pareto")
    if asking.pareto is not None and not 2 <= len(set(names)) == len(names) <= 3:
        raise BadInput(f"--pareto: {asking.pareto!r}: expected two or three different objectives")
    weights = None
    if asking.weights is not None:
        weights = tuple(parse_quantity(part, "", "--weights") for part in asking.weights.split(","))
    return {"objectives": names, "combine": asking.combine, "weights": weights, "fleet": asking.fleet}
