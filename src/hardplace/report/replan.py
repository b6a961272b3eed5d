"""Plans to go on with, in the terminal: throughput, what moves, the pause."""

from __future__ import annotations

import math

from rich.table import Table

from hardplace.plans.infeasible import PlanInfeasible
from hardplace.plans.intervals import spreads
from hardplace.plans.plan import Plan
from hardplace.plans.replanning.replan import ReplanOption, ReplanResult
from hardplace.report import text as words
from hardplace.report.console import screen
from hardplace.report.plan import recompute_words, surety, tensor_words, zero_words
from hardplace.units import format_quantity, percent

HEADS = (
    "plan", "samples/s", "over the horizon", "step, s", "tensor", "pipe", "virtual", "data", "ctx", "exp", "ZeRO",
    "micro", "recompute", "schedule", "spares", "to move", "pause",
)  # fmt: skip


def show_replanned(found: ReplanResult) -> None:
    """Print the options, what becomes of the bytes of the first, and what to know beside it."""
    console = screen()
    best = found.options[0]
    console.print(found.title)
    console.print(f"best: {best_words(best)}")
    console.print(f"      {surety(best.estimate)}; {alike(found)}")
    console.print(f"{searched(found)}\n")
    table = Table(*HEADS, box=None)
    for number, one in enumerate(found.options, 1):
        table.add_row(str(number), *replan_row(one))
    console.print(table)
    console.print()
    first, *more = moves_lines(best)
    console.print(f"moves: {first}")
    for line in more:
        console.print(f"       {line}")
    for note in notes(found):
        console.print(f"note: {note}")


def alike(found: ReplanResult) -> str:
    """Return which of the plans the model cannot rank: as near as two runs of one system are told apart."""
    near = math.exp(spreads().pairs)
    rates = [one.samples_per_s for one in found.options]
    count = sum(rate * near >= rates[0] for rate in rates)
    apart = percent(near - 1.0, 0)
    return f"plans 1 to {count} are a tie: nearer than {apart}" if count > 1 else f"no tie: {apart} apart or more"


def notes(found: ReplanResult) -> tuple[str, ...]:
    """Return what to know beside the plans: what is kept, checkpoints, idle devices, another batch."""
    best, old = found.options[0], found.running
    said = [kept(old.plan)]
    if found.reread_bytes:
        said.append(
            f"the run goes back to its last checkpoint; hosts are taken to keep their part of it in memory. If they do "
            f"not, all {format_quantity(found.reread_bytes, 'B')} are read, which takes {found.reread_s:.1f} s"
        )
    if best.spares:
        said.append(
            f"{best.spares} of {found.at_hand} devices stay idle: no plan of the space with more of them does more"
        )
    if found.uneven is not None:
        other = found.uneven
        said.append(
            f"with a batch of {other.plan.global_batch} instead of {old.plan.global_batch} samples: "
            f"{other.plan.global_batch / other.step_s:,.1f} samples/s on {other.devices} devices (tensor "
            f"{other.plan.tensor}, pipeline {other.plan.pipeline}, data {other.plan.data})"
        )
    return (*said, *best.estimate.notes)


def searched(found: ReplanResult) -> str:
    """Return what runs now, and what was searched for what horizon."""
    old = found.running
    return (
        f"running plan: {old.plan.global_batch / old.step_s:,.1f} samples/s; searched: {found.considered:,} degrees "
        f"and kinds of layer, for a horizon of {found.horizon_s / 3600.0:.3g} h"
    )


def best_words(one: ReplanOption) -> str:
    """Return the first option in a line: its degrees, what it reaches and what the change costs."""
    plan = one.estimate.plan
    return (
        f"tensor {plan.tensor}, pipeline {plan.pipeline}, data {plan.data}: {one.samples_per_s:,.1f} samples/s, "
        f"{one.effective_samples_per_s:,.1f} over the horizon with the pause of {one.pause_s:.1f} s"
    )


