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
from hardplace.plans.plan import Dimension
from hardplace.plans.simulate import Pass, ends_of, program
from hardplace.report.trace_writer import PerfettoWriter

MOST_PASSES = 200_000
# Tracks of a stage, and what stands on each, in the order in which a pass spends its seconds.
COMPUTE, EXCHANGE, GATHER = "compute", "tensor, context and expert exchange", "weights and gradients of replicas"
MEMORY = "memory"
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
    writer = PerfettoWriter()
    plan = found.plan
    kinds = 3 if plan.schedule.apart else 2
    passes = kinds * plan.pipeline * plan.virtual * plan.micro_batches
    if passes > MOST_PASSES:
        raise BadInput(f"trace: {passes:,} passes: expected a step of at most {MOST_PASSES:,}")
    made = program(plan.pipeline, plan.micro_batches, plan.virtual, plan.schedule)
    tracks = []
    for stage in range(plan.pipeline):
        ranks = plan.devices // plan.pipeline
        first = stage * plan.stride(Dimension.PIPELINE)
        process = writer.process(f"{model}: stage {stage}, {ranks} ranks from {first}")
        tracks.append({name: writer.track(process, name) for name in (COMPUTE, EXCHANGE, GATHER)})
        tracks[-1][MEMORY] = writer.counter(process, MEMORY)
    back_s = found.backward_s
    if not plan.schedule.apart:
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
        compute, exchange, gather = (tracks[stage][one] for one in (COMPUTE, EXCHANGE, GATHER))
        writer.begin(compute, name, start_s, sends=(index + 1) * (index in followed), takes=takes)
        at_s = start_s
        if took.gather_s > 0.0:
            writer.slice(gather, "gathered, scattered, exposed", at_s, at_s + took.gather_s)
            at_s += took.gather_s
        for part, field in _PARTS:
            if (part_s := getattr(took.work, field)) > 0.0:
                writer.slice(compute, part, at_s, at_s + part_s)
                at_s += part_s
        if took.work.exchange_s > 0.0:
            writer.slice(exchange, "exchange", at_s, at_s + took.work.exchange_s)
        writer.end(compute, ends_s[index])
    last_s = max(done_s)
    for stage in range(plan.pipeline):
        writer.slice(tracks[stage][GATHER], "end of step: reduction, optimizer, gather", last_s, found.step_s)
        _memory(writer, tracks[stage][MEMORY], found, stage, made, ends_s, back_s)
    return writer.bytes()


def _seconds(found: PlanEstimate, back_s: Sequence[Sequence[float]], phase: Pass, stage: int, chunk: int) -> float:
    by_phase = {Pass.FORWARD: found.forward_s, Pass.BACKWARD: back_s, Pass.WEIGHT: found.weight_s}
    return by_phase[phase][stage][chunk]


def _memory(
    writer: PerfettoWriter, track: int, found: PlanEstimate, stage: int, made: Any, ends_s: Sequence[float], back_s: Any
) -> None:
    """Write a stage's memory: what is held throughout, the activations in flight, and what a backward pass works in.

    A chunk's activations are its share of the most that the stage holds, which the plan's estimate says.
    """
    plan, memory = found.plan, found.memory[stage]
    flight = in_flight(stage, plan.pipeline, plan.micro_batches, plan.virtual, plan.schedule)
    moments: list[tuple[float, int, bool]] = []  # when, chunks more, whether one is worked on: a pass after the other
    releasing = Pass.WEIGHT if plan.schedule.apart else Pass.BACKWARD
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
    writer.count(track, 0.0, _held_bytes(memory))
    live = 0
    for at_s, more, working in moments:
        live += more
        beside = memory.logits_bytes + memory.working_bytes if working else 0.0
        writer.count(track, at_s, _held_bytes(memory) + live * each + beside)
    writer.count(track, found.step_s, _held_bytes(memory))


def _held_bytes(memory: StageMemory) -> float:
    """Return what a stage holds at any time."""
    return memory.total_bytes - memory.activations_bytes - memory.logits_bytes - memory.working_bytes
