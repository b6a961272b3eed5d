"""A plan's estimate in the terminal: step time, where it goes, memory by stage."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from hardplace.report.screen import screen
from hardplace.search.estimate import PlanEstimate
from hardplace.units import GIB

_PARTS = ("weights", "gradients", "states", "activations", "logits", "working", "buffers", "fragmentation")


def show_plan(model: str, where: str, found: PlanEstimate) -> None:
    """Print an estimate."""
    console, plan = screen(120, soft_wrap=True), found.plan
    console.print(f"{model} on {where}")
    console.print(
        f"tensor {plan.tensor}, context {plan.context}, data {plan.data}, pipeline {plan.pipeline}, "
        f"virtual {plan.virtual}, expert {plan.expert}, ZeRO {plan.zero}; {plan.micro_batches} micro-batches of "
        f"{plan.micro_batch} a replica; recompute {plan.recompute}; layers a stage {list(found.stage_layers)}"
    )
    console.print(
        f"step {found.step_s:.4g} s, {found.tokens_per_s:,.0f} tokens/s, MFU {found.mfu:.1%} of 16-bit peak\n"
    )
    show_parts(console, found)
    for note in found.notes:
        console.print(f"note: {note}")


def show_parts(console: Console, found: PlanEstimate) -> None:
    """Print where a step's time goes, and the memory of each stage."""
    shares = Table("where a step's time goes (busiest stage)", "seconds", "share", box=None)
    for one in found.shares:
        if one.seconds > 0:
            shares.add_row(one.name, f"{one.seconds:.4g}", f"{one.seconds / found.step_s:.1%}")
    console.print(shares)
    memory = Table("stage", *_PARTS, "reserve", "total GiB", "of", "", box=None)
    for index, room in enumerate(found.memory):
        sizes = [getattr(room, f"{name}_bytes") for name in _PARTS] + [room.reserve_bytes, room.total_bytes]
        held = found.memory_bytes[index]
        short = room.total_bytes - held
        fit = "fits" if short <= 0 else f"short of {short / GIB:.2f}"
        memory.add_row(str(index), *(f"{size / GIB:.2f}" for size in sizes), f"{held / GIB:.0f}", fit)
    console.print()
    console.print(memory)
