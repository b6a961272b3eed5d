"""One step of a plan as a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hardplace.exports.planned import PlannedRun
    from hardplace.plans.estimate import PlanEstimate
    from hardplace.plans.plan import Plan


def planned_run(
    plan: Plan, model: str, device: tuple[str, ...], devices: int | None, nodes: tuple[str, ...]
) -> PlannedRun:
    """Return a plan with what it runs on, by the names that were asked for."""
    from hardplace.api.sources import load
    from hardplace.exports.planned import PlannedRun
    from hardplace.plans.inventory import inventory_of

    return PlannedRun(
        place=model, model=model, plan=plan, workload=load(model), parts=tuple(inventory_of(device, devices, nodes))
    )


def step_trace_of(run: PlannedRun, estimate: PlanEstimate) -> bytes:
    """Return one step of a priced plan as a trace in Perfetto's binary format.

    Raises:
        BadInput: Without the package that writes it, and for a step of too many passes.
    """
    from hardplace.plans.chain import of_workload
    from hardplace.plans.fleet import fleet_of
    from hardplace.plans.passes import pass_times
    from hardplace.report.step_trace import step_trace

    chain, fleet = of_workload(run.workload, estimate.plan), fleet_of(run.parts, estimate.plan)
    return step_trace(run.workload.name, estimate, pass_times(chain, estimate.plan, fleet))
