"""A plan with its model and devices, priced: what an exporter, a run and a trace start from."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hardplace.cost.one_chip.described_device import DescribedDevice
from hardplace.errors import BadInput
from hardplace.exports.architecture import architecture_of
from hardplace.exports.facts import facts_of
from hardplace.exports.job import ExportJob
from hardplace.exports.targets import Target
from hardplace.hardware.device import Node
from hardplace.plans.chain import of_workload
from hardplace.plans.estimate import PlanEstimate, estimate_plan
from hardplace.plans.fleet import PlanDevice, even_cluster, fleet_of
from hardplace.plans.inventory import inventory_of_plan
from hardplace.plans.plan import Plan
from hardplace.plans.plan_files import bare, plan_at
from hardplace.version import __version__
from hardplace.workload.types import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """A plan, the model's name and Workload, and the devices (kind, node, how many) that it is for."""

    place: str
    plan: Plan
    model: str
    workload: Workload
    parts: tuple[tuple[PlanDevice, Node, int], ...]

    def priced(self, plan: Plan) -> PlanEstimate:
        """Return what a plan of this model costs on these devices."""
        return estimate_plan(of_workload(self.workload, plan), plan, fleet_of(self.parts, plan))


def planned_of(
    plan: Plan | str | os.PathLike[str],
    model: str | None,
    asked: Sequence[str],
    nodes: Sequence[str],
    load: Callable[[str], Workload],
) -> PlannedRun:
    """Return what a plan's file says, or a plan, with the model's and devices' names where it does not say them.

    load: gives the Workload of a model's name. Raises BadInput with file, field, value and what was expected.
    """
    path, file = plan_at(plan)
    if file.version not in ("", __version__):
        raise BadInput(f"{path}: version: {file.version!r}: expected {__version__}, this one's: place the model again")
    name = model or file.model
    if not name:
        raise BadInput("model", "missing", f"a name: {path} says none, as the file that `place` writes does")
    parts = inventory_of_plan(path, file, asked, nodes)
    return PlannedRun(place=path, plan=bare(file), model=name, workload=load(name), parts=tuple(parts))


def job_of(planned: PlannedRun, target: Target, plan: Plan, config: Path | None) -> ExportJob:
    """Return what an exporter is given, with the plan priced; BadInput where it is none of this model."""
    architecture = architecture_of(planned.model, planned.workload, config)
    chip, node, count = planned.parts[0]
    if isinstance(chip, DescribedDevice):
        raise BadInput("device", f"{chip.name} is a description", "a device that a trainer runs on")
    try:
        estimate = planned.priced(plan)
    except BadInput as problem:
        raise BadInput(f"{planned.place}: {problem}") from None
    return ExportJob(
        target=target,
        model=planned.model,
        architecture=architecture,
        facts=facts_of(planned.workload, architecture),
        plan=plan,
        estimate=estimate,
        device=chip,
        node_devices=even_cluster(node, count).levels[0].devices,
    )
