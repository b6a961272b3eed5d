"""Simulation of a pipelined step: each stage runs its list of passes in order, each as soon as its input is there.

This is the definition (docs/model-training.md, section 3) that `hardplace.plans.pipeline` abbreviates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from hardplace.plans.plan import PipelineSchedule
from hardplace.plans.v_orders import v_orders


class Pass(StrEnum):
    """A pass of a micro-batch through a stage; in zero-bubble schedules the weight gradient is a pass of its own."""

    FORWARD = "forward"
    BACKWARD = "backward"
    WEIGHT = "weight gradient"


@dataclass(frozen=True, slots=True, kw_only=True)
class PassEvent:
    """One pass of one micro-batch through one chunk of a stage.

    Attributes:
        stage: Index of the stage, from 0.
        micro_batch: Index of the micro-batch, from 0.
        chunk: Index of the stage's chunk (virtual stage), from 0.
        phase: Forward, backward or weight gradient.
        start_s: Seconds from the start of the step.
        end_s: Seconds from the start of the step.
    """

    stage: int
    micro_batch: int
    chunk: int
    phase: Pass
    start_s: float
    end_s: float


Chunks = Sequence[Sequence[float]]  # seconds of one micro-batch by stage and chunk
Item = tuple[Pass, int, int]  # a pass, its micro-batch and its chunk
_PASSES = tuple(Pass)  # by their numbers in `v_orders`


def order(stage: int, stages: int, micro_batches: int, virtual: int, schedule: PipelineSchedule) -> list[Item]:
    """Return the passes of a stage in the order in which a schedule runs them.

    1F1B: Narayanan et al. 2021, section 2.2.1. Interleaved: Megatron-LM's
    forward_backward_pipelining_with_interleaving, which takes micro-batches in groups of `stages`. GPipe: all forward,
    then all backward. Zero bubble: ZB-H1 of Qi et al. 2024 (arXiv 2401.10241), 1F1B with stage i's weight gradients i
    micro-batches late, so that it holds no more than 1F1B. V-shaped ones: `v_orders`.

    Args:
        stage: Index of the stage, from 0 at the input.
        stages: Number of stages.
        micro_batches: Micro-batches of one replica.
        virtual: Chunks of a stage.
        schedule: The schedule.
    """
    if schedule is PipelineSchedule.GPIPE:
        forward = [(Pass.FORWARD, index, 0) for index in range(micro_batches)]
        return forward + [(Pass.BACKWARD, index, 0) for index in range(micro_batches)]
    if schedule.folds:
        return [(_PASSES[one[0]], *one[1:]) for one in v_orders(stages, micro_batches, schedule)[stage]]
    if virtual > 1:
        return _interleaved(stage, stages, micro_batches, virtual)
    warm = min(micro_batches, stages - stage - 1)
    done: list[Item] = [(Pass.FORWARD, index, 0) for index in range(warm)]
    late = 0
    for index in range(micro_batches):
        if warm + index < micro_batches:
            done.append((Pass.FORWARD, warm + index, 0))
        done.append((Pass.BACKWARD, index, 0))
        if schedule is PipelineSchedule.ZERO_BUBBLE and index - late >= stage:
            done.append((Pass.WEIGHT, late, 0))
            late += 1
    if schedule is PipelineSchedule.ZERO_BUBBLE:
        done += [(Pass.WEIGHT, index, 0) for index in range(late, micro_batches)]
    return done


def _interleaved(stage: int, stages: int, micro_batches: int, virtual: int) -> list[Item]:
    total = micro_batches * virtual

    def item(phase: Pass, number: int) -> Item:
        group, inside = divmod(number, stages * virtual)
        chunk = inside // stages
        return phase, group * stages + inside % stages, chunk if phase is Pass.FORWARD else virtual - 1 - chunk

    warm = min(total, 2 * (stages - stage - 1) + (virtual - 1) * stages)
    done = [item(Pass.FORWARD, number) for number in range(warm)]
    for number in range(total - warm):
        done += [item(Pass.FORWARD, warm + number), item(Pass.BACKWARD, number)]
    return done + [item(Pass.BACKWARD, number) for number in range(total - warm, total)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """All passes of a step in an order in which each follows its input.

    Attributes:
        stages: Stage of each pass.
        items: Pass, micro-batch and chunk of each.
        inputs: Index in this order of the pass that makes its input; -1: none.
        hops: Whether that pass is on another stage.
    """

    stages: tuple[int, ...]
    items: tuple[Item, ...]
    inputs: tuple[int, ...]
    hops: tuple[bool, ...]


@lru_cache(maxsize=256)
def program(stages: int, micro_batches: int, virtual: int, schedule: PipelineSchedule) -> Program:
    """Return all passes of a schedule in an order in which each follows its input.

    Interleaved: micro_batches must be a multiple of the stages. Arguments as for `order`.
    """
    lists = [order(stage, stages, micro_batches, virtual, schedule) for stage in range(stages)]
    known: dict[tuple[int, Item], int] = {}
    at = [0] * stages
    found: list[tuple[int, Item, int, bool]] = []
    while any(at[stage] < len(lists[stage]) for stage in range(stages)):
        before = len(found)
        for stage in range(stages):
            while at[stage] < len(lists[stage]):
                item = lists[stage][at[stage]]
                source = _input(stage, item, stages, virtual, folds=schedule.folds)
                if source is not None and source not in known:
                    break
                known[stage, item] = len(found)
                found.append(
                    (stage, item, -1 if source is None else known[source], bool(source and source[0] != stage))
                )
                at[stage] += 1
        assert len(found) > before, "a schedule that waits for itself"
    return Program(
        stages=tuple(one[0] for one in found),
        items=tuple(one[1] for one in found),
        inputs=tuple(one[2] for one in found),
        hops=tuple(one[3] for one in found),
    )


def _input(stage: int, item: Item, stages: int, virtual: int, *, folds: bool) -> tuple[int, Item] | None:
    """Return the pass that makes a pass's input; None: it has none. folds: the schedule is V-shaped."""
    phase, index, chunk = item
    if phase is Pass.WEIGHT:
        return stage, (Pass.BACKWARD, index, chunk)
    if folds:
        return _input_folded(stage, item, stages)
    step, last_stage, last_chunk = (-1, 0, 0) if phase is Pass.FORWARD else (1, stages - 1, virtual - 1)
    if stage != last_stage:
        return stage + step, (phase, index, chunk)
    if chunk != last_chunk:
        return stages - 1 - last_stage, (phase, index, chunk + step)
    return None if phase is Pass.FORWARD else (stage, (Pass.FORWARD, index, chunk))


