"""A run of a plan in the terminal: losses and gradients beside the single process's, bytes beside the prediction."""

from __future__ import annotations

from rich.table import Table

from hardplace.plans.plan import Plan
from hardplace.report.console import screen
from hardplace.report.text import plural
from hardplace.run.types import RankCounts, RunResult
from hardplace.units import format_quantity


def show_run(model: str, plan: Plan, found: RunResult, tolerance: float) -> None:
    """Print what a run found, of the first rank of each stage."""
    console = screen()
    console.print(
        f"{model}: tensor {plan.tensor}{' with sequence' if plan.sequence else ''}, context {plan.context}, data "
        f"{plan.data}, pipeline {plan.pipeline} x {plan.virtual}, expert {plan.expert}, ZeRO {plan.zero}, schedule "
        f"{plan.schedule}; {plural(plan.devices, 'rank')}, fp32"
    )
    worst = max(found.ranks, key=lambda one: one.gradient_error)
    said = "equal" if max(found.loss_error, found.gradient_error) <= tolerance else "NOT equal"
    losses = ", ".join(f"{loss:.6f}" for loss in found.losses)
    console.print(f"losses       {losses}; of one process {', '.join(f'{loss:.6f}' for loss in found.reference)}")
    console.print(
        f"{said} to {tolerance:g}: losses within {found.loss_error:.1e}, gradients within {worst.gradient_error:.1e} "
        f"(rank {worst.rank}, {worst.worst})"
    )
    table = Table("stage", "what", "predicted", "counted", "", box=None)
    seen: set[int] = set()
    for one, predicted in zip(found.ranks, found.predicted, strict=True):
        if one.stage in seen:
            continue
        seen.add(one.stage)
        for name, said_bytes, counted in byte_rows(predicted, one.counted):
            verdict = "" if said_bytes == counted else f"{counted - said_bytes:+,.0f} B"
            table.add_row(
                str(one.stage), name, format_quantity(said_bytes, "B"), format_quantity(counted, "B"), verdict
            )
    console.print(table)
    console.print(f"step         {format_quantity(found.step_s, 's')} on these processes, the slowest rank")
    for note in found.notes:
        console.print(f"note: {note}")


def byte_rows(predicted: RankCounts, counted: RankCounts) -> list[tuple[str, float, float]]:
    """Return what is compared of a rank: name, predicted bytes, counted bytes."""
    rows = [
        (name, getattr(predicted, f"{name}_bytes"), getattr(counted, f"{name}_bytes"))
        for name in ("weights", "gradients", "states", "saved")
    ]
    for name in sorted({*predicted.traffic, *counted.traffic}):
        rows.append((name, predicted.traffic.get(name, (0, 0.0))[1], counted.traffic.get(name, (0, 0.0))[1]))
    return rows
