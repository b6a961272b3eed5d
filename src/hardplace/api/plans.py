"""Plans on devices that exist: the best, their price, their files, what to do when devices change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardplace.api.asking import Named, asked_of, name_of, names_of, word_of
from hardplace.api.sources import load, trained
from hardplace.errors import BadInput

if TYPE_CHECKING:
    import os

    from hardplace.exports.job import Exported
    from hardplace.plans.estimate import PlanEstimate
    from hardplace.plans.infeasible import PlanInfeasible
    from hardplace.plans.inventory import Parts
    from hardplace.plans.placement.plan_frontier import PlanFrontier
    from hardplace.plans.placement.result import PlacementResult
    from hardplace.plans.placement.space import PlanSpace
    from hardplace.plans.plan import Plan
    from hardplace.plans.plan_files import PlanFile
    from hardplace.plans.replanning.replan import ReplanResult
    from hardplace.workload.types import Workload

Watch = Callable[[int, int, float, float], None]


def place(
    model: str | os.PathLike[str] | Workload,
    device: Named,
    devices: int | None = None,
    *,
    batch: int,
    node: Named = (),
    fixed: Mapping[str, Any] | None = None,
    top: int = 10,
    gap: float = 0.0,
    seconds: float | None = None,
    trainer: str | None = None,
    headroom: float = 0.05,
    watch: Watch | None = None,
) -> PlacementResult | PlanInfeasible:
    """Search the best plans of a model on devices that exist, with a certificate.

    Args:
        model: A catalogue name, a Workload file, a config.json, or a Workload.
        device: A name of `devices()`, a TOML file of a device or of a description (docs/model-described.md), or a
            calibrated GPU's JSON; several kinds with their numbers as ("a100-80gb-sxm:8", "h100-sxm:8").
        devices: Number of devices, with one kind.
        batch: Samples of the global batch, which is one optimizer step.
        node: Names or TOML files of nodes. Empty: each device's usual node.
        fixed: Dimensions that are held to a value, or to one of several: {"tensor": (1, 2), "zero": 3}. Their names are
            the fields of `Plan`.
        top: Number of plans to return, fastest first.
        gap: Relative gap at which the search stops. 0: proven optimal.
        seconds: Time limit in seconds. None: none.
        trainer: Search only plans that this trainer runs, by its name in `export`.
        headroom: Share of each device's memory that plans keep free, from 0 to below 1: what a prediction of memory is
            off by, and what fragments.
        watch: Called with the numbers of plans considered and left, the best seconds of a step and the lower bound.

    Returns:
        The best plans with their estimates and the certificate, or which stage is short of how many bytes, with
        remedies.

    Raises:
        BadInput: For dimensions that suit neither the model nor the devices.
    """
    asked = asked_of(locals())
    from hardplace.plans.fleet import even_cluster
    from hardplace.plans.inventory import inventory_title
    from hardplace.plans.placement.result import PlacementResult
    from hardplace.plans.placement.search import PlanSearch
    from hardplace.plans.placement.shortage import placed_or_short

    workload, parts, space = _space(model, device, devices, batch, node, fixed, trainer, headroom)
    search = PlanSearch(workload, parts, space, watch, most=top, gap=gap, seconds=seconds)
    title = f"{name_of(model)} on {inventory_title(parts)}" + (f", for {space.within.title}" if space.within else "")
    found = placed_or_short(workload, parts, space, search)
    if isinstance(found, PlacementResult):
        title += f", {batch:,} sample{'s' if batch != 1 else ''} a step"
        _, where, count = parts[0]
        node_devices = even_cluster(where, count).levels[0].devices
        return replace(found, question=asked, title=title, model=workload.name, node_devices=node_devices)
    return replace(found, question=asked, title=title)


def plan_frontier(
    model: str | os.PathLike[str] | Workload,
    device: Named,
    devices: int | None = None,
    *,
    batch: int,
    against: str = "memory",
    node: Named = (),
    fixed: Mapping[str, Any] | None = None,
    gap: float = 0.0,
    seconds: float | None = None,
    trainer: str | None = None,
    headroom: float = 0.05,
    watch: Watch | None = None,
) -> PlanFrontier | PlanInfeasible:
    """Search the fastest plans within ever lower limits: on a device's memory, or on the number of devices.

    Args:
        model: As `place` takes it.
        device: As `place` takes it; one kind where fewer devices are tried.
        devices: Number of devices, with one kind.
        batch: Samples of the global batch.
        against: "memory": each next plan fills 5 % less of its fullest device, or less than that. "devices": half as
            many each time.
        node: As `place` takes it.
        fixed: Dimensions that are held, as `place` takes them.
        gap: Relative gap of each plan at which its search stops. 0: proven optimal.
        seconds: Time limit in seconds for all of them. None: none.
        trainer: Search only plans that this trainer runs.
        headroom: Share of each device's memory that is kept free at first.
        watch: As `place` calls it, at each limit.

    Returns:
        The plans, fastest first, each with its bound, or what is short at the first limit.

    Raises:
        BadInput: As `place`; for an unknown `against`.
    """
    asked = asked_of(locals())
    from hardplace.plans.inventory import inventory_title
    from hardplace.plans.placement.plan_frontier import Against, PlanFrontier, PlanFrontierSearch

    scale = word_of("against", against, Against)
    workload, parts, space = _space(model, device, devices, batch, node, fixed, trainer, headroom)
    title = f"{name_of(model)} on {inventory_title(parts)}" + (f", for {space.within.title}" if space.within else "")
    found = PlanFrontierSearch(workload, parts, space, scale, watch, gap=gap, seconds=seconds).run()
    if isinstance(found, PlanFrontier):
        title += f", {batch:,} sample{'s' if batch != 1 else ''} a step"
    return replace(found, question=asked, title=title)


def _space(
    model: str | os.PathLike[str] | Workload,
    device: Named,
    devices: int | None,
    batch: int,
    node: Named,
    fixed: Mapping[str, Any] | None,
    trainer: str | None,
    headroom: float,
) -> tuple[Workload, Parts, PlanSpace]:
    """Return the model, its devices and the space of plans that `place` and `plan_frontier` search."""
    from hardplace.plans.inventory import inventory_of
    from hardplace.plans.placement.held_dimensions import fixed_of
    from hardplace.plans.placement.space import PlanSpace

    workload = trained(model)
    parts = inventory_of(names_of(device), devices, names_of(node))
    held = fixed_of(fixed or {})
    if not 0.0 <= headroom < 1.0:
        raise BadInput("headroom", headroom, "a share from 0 to below 1")
    space = PlanSpace(global_batch=batch, fixed=held)
    if trainer is not None:
        from hardplace.exports.trainer_space import space_of_trainer

        space = space_of_trainer(trainer, name_of(model), workload, batch, held, [chip.vendor for chip, _, _ in parts])
    return workload, parts, replace(space, headroom=headroom)


def plan_file(result: PlacementResult, number: int = 0) -> PlanFile:
    """Return a plan of an answer with its model and devices by name, as `estimate`, `replan` and `export` read it.

    Args:
        result: Answer of `place`.
        number: Index of the plan among the best, from 0.

    Returns:
        The plan as a file holds it; `files.write(path, it)` saves it.
    """
    from hardplace.plans.inventory import inventory_of, plan_file_of

    asked = result.question
    parts = inventory_of(names_of(asked["device"]), asked.get("devices"), names_of(asked.get("node", ())))
    return plan_file_of(
        result.best[number].plan, str(asked["model"]), names_of(asked["device"]), parts, names_of(asked["node"])
    )


def estimate(
    model: str | os.PathLike[str] | Workload,
    plan: Plan | str | os.PathLike[str],
    device: Named = (),
    *,
    node: Named = (),
) -> PlanEstimate:
    """Price a plan on devices that exist: seconds of a step, where they go, and the memory of each stage.

    Args:
        model: A catalogue name, a Workload file, a config.json, or a Workload.
        plan: A `Plan`, or a file that `place` wrote.
        device: As for `place`; without a number, as many as the plan has. Empty: the devices that the plan's file
            names.
        node: As for `place`.

    Returns:
        Seconds, memory by stage, MFU; `fits` says whether every stage fits its device.

    Raises:
        BadInput: For a plan of another model, and for degrees that suit neither the model nor the devices.
    """
    asked = asked_of(locals())
    from hardplace.plans.chain import of_workload
    from hardplace.plans.estimate import estimate_plan
    from hardplace.plans.fleet import fleet_of
    from hardplace.plans.inventory import inventory_of_plan, inventory_title
    from hardplace.plans.plan_files import bare, plan_at

    where, file = plan_at(plan)
    parts = inventory_of_plan(where, file, names_of(device), names_of(node))
    workload = load(model)
    _check_model(where, file.model, model, workload)
    priced = bare(file)
    try:
        found = estimate_plan(of_workload(workload, priced), priced, fleet_of(parts, priced))
    except BadInput as problem:
        raise BadInput(f"{where}: {problem}") from None
    return replace(found, question=asked, title=f"{workload.name} on {inventory_title(parts, nodes=True)}")


def _check_model(where: str, named: str, model: str | os.PathLike[str] | Workload, workload: Workload) -> None:
    """Raise BadInput for a plan's file that was made for another model; a Workload file may have moved since."""
    from hardplace.workload.load import load as load_workload

    if named in ("", name_of(model)):
        return
    try:
        same = load_workload(named).name == workload.name
    except BadInput:
        same = Path(named).name == Path(name_of(model)).name
    if not same:
        raise BadInput(f"{where}: model", repr(named), f"{name_of(model)!r}, the model asked for, or no model")


