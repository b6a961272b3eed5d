"""Export of a plan: checks, then the target's own module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from hardplace.errors import BadInput
from hardplace.exports.accelerate import accelerate_files, accelerate_warnings
from hardplace.exports.architecture import Architecture
from hardplace.exports.deepspeed import deepspeed_files, deepspeed_warnings
from hardplace.exports.job import Exported, ExportedFile, ExportJob
from hardplace.exports.limits import TrainerLimit, broken_limits
from hardplace.exports.maxtext import maxtext_files, maxtext_warnings
from hardplace.exports.megatron import megatron_files, megatron_warnings
from hardplace.exports.megatron_bridge import bridge_warnings, megatron_bridge_files
from hardplace.exports.nearest import NearestPlan, nearest_plan
from hardplace.exports.targets import Target, refused
from hardplace.exports.torchtitan import torchtitan_files, torchtitan_problem, torchtitan_warnings
from hardplace.exports.unsaid import unsaid
from hardplace.plans.estimate import PlanEstimate
from hardplace.plans.plan import Plan

_Files = Callable[[ExportJob], tuple[ExportedFile, ...]]
_Warnings = Callable[[ExportJob], Iterator[str]]
_EXPORTERS: dict[Target, tuple[_Files, _Warnings]] = {
    Target.MEGATRON: (megatron_files, megatron_warnings),
    Target.MEGATRON_BRIDGE: (megatron_bridge_files, bridge_warnings),
    Target.TORCHTITAN: (torchtitan_files, torchtitan_warnings),
    Target.DEEPSPEED: (deepspeed_files, deepspeed_warnings),
    Target.ACCELERATE: (accelerate_files, accelerate_warnings),
    Target.MAXTEXT: (maxtext_files, maxtext_warnings),
}


def refused_model(target: Target, vendor: str, architecture: Architecture | None) -> str:
    """Return why a target runs no plan of a model on a vendor's devices; empty: it runs some."""
    said = refused(target, vendor, architecture)
    if not said and target is Target.TORCHTITAN and architecture is not None:
        said = torchtitan_problem(architecture)
    return said


def exported(job: ExportJob) -> Exported:
    """Return the files of a job, with the command that launches it.

    Raises:
        BadInput: Where the target cannot run the model, the device or the plan.
    """
    if said := refused_model(job.target, job.device.vendor, job.architecture):
        raise BadInput(said)
    for limit in broken_limits(job.target, job.plan, job.facts):
        raise BadInput(f"{limit.field}: {getattr(job.plan, limit.field)}: {limit.reason}")
    files, warnings = _EXPORTERS[job.target]
    made = files(job)
    start = next(one.name for one in made if one.name in ("torchrun.sh", "launch.sh"))
    return Exported(target=job.target, files=made, command=f"bash {start}", warnings=(*warnings(job), *unsaid(job)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportVerdict:
    """What a target says of a job.

    Attributes:
        job: The job as it was asked for.
        broken: Limits of the target that its plan breaks; (): it runs the plan.
        nearest: The nearest plan that the target runs; None: there is none, or none is needed.
    """

    job: ExportJob
    broken: tuple[TrainerLimit, ...]
    nearest: NearestPlan | None

    @property
    def runnable(self) -> ExportJob | None:
        """Return the job of a plan that the target runs: its own, else the nearest one; None: neither is run."""
        if not self.broken:
            return self.job
        found = self.nearest
        return None if found is None else replace(self.job, plan=found.estimate.plan, estimate=found.estimate)


def verdict_of(job: ExportJob, priced: Callable[[Plan], PlanEstimate]) -> ExportVerdict:
    """Return which limits of its target a job breaks, and the nearest plan that breaks none.

    Args:
        job: The job.
        priced: What a plan of its model costs on its devices.
    """
    broken = tuple(broken_limits(job.target, job.plan, job.facts))
    found = nearest_plan(job.target, job.plan, job.facts, priced) if broken else None
    return ExportVerdict(job=job, broken=broken, nearest=found)


def nearest_job(job: ExportJob, priced: Callable[[Plan], PlanEstimate]) -> ExportJob:
    """Return a job of a plan that its target runs: its own, else the nearest one; priced: as for `verdict_of`.

    Raises:
        BadInput: Where there is none.
    """
    found = verdict_of(job, priced)
    if found.runnable is None:
        limit = found.broken[0]
        raise BadInput(f"{limit.field}: {getattr(job.plan, limit.field)}: {limit.reason}, and no plan near it is run")
    return found.runnable
