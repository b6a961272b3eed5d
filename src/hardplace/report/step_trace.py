"""One step of a plan as a Perfetto trace: a process a stage, tracks of compute and of each kind of exchange, memory,
and an arrow for what a stage sends another. Opens in ui.perfetto.dev (extra trace)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardplace.errors import BadInput
from hardplace.plans.estimate import PlanEstimate
from hardplace.plans.memory import StageMemory
from hardplace.plans.passes import PassTimes
from hardplace.plans.pipeline import in_flight
from hardplace.plans.plan import Dimension, PipelineSchedule
from hardplace.plans.simulate import Pass, ends_of, program

MOST_PASSES = 200_000
_SEQUENCE = 1  # all packets are of one writer
# Tracks of a stage, and what stands on each, in the order in which a pass spends its seconds.
COMPUTE, EXCHANGE, GATHER = "compute", "tensor, context and expert exchange", "weights and gradients of replicas"
_PARTS = (
    ("matrix products", "products_s"),
    ("attention", "attention_s"),
    ("norms, chains, losses", "streams_s"),
    ("waits for the host", "host_s"),
)


def step_trace(model: str, found: PlanEstimate, times: Sequence[Sequence[dict[Pass, PassTimes]]]) -> bytes:
    """Return the trace of a step in Perfetto's binary format; times: of `plans.passes.pass_times`.

    Every micro-batch is simulated; nanoseconds from the step's start. Raises BadInput without the package perfetto, or
    for a step of more than 200,000 passes.
    """
    try:
        from perfetto.trace_builder.proto_builder import TraceProtoBuilder
    except ImportError as problem:
        raise BadInput(f"a trace needs the package perfetto ({problem}): pip install 'hardplace[trace]'") from None
    plan = found.plan
    kinds = 3 if plan.schedule is PipelineSchedule.ZERO_BUBBLE else 2
    passes = kinds * plan.pipeline * plan.virtual * plan.micro_batches
    if passes > MOST_PASSES:
        raise BadInput(f"trace: {passes:,} passes: expected a step of at most {MOST_PASSES:,}")
    made = program(plan.pipeline, plan.micro_batches, plan.virtual, plan.schedule)
    writer = _TraceWriter(TraceProtoBuilder())
    for stage in range(plan.pipeline):
        ranks = plan.devices // plan.pipeline
        first = stage * plan.stride(Dimension.PIPELINE)
        writer.process(stage, f"{model}: stage {stage}, {ranks} ranks from {first}")
    back_s = found.backward_s
    if plan.schedule is not PipelineSchedule.ZERO_BUBBLE:
        back_s = tuple(
            tuple(b + w for b, w in zip(row, more, strict=True))
            for row, more in zip(found.backward_s, found.weight_s, strict=True)
        )
    ends_s, done_s = ends_of(made, found.forward_s, back_s, found.weight_s, found.hop_s)
    followed = {source for source, hop in zip(made.inputs, made.hops, strict=True) if hop}
    for index, (stage, (phase, micro_batch, chunk)) in enumerate(zip(made.stages, made.items, strict=True)):
        took = times[stage][chunk][phase]
        start_s = ends_s[index] - _seconds(found, back_s, phase, stage, chunk)
        name = f"{phase.value} {micro_batch}" + (f", chunk {chunk}" if plan.virtual > 1 else "")
        takes = made.inputs[index] + 1 if made.hops[index] else 0
        writer.piece(stage, COMPUTE, name, start_s, ends_s[index], sends=(index + 1) * (index in followed), takes=takes)
        at_s = start_s
        if took.gather_s > 0.0:
            writer.piece(stage, GATHER, "gathered, scattered, exposed", at_s, at_s + took.gather_s)
            at_s += took.gather_s
        for part, field in _PARTS:
            if (part_s := getattr(took.work, field)) > 0.0:
                writer.piece(stage, COMPUTE, part, at_s, at_s + part_s)
                at_s += part_s
        if took.work.exchange_s > 0.0:
            writer.piece(stage, EXCHANGE, "exchange", at_s, at_s + took.work.exchange_s)
        writer.done(stage, COMPUTE, ends_s[index])
    last_s = max(done_s)
    for stage in range(plan.pipeline):
        writer.piece(stage, GATHER, "end of step: reduction, optimizer, gather", last_s, found.step_s)
        _memory(writer, found, stage, made, ends_s, back_s)
    return writer.bytes()


def _seconds(found: PlanEstimate, back_s: Sequence[Sequence[float]], phase: Pass, stage: int, chunk: int) -> float:
    by_phase = {Pass.FORWARD: found.forward_s, Pass.BACKWARD: back_s, Pass.WEIGHT: found.weight_s}
    return by_phase[phase][stage][chunk]


def _memory(
    writer: _TraceWriter, found: PlanEstimate, stage: int, made: Any, ends_s: Sequence[float], back_s: Any
) -> None:
    """Write a stage's memory: what is held throughout, the activations in flight, and what a backward pass works in.

    A chunk's activations are its share of the most that the stage holds, which the plan's estimate says.
    """
    plan, memory = found.plan, found.memory[stage]
    flight = in_flight(stage, plan.pipeline, plan.micro_batches, plan.virtual, plan.schedule)
    moments: list[tuple[float, int, bool]] = []  # when, chunks more, whether one is worked on: a pass after the other
    releasing = Pass.WEIGHT if plan.schedule is PipelineSchedule.ZERO_BUBBLE else Pass.BACKWARD
    for at, (phase, _, chunk) in enumerate(made.items):
        if made.stages[at] != stage:
            continue
        start_s = ends_s[at] - _seconds(found, back_s, phase, stage, chunk)
        moments.append((start_s, int(phase is Pass.FORWARD), phase is not Pass.FORWARD))
        moments.append((ends_s[at], -int(phase is releasing), False))
    live, most = 0, 0
    for _, more, _ in moments:
        live += more
        most = max(most, live)
    each = memory.activations_bytes / most if most and flight else 0.0
    writer.counter(stage, 0.0, _held_bytes(memory))
    live = 0
    for at_s, more, working in moments:
        live += more
        beside = memory.logits_bytes + memory.working_bytes if working else 0.0
        writer.counter(stage, at_s, _held_bytes(memory) + live * each + beside)
    writer.counter(stage, found.step_s, _held_bytes(memory))


def _held_bytes(memory: StageMemory) -> float:
    """Return what a stage holds at any time."""
    return memory.total_bytes - memory.activations_bytes - memory.logits_bytes - memory.working_bytes


class _TraceWriter:
    """Writes packets of one trace: tracks are made when something is first put on them."""

    def __init__(self, builder: Any) -> None:
        from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TrackEvent

        self._builder, self._kinds = builder, TrackEvent
        self._tracks: dict[tuple[int, str], int] = {}

    def bytes(self) -> bytes:
        """Return the trace."""
        return bytes(self._builder.serialize())

    def process(self, stage: int, name: str) -> None:
        """Name a stage's process."""
        packet = self._builder.add_packet()
        packet.track_descriptor.uuid = self._number(stage, "")
        packet.track_descriptor.process.pid = stage + 1
        packet.track_descriptor.process.process_name = name

    def piece(
        self, stage: int, track: str, name: str, start_s: float, end_s: float, *, sends: int = 0, takes: int = 0
    ) -> None:
        """Write a slice, ended unless it is a pass, whose parts come next; sends, takes: number of an arrow, 0 none."""
        event = self._event(stage, track, start_s, self._kinds.TYPE_SLICE_BEGIN)
        event.name = name
        if sends:
            event.flow_ids.append(sends)
        if takes:
            event.terminating_flow_ids.append(takes)
        if track != COMPUTE or any(name == part for part, _ in _PARTS):
            self._event(stage, track, end_s, self._kinds.TYPE_SLICE_END)

    def done(self, stage: int, track: str, end_s: float) -> None:
        """End the pass that is open on a track."""
        self._event(stage, track, end_s, self._kinds.TYPE_SLICE_END)

    def counter(self, stage: int, at_s: float, size_bytes: float) -> None:
        """Write what a stage holds from a moment on."""
        event = self._event(stage, "memory", at_s, self._kinds.TYPE_COUNTER)
        event.counter_value = round(size_bytes)

    def _event(self, stage: int, track: str, at_s: float, kind: Any) -> Any:
        uuid = self._track(stage, track)
        packet = self._builder.add_packet()
        packet.timestamp = round(at_s * 1e9)
        packet.trusted_packet_sequence_id = _SEQUENCE
        packet.track_event.type = kind
        packet.track_event.track_uuid = uuid
        return packet.track_event

    def _track(self, stage: int, name: str) -> int:
        if (stage, name) not in self._tracks:
            uuid = self._tracks[stage, name] = self._number(stage, name)
            packet = self._builder.add_packet()
            packet.track_descriptor.uuid = uuid
            packet.track_descriptor.parent_uuid = self._number(stage, "")
            if name == "memory":
                packet.track_descriptor.name = "memory"
                packet.track_descriptor.counter.unit = 3  # bytes
            else:
                packet.track_descriptor.thread.pid = stage + 1
                packet.track_descriptor.thread.tid = uuid
                packet.track_descriptor.thread.thread_name = name
        return self._tracks[stage, name]

    def _number(self, stage: int, name: str) -> int:
        return 10 * (stage + 1) + ("", COMPUTE, EXCHANGE, GATHER, "memory").index(name)
