"""The best plans of a model in the terminal: the answer, what is proven, the table, the stages, the timeline."""

from __future__ import annotations

import math

from rich.table import Table

from hardplace.certificate import percent_at_most
from hardplace.plans.estimate import PlanEstimate
from hardplace.plans.infeasible import PlanInfeasible
from hardplace.plans.intervals import spreads
from hardplace.plans.placement.recommend import against, recommend
from hardplace.plans.placement.result import PlacementResult
from hardplace.plans.plan import INSIDE_OUT, Plan
from hardplace.report import text as words
from hardplace.report.console import headed, screen
from hardplace.report.plan import (
    context_words,
    device_ranges,
    evidence,
    evidence_notes,
    recompute_words,
    show_parts,
    speed,
    surety,
    tensor_words,
    zero_words,
)
from hardplace.report.plan_timeline import text_timeline
from hardplace.units import GIB, percent


def certificate(found: PlacementResult) -> str:
    """Return what is proven: of the first plan in a sentence, then of the list."""
    if found.stopped:
        first = (
            f"stopped early: no plan in the searched space is more than {percent_at_most(found.gap)} faster than the "
            f"first in this cost model"
        )
    elif found.gap < 1e-9:
        first = "no plan in the searched space is faster in this cost model"
    else:
        first = (
            f"no plan in the searched space is more than {percent_at_most(found.gap)} faster than the first in this "
            f"cost model: not all ways to cut stages were priced"
        )
    return f"{first}{_listed(found)}"


def _listed(found: PlacementResult) -> str:
    """Return how many of several plans are proven to be the best ones, and what bounds the others."""
    count, sure = len(found.best), found.proven_plans
    if count == 1:
        return ""
    if sure == count:
        return f"; the {count} are the {count} best, proven"
    if not sure:
        return ""
    proven = f"plans 1 to {sure} are the {sure} best, proven; no" if sure > 1 else "no"
    return f"; {proven} other plan takes less than {words.rounded_down(found.list_bound_s)} s"


def counted(found: PlacementResult) -> str:
    """Return how many plans were considered, and what became of them."""
    return (
        f"{words.plural(found.considered, 'plan')}, each with all ways to cut its stages: {found.short:,} short of "
        f"memory, {found.bounded:,} discarded by bounds, {found.priced:,} priced in {words.plural(found.cuts, 'way')} "
        f"to cut them"
    )


_DIVISION = ("tensor", "context", "data", "pipeline", "expert")
_REST = (
    "context_exchange",
    "sequence",
    "zero",
    "shard",
    "micro_batch",
    "schedule",
    "virtual",
    "recompute",
    "recompute_layers",
    "kinds",
)


def alike(found: PlacementResult) -> str:
    """Return in how many ways the best plans divide the devices, and in what those that do so alike differ."""
    groups: dict[tuple[int, ...], list[Plan]] = {}
    for one in found.best:
        groups.setdefault(tuple(getattr(one.plan, name) for name in _DIVISION), []).append(one.plan)
    differ = [
        name for name in _REST if any(len({getattr(one, name) for one in group}) > 1 for group in groups.values())
    ]
    ways = f"{words.plural(len(groups), 'combination')} of degrees (tensor, context, data, pipeline, expert)"
    best = f"the {len(found.best)} best plans have" if len(found.best) > 1 else "the best plan has"
    said = f"{best} {ways}"
    return f"{said}; plans with the same degrees differ in {', '.join(differ)}" if differ else said


def heads(found: PlacementResult) -> tuple[str, ...]:
    """Return the headings of the table of plans: which stages are on which device where there are several kinds; no
    degree that is 1, no order that is the usual one, in all of them.
    """
    kinds = ("kinds by stage",) if _several(found) else ()
    return (
        "plan", "step, s", "MFU", "tensor", "pipe", "data", *_degrees(found), "ZeRO", "micro", "schedule", "recompute",
        "memory, GiB", *kinds, "next largest cost", *(("order",) if _ordered(found) else ()),
    )  # fmt: skip


def _degrees(found: PlacementResult) -> tuple[str, ...]:
    return tuple(name for name in ("context", "expert") if any(getattr(one.plan, name) > 1 for one in found.best))


def _ordered(found: PlacementResult) -> bool:
    return any(one.plan.order != INSIDE_OUT for one in found.best)


def _several(found: PlacementResult) -> bool:
    return any(one.plan.kinds for one in found.best)