def kept(running: Plan) -> str:
    """Return what every plan but for its degrees has as the running plan, in words (`plans.replanning.degrees`)."""
    sequence = ("no " if running.tensor > 1 and not running.sequence else "") + "sequence parallelism"
    with_tensor = "" if running.tensor > 1 and not running.sequence else " wherever tensor is above 1"
    exchange = f" ({running.context_exchange})" if running.context > 1 else ""
    offload = "states offloaded" if running.offload else "no offload"
    overlap = "overlap" if running.overlap else "no overlap"
    attention = "attention as one kernel" if running.flash else "attention in parts"
    return (
        f"kept from the running plan: batch {running.global_batch}, {sequence}{with_tensor}, context "
        f"{running.context}{exchange}, expert {running.expert}, {running.precision}, {running.optimizer}, "
        f"{running.gradient} gradients, {offload}, {overlap}, {attention}, the order of degrees; stages are even, "
        f"or as the running plan cuts them. `hardplace place` searches these too and may find a faster plan"
    )


def replan_row(one: ReplanOption) -> tuple[str, ...]:
    """Return a plan as cells of the table, but for its number."""
    plan = one.estimate.plan
    degrees = (plan.pipeline, plan.virtual, plan.data, plan.context, plan.expert)
    return (
        f"{one.samples_per_s:,.1f}",
        f"{one.effective_samples_per_s:,.1f}",
        f"{one.estimate.step_s:.4g}",
        tensor_words(plan),
        *map(str, degrees),
        zero_words(plan),
        str(plan.micro_batch),
        recompute_words(plan),
        str(plan.schedule),
        str(one.spares),
        format_quantity(one.moves.moved_bytes, "B"),
        f"{one.pause_s:.1f} s",
    )


def moves_lines(best: ReplanOption) -> tuple[str, ...]:
    """Return what becomes of the bytes of the running plan, in sentences."""
    moves = best.moves
    if best.pause_s == 0.0:
        return ("the running plan goes on without a stop; nothing moves",)
    least = ""
    if moves.least_moved_bytes:
        least = f" (no mapping of ranks moves less than {format_quantity(moves.least_moved_bytes, 'B')})"
    return (
        f"of {format_quantity(moves.needed_bytes, 'B')} of weights and optimizer states on all devices, "
        f"{format_quantity(moves.kept_bytes, 'B')} are in place, "
        f"{format_quantity(moves.moved_bytes, 'B')} move{least}, "
        f"{format_quantity(moves.across_bytes, 'B')} come from other nodes",
        f"the busiest device receives {format_quantity(moves.busiest_across_bytes, 'B')} from other nodes and "
        f"{format_quantity(moves.busiest_inside_bytes, 'B')} within its own: {format_quantity(best.transfer_s, 's')}",
        f"no copy is left of {format_quantity(moves.checkpoint_bytes, 'B')}, read from a checkpoint in "
        f"{format_quantity(best.read_s, 's')}"
        if moves.checkpoint_bytes
        else "every byte has a copy left: no checkpoint is needed",
    )


def say_stuck(found: PlanInfeasible) -> None:
    """Print why no plan does any work."""
    console = screen(soft_wrap=True)
    if found.unit == "s":
        console.print(
            f"infeasible: a horizon of {format_quantity(found.available, 's')} is over before any plan goes on: no "
            f"pause is shorter than {format_quantity(found.needed, 's')}"
        )
        return
    plan = found.nearest
    if plan is None:
        console.print(f"infeasible: there are no {found.what}; {found.remedy}")
        return
    console.print(
        f"infeasible: no plan fits; the nearest (tensor {plan.tensor}, pipeline "
        f"{plan.pipeline}, data {plan.data}, ZeRO {plan.zero}, recompute {plan.recompute}) is short by "
        f"{words.size(found.short_bytes)} on stage {found.stage}; {found.remedy}"
    )
