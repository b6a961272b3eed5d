"""Plans out of the files of trainers, and steps as traces for simulators."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from hardplace.api.sources import load
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from hardplace.plans.plan_files import DeviceCount, PlanFile


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedRun:
    """What a trainer runs, as a plan.

    Attributes:
        file: The plan with its model and devices by name.
        workload: Name of the model's Workload.
        notes: What the trainer's file says and a plan cannot.
        software: Name of the software whose figures are the trainer's; "": none was measured.
    """

    file: PlanFile
    workload: str
    notes: tuple[str, ...]
    software: str


def imported(
    path: Path,
    *,
    trainer: str | None = None,
    model: str | None = None,
    device: str | None = None,
    node: str | None = None,
    devices: int | None = None,
    batch: int | None = None,
    micro_batch: int | None = None,
) -> ImportedRun:
    """Read the plan of what somebody runs from the trainer's own flags or configuration.

    Args:
        path: The trainer's file.
        trainer: megatron, torchtitan, deepspeed or accelerate. None: by the file's name.
        model: What it trains. None: the model of the catalogue with the sizes in the file.
        device: What it runs on. None: the plan names no device.
        node: Its node. None: the device's usual one.
        devices: Number of devices, where the file leaves that open.
        batch: Samples of a step, where the file leaves that open.
        micro_batch: Samples of a micro-batch, where the file leaves that open.

    Raises:
        BadInput: For a file that is none of the trainer's, for what it leaves open, for sizes or a sequence that are
            not the model's, and for an argument that the file contradicts.
    """
    from hardplace.exports.architecture import architecture_of
    from hardplace.exports.importers.found import Answers
    from hardplace.exports.importers.read import contradictions, imported_plan, model_of_sizes, trainer_of
    from hardplace.exports.targets import target_of
    from hardplace.exports.unsaid import SOFTWARE_OF
    from hardplace.plans.plan_files import PlanFile
    from hardplace.plans.stage_sizes import stage_layers
    from hardplace.version import __version__

    target = target_of(trainer, "from") if trainer else trainer_of(path)
    found = imported_plan(path, target, Answers(devices=devices, batch=batch, micro_batch=micro_batch))
    plan = found.plan
    for field, said, read in (
        ("devices", devices, plan.devices),
        ("batch", batch, plan.global_batch),
        ("micro_batch", micro_batch, plan.micro_batch),
    ):
        if said not in (None, read):
            raise BadInput(field, said, f"{read}, as {path} says")
    name = model or model_of_sizes(found.sizes)
    if not name:
        raise BadInput("model", "missing", f"a name or a Workload file: {path} does not say which model it trains")
    workload = load(name)
    layers = len(workload.order) - 2
    if found.sizes.get("layers", layers) != layers:
        raise BadInput(f"{path}: {found.sizes['layers']} layers: expected those of {name}, {layers}")
    for field, value, its in contradictions(found, architecture_of(name, workload, None), workload.sequence_length):
        mend = f", or its config recorded with sequence_length {value}" if field == "sequence" else ""
        raise BadInput(f"{path}: {field}: {value}: expected that of {name}, {its}{mend}")
    if plan.pipeline > 1:
        stage_layers(layers, plan)
    own = {one.name: getattr(plan, one.name) for one in fields(plan)}
    file = PlanFile(**own, model=name, on=_on(device, node, plan.devices), version=__version__)
    software = next(iter(SOFTWARE_OF[target]), "")
    return ImportedRun(file=file, workload=workload.name, notes=tuple(found.notes), software=software)


def _on(device: str | None, node: str | None, devices: int) -> tuple[DeviceCount, ...]:
    """Return the devices as a plan's file names them; () where none is said."""
    from hardplace.hardware.catalogue import device as device_named
    from hardplace.hardware.catalogue import node as node_named
    from hardplace.plans.fleet import node_of
    from hardplace.plans.plan_files import DeviceCount

    if device is None:
        return ()
    where = node_named(node) if node else node_of(device_named(device).name)
    return (DeviceCount(device=device, node=node or where.name, count=devices),)
