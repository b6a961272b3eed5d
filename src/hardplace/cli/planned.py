"""A plan's file with its model and devices: what `export`, `run` and the traces start from."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from hardplace.errors import BadInput

if TYPE_CHECKING:
    from hardplace.hardware.device import Device, Node
    from hardplace.plans.estimate import PlanEstimate
    from hardplace.plans.plan import Plan
    from hardplace.workload.types import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """A plan, the model's name and Workload, and the devices (kind, node, how many) that it is for."""

    place: str
    plan: Plan
    model: str
    workload: Workload
    parts: tuple[tuple[Device, Node, int], ...]

    def priced(self, plan: Plan) -> PlanEstimate:
        """Return what a plan of this model costs on these devices."""
        from hardplace.plans.chain import of_workload
        from hardplace.plans.estimate import estimate_plan
        from hardplace.plans.fleet import fleet_of

        return estimate_plan(of_workload(self.workload, plan), plan, fleet_of(self.parts, plan))


def read_planned(path: Path, model: str | None, asked: tuple[str, ...], nodes: tuple[str, ...]) -> PlannedRun:
    """Return what a plan's file says, with model and devices of the options where it does not say them.

    Raises BadInput with file, field, value and what was expected.
    """
    from hardplace.api import load
    from hardplace.plans.inventory import inventory_of
    from hardplace.plans.plan import Plan, read_plan
    from hardplace.version import __version__

    file = read_plan(path)
    if file.version not in ("", __version__):
        raise BadInput(f"{path}: version: {file.version!r}: expected {__version__}, this one's: place the model again")
    name = model or file.model
    if not name:
        raise BadInput(f"{path}: model: missing: expected --model NAME, or the file that `hardplace place` wrote")
    if not asked and not file.on:
        raise BadInput(f"{path}: on: missing: expected --device NAME, or the file that `hardplace place` wrote")
    if not asked:
        asked = tuple(f"{lot.device}:{lot.count}" for lot in file.on)
        nodes = nodes or tuple(dict.fromkeys(lot.node for lot in file.on))
    counted = any(":" in one for one in asked)
    parts = inventory_of(asked, None if counted else file.devices, nodes)
    plan = Plan(**{one.name: getattr(file, one.name) for one in fields(Plan)})
    return PlannedRun(place=str(path), plan=plan, model=name, workload=load(name), parts=tuple(parts))


def planned_run(
    plan: Plan, model: str, device: tuple[str, ...], devices: int | None, nodes: tuple[str, ...]
) -> PlannedRun:
    """Return a plan with what it runs on, by the names that were asked for."""
    from hardplace.api import load
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