def row(one: PlanEstimate, found: PlacementResult) -> tuple[str, ...]:
    """Return a plan as cells of the table, but for its number."""
    plan = one.plan
    most = max(one.shares[1:], key=lambda share: share.seconds)
    full = max(room.total_bytes for room in one.memory) / GIB
    return (
        f"{one.step_s:#.4g}",
        percent(one.mfu),
        tensor_words(plan),
        str(plan.pipeline),
        str(plan.data),
        *(context_words(plan) if name == "context" else str(getattr(plan, name)) for name in _degrees(found)),
        zero_words(plan),
        str(plan.micro_batch),
        f"{plan.schedule}{f' x{plan.virtual}' if plan.virtual > 1 else ''}",
        recompute_words(plan),
        f"{full:.1f}",
        *((device_ranges(plan.kinds),) if _several(found) else ()),
        f"{most.name.split(':')[0].split(',')[0]} {percent(most.seconds / one.step_s, 0)}",
        *(("" if plan.order == INSIDE_OUT else "-".join(plan.order),) if _ordered(found) else ()),
    )


def recommended(found: PlacementResult) -> str:
    """Return which plan to begin with, why, and what it costs."""
    one = recommend(found)
    if one is None:
        said = "; ".join(dict.fromkeys(reason for plan in found.best for reason in against(plan)))
        return f"none of these: {said}. Keep some memory free, or hold the schedule, to search for one"
    free = f"{percent(one.free, 0)} of memory free"
    if one.place == 0:
        return f"plan 1, the fastest: {free}, no rare feature"
    return (
        f"plan {one.place + 1}: {free}, no rare feature, step longer by {percent(one.cost)}; "
        f"those before it have {' or '.join(one.reasons)}"
    )


def ties(found: PlacementResult) -> str:
    """Return which of the best plans the model cannot rank: as near as two runs of one system are told apart."""
    near = math.exp(spreads().pairs)
    count = sum(one.step_s <= found.best[0].step_s * near for one in found.best)
    if count == 1:
        return f"the second is slower by {percent(near - 1.0, 0)} or more: no tie"
    return (
        f"plans 1 to {count} are a tie: the model ranks 80 % of pairs of plans right only where they differ by "
        f"{percent(near - 1.0, 0)} or more"
    )


def show_placed(found: PlacementResult) -> None:
    """Print the ten best plans, the certificate, the memory and the timeline of the best."""
    console = screen()
    console.print(headed(found.title))
    best = found.best[0]
    lines = Table.grid(padding=(0, 2))
    lines.add_row("speed", speed(best))
    lines.add_row("interval", surety(best))
    if said := evidence(best):
        lines.add_row("evidence", said)
    lines.add_row("certificate", certificate(found))
    lines.add_row("recommended", recommended(found))
    lines.add_row("considered", counted(found))
    console.print(lines)
    console.print()
    console.print(alike(found))
    console.print(ties(found))
    table = Table(*heads(found), box=None)
    for number, one in enumerate(found.best, 1):
        table.add_row(str(number), *row(one, found))
    console.print(table)
    show_parts(console, best)
    console.print(headed("\ntimeline of the best plan", " (a row a stage: f forward, b backward, w weight gradient)"))
    for line in text_timeline(best, min(120, console.width - 5)):
        console.print(line)
    for note in plan_notes(found):
        console.print(f"note: {note}")


def plan_notes(found: PlacementResult) -> tuple[str, ...]:
    """Return the notes of the best plan that no line above says already."""
    known = evidence_notes(found.best[0])
    return tuple(note for note in dict.fromkeys(found.best[0].notes) if note not in known)


def show_plan_infeasible(found: PlanInfeasible) -> None:
    """Print why no plan fits: of `place` with the changes that were tried, of `replan` in a line."""
    if found.considered:
        show_short(found)
    else:
        from hardplace.report.replan import say_stuck  # place has no need of what changes plans

        say_stuck(found)


def show_short(found: PlanInfeasible) -> None:
    """Print what is short, and what would mend it."""
    plan, console = found.nearest, screen(soft_wrap=True)
    assert plan is not None  # `place` always has a nearest plan
    console.print(
        f"infeasible: {found.title}: none of {words.plural(found.considered, 'plan')} fits; the nearest (tensor "
        f"{plan.tensor}, pipeline {plan.pipeline}, data {plan.data}, ZeRO {plan.zero}, recompute {plan.recompute}) is "
        f"short by {words.size(found.short_bytes)} on stage {found.stage}"
    )
    for one in found.remedies:
        console.print(f"  fits with {one.what}: {one.step_s:.4g} s a step")
    if not found.remedies:
        console.print("  nothing tried makes it fit (bf16 gradients, 8-bit states, offload, context, more devices)")
