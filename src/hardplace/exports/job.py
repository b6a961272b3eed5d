"""What an exporter is given, and what it gives: a plan with its model and devices; files, a command, warnings."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from hardplace.errors import printable
from hardplace.exports.architecture import Architecture
from hardplace.exports.limits import ModelFacts, layers_by_chunk
from hardplace.exports.targets import TRAINERS, Target
from hardplace.files import dumps
from hardplace.hardware.device import Device
from hardplace.plans.estimate import PlanEstimate
from hardplace.plans.plan import Plan
from hardplace.plans.plan_files import bare
from hardplace.units import GIB, format_quantity
from hardplace.version import __version__

_BLACKWELL = ("b200", "b300", "gb200", "gb300", "rtx-pro-6000")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportJob:
    """A plan of a model on devices, as it is exported.

    Attributes:
        target: The trainer.
        model: Name of the model.
        architecture: What a trainer must be told of it; None: nothing says its config.
        facts: What limits ask of it.
        plan: The plan.
        estimate: Its estimate.
        device: The device.
        node_devices: Devices in a node, as the launcher starts processes there.
    """

    target: Target
    model: str
    architecture: Architecture | None
    facts: ModelFacts
    plan: Plan
    estimate: PlanEstimate
    device: Device
    node_devices: int

    @property
    def nodes(self) -> int:
        """Nodes that the plan fills."""
        return -(-self.plan.devices // self.node_devices)

    @property
    def chunks(self) -> tuple[tuple[int, ...], ...]:
        """Layers by stage and chunk."""
        return layers_by_chunk(self.plan, self.facts.layers)

    @property
    def expert_tensor(self) -> int:
        """Ranks that tensor parallelism cuts each expert over; 1: experts are whole."""
        return self.plan.tensor if self.facts.cut_experts and self.plan.expert == 1 else 1

    @property
    def model_sizes(self) -> Architecture:
        """The architecture, of a target that asks for one (`targets.refused`)."""
        assert self.architecture is not None
        return self.architecture

    @property
    def blackwell(self) -> bool:
        """Whether the device runs several queues beside a collective."""
        return self.device.name in _BLACKWELL

    @property
    def shard(self) -> int:
        """Replicas of data alone that ZeRO shards over: context ranks stand inside."""
        return max(1, self.plan.sharded_over // self.plan.context) if self.plan.zero else 1

    @property
    def replicate(self) -> int:
        """Groups of data-parallel replicas, each with the whole state."""
        return self.plan.data // self.shard


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedFile:
    """A file that is written for a trainer.

    Attributes:
        name: Name of the file.
        text: Its content.
    """

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An exported plan.

    Attributes:
        target: The trainer.
        files: The files.
        command: Command that launches the training.
        warnings: What the trainer does otherwise than the plan says, one text each.
    """

    target: Target
    files: tuple[ExportedFile, ...]
    command: str
    warnings: tuple[str, ...]


def digest_of(plan: Plan) -> str:
    """Return the SHA-256 of a plan's fields, its first 16 digits: two files of one plan have the same."""
    return hashlib.sha256(dumps(bare(plan), compact=True).encode()).hexdigest()[:16]


def headed_by(job: ExportJob, comment: str = "#") -> str:
    """Return the comments that every file begins with: plan, version, predicted step and memory."""
    info, found = TRAINERS[job.target], job.estimate
    room, held = max(zip(found.memory, found.memory_bytes, strict=True), key=lambda one: one[0].total_bytes - one[1])
    plan = job.plan
    parsed = "not parsed" not in info.checked
    read = f"files like this are read in our tests by {info.checked}" if parsed else info.checked
    batches = f"{plan.micro_batches} micro-batch{'es' if plan.micro_batches > 1 else ''} of {plan.micro_batch}"
    low, high = (format_quantity(one, "s") for one in (found.interval.low_s, found.interval.high_s))
    lines = (
        f"{job.model} on {plan.devices:,} {job.device.title}, for {info.title} {info.version}; {read}",
        f"plan {digest_of(plan)}, hardplace {__version__}",
        f"predicted: step {format_quantity(found.step_s, 's', 4)} (80 %: {low} to {high}), "
        f"{found.tokens_per_s:,.0f} {found.counts}/s, memory {room.total_bytes / GIB:.1f} of {held / GIB:.1f} GiB on "
        f"the fullest stage",
        f"tensor {plan.tensor}, context {plan.context}, data {plan.data}, pipeline {plan.pipeline} x {plan.virtual}, "
        f"expert {plan.expert}, ZeRO {plan.zero}, {batches}",
    )
    # A name may come from somebody else's plan: a line break, or the end of a docstring, in it would be code.
    safe = (printable(line).replace("\n", "\\n").replace('"', "'") for line in lines)
    return "".join(f"{comment} {line}\n" for line in safe)
