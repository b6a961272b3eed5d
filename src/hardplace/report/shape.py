"""A ranking of shapes in the terminal and as a page: two tiers, speed-ups with their bands, what to heed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich.table import Table

from hardplace.report import style
from hardplace.report.console import headed, screen
from hardplace.report.parallel import parallel_coordinates
from hardplace.report.rendering import rendered
from hardplace.report.reproduce import reproduction
from hardplace.shaping.types import FIELDS, Alternative, Ranking
from hardplace.units import GIB

_HEADS = {"layers": "layers", "hidden": "hidden", "heads": "heads", "kv_heads": "KV", "head_dim": "head dim",
          "ffn": "MLP", "vocab": "vocabulary"}  # fmt: skip


def show_ranking(found: Ranking) -> None:
    """Print the model, the two tiers and the verdict."""
    console = screen()
    console.print(headed(found.model, f": {summary(found)}"))
    for said in verdict(found):
        console.print(said)
    for title, tier in tiers(found):
        console.print()
        console.print(headed(title))
        if len(tier) == 1:
            console.print("nothing faster within the budget")
            continue
        table = Table("shape", *heads(found), box=None)
        for number, one in enumerate(tier):
            table.add_row(str(number) if number else "own", *cells(one, found))
        console.print(table)
    console.print()
    for note in notes(found):
        console.print(f"note: {note}")


def summary(found: Ranking) -> str:
    """Return the model, the budget and the conditions in words."""
    low, high = found.budget
    one = found.conditions
    parts = [
        f"{found.parameters / 1e9:.3f} B parameters, {low / 1e9:.3f} to {high / 1e9:.3f} B allowed",
        f"{found.candidates:,} shapes priced",
        f"micro-batch {one.micro_batch} of {found.shape.sequence} tokens",
        f"tensor {one.tensor} x pipeline {one.pipeline}",
        f"attention {one.attention}",
    ]
    if found.indivisible:
        parts.insert(2, f"{found.indivisible:,} left out because a degree does not divide them")
    return "; ".join(parts)


def tiers(found: Ranking) -> list[tuple[str, tuple[Alternative, ...]]]:
    """Return the two tiers with their titles, the model itself first."""
    return [
        ("Safe: padding and head split, depth and width as they are", (found.base, *found.safe)),
        ("Reshaped: depth and width change, so quality may too", (found.base, *found.reshaped)),
    ]


def heads(found: Ranking) -> tuple[str, ...]:
    """Return the headings of a tier's table."""
    on = tuple(f"per parameter, {one.device}" for one in found.base.devices)
    raw = tuple(f"raw, {one.device}" for one in found.base.devices)
    return (*_HEADS.values(), "parameters", *on, *raw, "states, GiB", "activations, GiB", "divisible by", "caveats")


def cells(one: Alternative, found: Ranking) -> tuple[str, ...]:
    """Return an alternative's cells; what differs from the model is marked with an asterisk."""
    sizes = tuple(
        f"{getattr(one.shape, name)}" + ("*" if getattr(one.shape, name) != getattr(found.shape, name) else "")
        for name in FIELDS
    )
    return (
        *sizes,
        f"{one.parameters / 1e9:.3f} B",
        *(band(on.per_parameter, on.band, tie=on.tie and bool(one.changes)) for on in one.devices),
        *(f"{on.speedup:.3f}" for on in one.devices),
        f"{one.state_bytes / GIB:.1f}",
        f"{one.saved_bytes / GIB:.2f}",
        one.divides,
        "; ".join(one.risks) or "-",
    )


def band(value: float, half: float, *, tie: bool) -> str:
    """Return a speed-up with its band, and whether it is a tie."""
    if half == 0.0:
        return f"{value:.3f}"
    low, high = value * math.exp(-half), value * math.exp(half)
    return f"{value:.3f} ({low:.2f}-{high:.2f})" + (" tie: measure" if tie else "")


def sure(tier: tuple[Alternative, ...]) -> Alternative | None:
    """Return the best shape of a tier that is faster beyond the model's error on every device; None: there is none."""
    return next((one for one in tier if not any(on.tie for on in one.devices)), None)