def export(
    plan: Plan | str | os.PathLike[str],
    to: str,
    *,
    model: str | None = None,
    device: Named = (),
    node: Named = (),
    config: str | os.PathLike[str] | None = None,
    nearest: bool = False,
) -> Exported:
    """Write a plan as the files of a trainer, with the command that launches it (`docs/exports.md`).

    Args:
        plan: A `Plan`, or a file that `place` wrote.
        to: megatron, megatron-bridge, torchtitan, deepspeed, accelerate or maxtext.
        model: Catalogue name or file, where the plan's file does not say it.
        device: As for `estimate`, where the plan's file does not say it.
        node: As for `estimate`.
        config: The model's config.json, where neither the catalogue nor its recording says what the trainer must know.
        nearest: Export the nearest plan that the trainer can run, where it cannot run this one.

    Returns:
        Files by name, the launch command, and warnings.

    Raises:
        BadInput: For what the trainer cannot run of the plan, and for a plan that does not fit.
    """
    from hardplace.exports.export import exported, nearest_job
    from hardplace.exports.planned import job_of, planned_of
    from hardplace.exports.targets import target_of

    run = planned_of(plan, model, names_of(device), names_of(node), load)
    job = job_of(run, target_of(to, "to"), run.plan, None if config is None else Path(config))
    job = nearest_job(job, run.priced) if nearest else job
    if not job.estimate.fits:
        raise BadInput(f"{run.place}: expected a plan whose stages fit their devices")
    return exported(job)