def _input_folded(stage: int, item: Item, stages: int) -> tuple[int, Item] | None:
    """Return the pass that makes a forward or backward pass's input in a V: the first chunk goes down the stages, the
    second up; at either end it turns on the same stage."""
    phase, index, chunk = item
    forward = phase is Pass.FORWARD
    before = stage - 1 if forward == (chunk == 0) else stage + 1
    if 0 <= before < stages:
        return before, item
    if chunk == (1 if forward else 0):
        return stage, (phase, index, 1 - chunk)
    return None if forward else (stage, (Pass.FORWARD, index, chunk))


def ends_of(
    made: Program, forward_s: Chunks, backward_s: Chunks, weight_s: Chunks, hop_s: float
) -> tuple[list[float], list[float]]:
    """Return when each pass ends, and when each stage is done, in seconds from the start of the step.

    Args:
        made: Passes of the schedule.
        forward_s: Seconds of one micro-batch, by stage and chunk.
        backward_s: Seconds of its backward pass.
        weight_s: Seconds of its weight gradients, read only where they are passes of their own.
        hop_s: Seconds from a stage's end to the next one's start.
    """
    took = {Pass.FORWARD: forward_s, Pass.BACKWARD: backward_s, Pass.WEIGHT: weight_s}
    free = [0.0] * len(forward_s)
    ends: list[float] = []
    for stage, (phase, _, chunk), source, hop in zip(made.stages, made.items, made.inputs, made.hops, strict=True):
        start_s = free[stage]
        if source >= 0:
            ready_s = ends[source] + hop_s if hop else ends[source]
            start_s = max(ready_s, start_s)
        free[stage] = start_s + took[phase][stage][chunk]
        ends.append(free[stage])
    return ends, free


def simulate(
    forward_s: Chunks,
    backward_s: Chunks,
    weight_s: Chunks,
    hop_s: float,
    micro_batches: int,
    schedule: PipelineSchedule,
) -> tuple[PassEvent, ...]:
    """Return all events of a step's micro-batches, without the end of the step.

    Args:
        forward_s: Seconds of one micro-batch, by stage and chunk.
        backward_s: Seconds of its backward pass, without the weight gradient where the schedule runs it apart.
        weight_s: Seconds of its weight gradient, read only then.
        hop_s: Seconds from a stage's end to the next one's start, beside compute.
        micro_batches: Micro-batches of one replica; interleaved: a multiple of the stages.
        schedule: The schedule.
    """
    made = program(len(forward_s), micro_batches, len(forward_s[0]), schedule)
    ends, _ = ends_of(made, forward_s, backward_s, weight_s, hop_s)
    took = {Pass.FORWARD: forward_s, Pass.BACKWARD: backward_s, Pass.WEIGHT: weight_s}
    return tuple(
        PassEvent(
            stage=stage,
            micro_batch=item[1],
            chunk=item[2],
            phase=item[0],
            start_s=end_s - took[item[0]][stage][item[2]],
            end_s=end_s,
        )
        for stage, item, end_s in zip(made.stages, made.items, ends, strict=True)
    )