def verdict(found: Ranking) -> tuple[str, ...]:
    """Return of each tier the best gain beyond the model's error, and the largest one where that is a tie."""
    said = []
    names = ", ".join(on.device for on in found.base.devices)
    for tier, one in (("safe", found.safe), ("reshaped", found.reshaped)):
        if not one:
            said.append(f"{tier}: nothing is faster for each parameter on {names}: keep the model's shape")
            continue
        certain, best = sure(one), one[0]
        if certain is not None:
            said.append(f"{tier}: {_gain(certain, names)}, beyond the model's error")
        if certain is not best:
            ties = [on.device for on in best.devices if on.tie]
            where = f" on {', '.join(ties)}" if len(best.devices) > 1 else ""
            nothing = "no gain beyond the model's error; the largest" if certain is None else "larger, but unsure"
            said.append(f"{tier}: {nothing}: {_gain(best, names)}, a tie within the model's error{where}: measure both")
    return tuple(said)


def _gain(one: Alternative, names: str) -> str:
    return f"{', '.join(one.changes)}: {one.worst:.3f} times as fast for each parameter on {names}"


def notes(found: Ranking) -> tuple[str, ...]:
    """Return what to know of the numbers."""
    return (
        *found.notes,
        "caveats may cost quality, which is not predicted here: train a small pair first",
        "a step is forward and backward of one micro-batch; the optimizer and traffic between replicas are left out",
        "per parameter: speed-up times the ratio of parameters; range: two standard deviations of the model's error",
        f"of equal depth, width and heads only the best MLP is listed; its widths are multiples of {found.mlp_step}",
    )


def page(found: Ranking, command: str = "") -> str:
    """Return the HTML page.

    Args:
        found: The shapes.
        command: The command that asked for them, if one did.
    """
    return rendered(
        "shape.html",
        found=found,
        summary=summary(found),
        verdict=verdict(found),
        notes=notes(found),
        heads=heads(found),
        tiers=[(title, [cells(one, found) for one in tier], bars(tier)) for title, tier in tiers(found)],
        seconds=[(one.device, one.step_s) for one in found.base.devices],
        gains=[
            (name, certain.worst if (certain := sure(tier)) is not None else 1.0, len(tier))
            for name, tier in (("safe tier", found.safe), ("depth and width changed", found.reshaped))
        ],
        parallel=parallel_coordinates((found.base, *found.safe, *found.reshaped), found),
        reproduction=reproduction(found, command),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Points with bands on one axis: of each shape a label, its y, and for each device x, both ends, colour, title.

    ticks: x and label; one: x of the model as it is.
    """

    rows: list[tuple[str, float, list[tuple[float, float, float, str, str]]]]
    ticks: list[tuple[float, str]]
    one: float


def bars(tier: tuple[Alternative, ...]) -> Bars:
    """Return the points of a tier, the model's own first."""
    ends = [on.per_parameter * math.exp(sign * on.band) for one in tier for on in one.devices for sign in (-1.0, 1.0)]
    low, high = min(ends) - 0.01, max(ends) + 0.01
    step = next(size for size in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 10.0) if (high - low) / size <= 8)

    def at(value: float) -> float:
        return 210.0 + 480.0 * (value - low) / (high - low)

    rows = []
    for place, one in enumerate(tier):
        label = f"{one.shape.layers} x {one.shape.hidden}, {one.shape.heads} heads" if one.changes else "as it is"
        points = []
        for number, on in enumerate(one.devices):
            colour = style.GREY if on.tie else style.PALETTE[number % len(style.PALETTE)]
            first, last = on.per_parameter * math.exp(-on.band), on.per_parameter * math.exp(on.band)
            title = f"{on.device}: {band(on.per_parameter, on.band, tie=on.tie)}; {', '.join(one.changes)}"
            points.append((at(on.per_parameter), at(first), at(last), colour, title))
        rows.append((label, 20.0 + 24.0 * place, points))
    ticks = [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return Bars(rows=rows, ticks=[(at(tick), f"{tick:.2f}") for tick in ticks], one=at(1.0))
