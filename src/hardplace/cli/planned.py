"""A plan's file with its model and devices, by the names that a command was given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hardplace.exports.planned import PlannedRun
    from hardplace.plans.estimate import PlanEstimate
    from hardplace.plans.plan import Plan


def planned_run(
    plan: Plan, model: str, device: tuple[str, ...], devices: int | None, nodes: tuple[str, ...]
) -> PlannedRun:
    """Return a plan with what it runs on, by the names that were asked for."""
    from hardplace.api import load
    from hardplace.exports.planned import PlannedRun
    from hardplace.plans.inventory import inventory_of

    return PlannedRun(
        place=model, model=model, plan=plan, workload=load(model), parts=tuple(inventory_of(device, devices, nodes))
    )


def write_step_trace(path: Path, run: PlannedRun, found: PlanEstimate) -> None:
    """Write a step of a plan as a trace; BadInput without the package that writes it."""
    from hardplace.files import write_bytes
    from hardplace.plans.chain import of_workload
    from hardplace.plans.fleet import fleet_of
    from hardplace.plans.passes import pass_times
    from hardplace.report.step_trace import step_trace

    chain, fleet = of_workload(run.workload, found.plan), fleet_of(run.parts, found.plan)
    write_bytes(path, step_trace(run.workload.name, found, pass_times(chain, found.plan, fleet)))