def replan(
    plan: PlanFile | str | os.PathLike[str],
    *,
    lost: Iterable[int] | str | None = None,
    devices: int | None = None,
    cluster: str | None = None,
    horizon_s: float = 4 * 3600.0,
    restart_s: float = 60.0,
    store_bytes_per_s: float = 125e6,
    model: str | None = None,
    device: str | None = None,
    node: str | None = None,
) -> ReplanResult | PlanInfeasible:
    """Search the plans that do most work until the next change when devices or links of a running plan change.

    Args:
        plan: A file that `place` wrote, or what it holds.
        lost: Ranks that are lost, as numbers or as a text such as "16-23,40". None: the last, where `devices` is fewer.
        devices: Devices at hand. None: those that are not lost.
        cluster: The node with its links as they are now. None: as before.
        horizon_s: Seconds until the next change, over which work is counted.
        restart_s: Seconds of a stop and restart without any transfer.
        store_bytes_per_s: Rate at which a device reads checkpoints, in bytes a second.
        model: Model of a plan's file that does not name it.
        device: Device of a plan's file that does not name it.
        node: Node of a plan's file that does not name it.

    Returns:
        Plans, most work first, each with the bytes that move and the pause; or why none goes on in time.

    Raises:
        BadInput: For a change that does not suit the plan.
    """
    asked = asked_of(locals())
    from hardplace.hardware.catalogue import node as node_named
    from hardplace.plans.inventory import inventory_of, node_with
    from hardplace.plans.plan_files import plan_at
    from hardplace.plans.replanning.replan import Change
    from hardplace.plans.replanning.replan import replan as replanned
    from hardplace.plans.replanning.running import lost_of, running_of

    where, file = plan_at(plan)
    running = running_of(where, file, model, device, node)
    try:
        ((chip, before, _),) = inventory_of((running.device,), running.plan.devices, names_of(running.node or ()))
    except BadInput as problem:
        raise BadInput(f"{where}: {problem}") from None
    gone, left = lost_of(running.plan.devices, lost, devices)
    change = Change(
        devices=left, lost=gone,
        node=node_with(node_named(cluster), running.device, chip) if cluster else before,
        horizon_s=horizon_s, restart_s=restart_s, store_bytes_per_s=store_bytes_per_s,
    )  # fmt: skip
    title = f"{running.model}: {running.plan.devices} {chip.title} until now, {left} in {change.node.title} at hand"
    return replace(replanned(load(running.model), chip, running.plan, before, change), question=asked, title=title)
