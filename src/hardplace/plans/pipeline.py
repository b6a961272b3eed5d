"""Seconds of a pipelined step from the seconds of its stages: shortcuts and proven bounds (docs/model-training.md,
3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hardplace.ndtypes import Floats
from hardplace.plans.plan import PipelineSchedule, Plan
from hardplace.plans.simulate import Chunks, ends_of, program
from hardplace.plans.simulate_line import line_ends_s
from hardplace.plans.v_orders import VTurns, v_turns

WARM = 8  # groups of `stages` micro-batches that are simulated; later ones follow at the last one's pace


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipelined:
    """Seconds of all micro-batches of a step, without the end of the step.

    Attributes:
        busy_s: Seconds that the busiest stage works.
        ends_s: Seconds from the start of the step until each stage is done.
        stage: Index of the busiest stage.
    """

    busy_s: float
    ends_s: tuple[float, ...]
    stage: int

    @property
    def total_s(self) -> float:
        """Return the seconds until the last stage is done."""
        return max(self.ends_s)

    @property
    def bubble_s(self) -> float:
        """Return the seconds that the busiest stage waits until then: filling, draining, slower neighbours, hops."""
        return self.total_s - self.busy_s


def pipelined(
    forward_s: Chunks,
    backward_s: Chunks,
    weight_s: Chunks,
    hop_s: float,
    micro_batches: int,
    schedule: PipelineSchedule,
) -> Pipelined:
    """Return the seconds of a step's micro-batches through the pipeline, without the end of the step.

    One stage and GPipe are closed forms, and exact. Other schedules are simulated, exactly up to 9 groups of `stages`
    micro-batches; of more, what is beyond 8 groups follows at the pace of the last one, within 0.7 % of the simulation
    of all (test_pipeline.py).

    Args:
        forward_s: Seconds of one micro-batch, by stage and chunk.
        backward_s: Seconds of its backward pass, by stage and chunk, without weight gradients.
        weight_s: Seconds of its weight gradients, part of the backward pass unless the schedule runs them apart.
        hop_s: Seconds of a boundary tensor, one way.
        micro_batches: Micro-batches of one replica.
        schedule: Order of micro-batches.

    Source: docs/model-training.md, section 3.
    """
    stages, virtual = len(forward_s), len(forward_s[0])
    apart = schedule.apart
    back_s = backward_s if apart else _sums(backward_s, weight_s)
    loads = [sum(map(sum, stage)) for stage in zip(forward_s, backward_s, weight_s, strict=True)]
    slowest = max(range(stages), key=loads.__getitem__)
    busy_s = micro_batches * loads[slowest]
    if stages == 1:
        ends_s: Sequence[float] = [busy_s]
    elif schedule is PipelineSchedule.GPIPE:
        ends_s = _gpipe([sum(one) for one in forward_s], [sum(one) for one in back_s], hop_s, micro_batches)
    else:

        def simulated(count: int) -> list[float]:
            if virtual == 1:
                f, b, w = ([one for (one,) in side] for side in (forward_s, back_s, weight_s))
                return line_ends_s(f, b, w, hop_s, count, apart=apart)
            return ends_of(program(stages, count, virtual, schedule), forward_s, back_s, weight_s, hop_s)[1]

        count = simulated_micro_batches(stages, micro_batches)
        ends_s = simulated(count)
        if count < micro_batches:
            before_s = simulated(count - stages)
            more = (micro_batches - count) // stages
            ends_s = [end + more * (end - early) for end, early in zip(ends_s, before_s, strict=True)]
            seconds = np.array([forward_s, backward_s, weight_s])[..., None]
            ends_s = at_least(np.array(ends_s)[:, None], seconds, np.array([hop_s]), micro_batches, schedule)[
                :, 0
            ].tolist()
    return Pipelined(busy_s=busy_s, ends_s=tuple(ends_s), stage=slowest)


def simulated_micro_batches(stages: int, micro_batches: int) -> int:
    """Return how many of a replica's micro-batches are simulated: all up to 9 groups of `stages`, else those of 8."""
    groups, rest = divmod(micro_batches, stages)
    return WARM * stages + rest if groups > WARM + 1 else micro_batches


def _sums(one: Chunks, other: Chunks) -> Chunks:
    return [[a + b for a, b in zip(left, right, strict=True)] for left, right in zip(one, other, strict=True)]


def _gpipe(forward_s: Sequence[float], backward_s: Sequence[float], hop_s: float, count: int) -> list[float]:
    """Return when each stage is done: a line of machines without gaps, down and then up again."""
    stages = len(forward_s)
    down_s = sum(forward_s) + (stages - 1) * hop_s + (count - 1) * max(forward_s)
    up = list(reversed(backward_s))
    return [
        down_s + sum(up[: place + 1]) + place * hop_s + (count - 1) * max(up[: place + 1])
        for place in reversed(range(stages))
    ]


def least(seconds: Floats, hop_s: Floats, micro_batches: int, schedule: PipelineSchedule) -> tuple[Floats, Floats]:
    """Return proven lower bounds on when each stage is done, and on the whole, of many plans at once.

    Exact for equal chunks without hops in 1F1B (interleaved or not) and GPipe. A stage works all its micro-batches
    between the first one's way down to it and the last one's way up from it, both through one chunk a stage. Not in a
    zero-bubble schedule: its first backward pass comes when the first micro-batch has been down all chunks and up to
    it, after so many forward passes as the schedule has before it.

    Args:
        seconds: Seconds of one micro-batch, shape (forward, backward, weight gradient; stages; chunks; plans).
        hop_s: Seconds of a boundary tensor, shape (plans,).
        micro_batches: Micro-batches of one replica.
        schedule: Order of micro-batches.

    Returns:
        Bounds in seconds, shapes (stages, plans) and (plans,).

    Source: docs/model-placement.md, "Bounds".
    """
    forward, backward, weight = seconds
    apart = schedule.apart
    stages, virtual, _ = forward.shape
    back = backward if apart else backward + weight
    f, b, w = forward.sum(axis=1), backward.sum(axis=1), weight.sum(axis=1)
    hops = np.arange(stages)[:, None] * hop_s
    down = _before(forward[:, 0]) + hops
    up = _before(back[:, 0]) + hops
    done = down + micro_batches * (f + b + w)
    if schedule is not PipelineSchedule.GPIPE and stages > 1:
        turn = f.sum(axis=0) + turn_hops(stages, virtual, schedule) * hop_s
        if schedule.folds:
            above = _before(back[:, 1]) + hops
        else:
            above = back[:, -1].sum(axis=0) - _before(back[:, -1]) - back[:, -1] + hops[::-1]
        left = np.array([forwards_left(stage, stages, micro_batches, virtual, schedule) for stage in range(stages)])
        rest = (left[:, :, None] * forward).sum(axis=1) + micro_batches * (b + w)
        done = np.maximum(done, turn + above + rest)
    if schedule.folds:
        rise, way_s = _before(forward[:, 1]) + hops, turn_hops(stages, virtual, schedule) * hop_s
        late = np.empty_like(done)
        for stage, one in enumerate(v_turns(stages, micro_batches, schedule)):
            ways = WaysInV(
                f.sum(axis=0) + way_s, b.sum(axis=0) + way_s, down[stage], rise[stage], above[stage], up[stage]
            )
            late[stage] = np.array(one.weights_left) @ weight[stage]
            looped = ways.looped_s(one, micro_batches, forward[stage, 1], backward[stage, 0])
            done[stage] = np.maximum(done[stage], looped + late[stage])
        return done, np.maximum(done.max(axis=0), (done - late + up).max(axis=0) + late[0])
    if apart:
        chain = down + micro_batches * (f + b) + up + weight[0, 0]
        return done, np.maximum(done.max(axis=0), chain.max(axis=0))
    return done, np.asarray((done + up).max(axis=0))


def at_least(ends_s: Floats, seconds: Floats, hop_s: Floats, micro_batches: int, schedule: PipelineSchedule) -> Floats:
    """Return when each stage is done, no earlier than is proven: the stages, the whole (which makes all later), and the
    last backward pass on its way up.

    Args:
        ends_s: When each stage is done, as extrapolated, shape (stages, plans).
        seconds: As for `least`.
        hop_s: As for `least`.
        micro_batches: As for `least`.
        schedule: As for `least`.
    """
    done, total = least(seconds, hop_s, micro_batches, schedule)
    found = np.maximum(ends_s, done)
    found = found + np.maximum(0.0, total - found.max(axis=0))
    _, backward, weight = seconds[:, :, 0]
    stages, virtual, _ = seconds[2].shape
    late = np.array([weights_left(stage, stages, micro_batches, virtual, schedule) for stage in range(stages)])
    rest = (late[:, :, None] * seconds[2]).sum(axis=1)
    passed = done - rest
    for stage in range(stages - 2, -1, -1):
        own = backward[stage] + (0.0 if schedule.apart else weight[stage])
        passed[stage] = np.maximum(passed[stage], passed[stage + 1] + hop_s + own)
    return np.asarray(np.maximum(found, passed + rest))


def turn_hops(stages: int, virtual: int, schedule: PipelineSchedule) -> int:
    """Return how many hops a micro-batch takes down all chunks; a V turns without one."""
    return 2 * stages - 2 if schedule.folds else stages * virtual - 1


class WaysInV(NamedTuple):
    """Seconds of one micro-batch's ways in a V, hops with them, each a number of plans or stages.

    Attributes:
        forward: All forward passes.
        backward: All backward passes.
        down: Forward passes of the first chunks of the stages before one.
        rise: Forward passes of their second chunks.
        fall: Backward passes of their second chunks.
        up: Backward passes of their first chunks.
    """

    forward: Floats | float
    backward: Floats | float
    down: Floats
    rise: Floats
    fall: Floats
    up: Floats

    def looped_s(self, turns: VTurns, micro_batches: int, forward_s: Floats, backward_s: Floats) -> Floats:
        """Return when the stage's last backward pass ends, at least, since micro-batches wait for others to come back.

        Of ways from the stage on and back to it (forward and backward, forward alone, backward alone) every n-th
        micro-batch's begins after the end of that of the one before it; those after the last of these end theirs on the
        stage one after another.

        Args:
            turns: What the stage's order says of these waits.
            micro_batches: Micro-batches of one replica.
            forward_s: Seconds of a forward pass of the stage's second chunk.
            backward_s: Seconds of a backward pass of its first chunk.

        Source: docs/model-placement.md, "Bounds".
        """

        def looped(apart: int, way: Floats, last: Floats) -> Floats:
            before, rest = divmod(micro_batches - 1, apart)
            return (before + 1) * way + rest * last

        forward, backward = self.forward - self.down - self.rise, self.backward - self.fall - self.up
        down = looped(turns.turns[0], forward, forward_s) + self.rise + self.backward - self.up
        there = looped(turns.apart, self.forward + self.backward - self.down - self.up, backward_s)
        back = self.forward + self.fall + looped(turns.turns[1], backward, backward_s)
        return np.maximum(self.down + np.maximum(down, there), back)


def forwards_left(
    stage: int, stages: int, micro_batches: int, virtual: int, schedule: PipelineSchedule
) -> tuple[int, ...]:
    """Return how many forward passes of each chunk a stage runs after its first backward pass in 1F1B, zero-bubble and
    V-shaped schedules.

    Before it come stages - stage; interleaved: the stage's warm-up and one, in groups of `stages` micro-batches a
    chunk; in a V what its order has.
    """
    if schedule.folds:
        return v_turns(stages, micro_batches, schedule)[stage].forwards_left
    if virtual == 1:
        return (max(0, micro_batches - (stages - stage)),)
    before = 2 * (stages - stage - 1) + (virtual - 1) * stages + 1
    rounds, more = divmod(min(before, micro_batches * virtual), stages * virtual)
    done = [rounds * stages + min(stages, max(0, more - chunk * stages)) for chunk in range(virtual)]
    return tuple(micro_batches - one for one in done)


def weights_left(
    stage: int, stages: int, micro_batches: int, virtual: int, schedule: PipelineSchedule
) -> tuple[int, ...]:
    """Return how many weight gradients of each chunk a stage runs after its last backward pass: in ZB-H1 as many as it
    is late, and the last."""
    if schedule.folds:
        return v_turns(stages, micro_batches, schedule)[stage].weights_left
    return (min(micro_batches, stage + 1) if schedule.apart else 0,) * virtual


def _before(values: Floats) -> Floats:
    """Return, for each stage, the sum over the stages before it."""
    return np.asarray(np.cumsum(values, axis=0) - values)


def in_flight(stage: int, stages: int, micro_batches: int, virtual: int, schedule: PipelineSchedule) -> float:
    """Return how many micro-batches' activations a stage (from 0 at the input) holds at once.

    1F1B: stages - stage. ZB-H1: stages, at most (what weight gradients wait for). Interleaved: 2 (stages - stage - 1) +
    (virtual - 1) stages + 1 chunks (Megatron-LM's warm-up and one), of virtual a micro-batch. GPipe: all. V-shaped:
    half of the chunks that the order has in flight.
    """
    if schedule.folds:
        return max(map(sum, v_turns(stages, micro_batches, schedule)[stage].held)) / 2.0
    if schedule is PipelineSchedule.GPIPE:
        return float(micro_batches)
    if schedule is PipelineSchedule.ZERO_BUBBLE:
        return float(min(micro_batches, stages))
    if virtual > 1:
        chunks = 2 * (stages - stage - 1) + (virtual - 1) * stages + 1
        return min(float(micro_batches), chunks / virtual)
    return float(min(micro_batches, stages - stage))


def chunk_turns(plan: Plan) -> tuple[int, int]:
    """Return into how many chunks a stage's traffic at the end of a step falls, each ready after the other, and how
    many micro-batches run through a chunk before the next one: of the interleaved schedule its chunks, in groups of
    `pipeline` micro-batches; of the others (1, 1).

    Source: docs/model-training.md, section 4.
    """
    if plan.virtual == 1 or plan.schedule is not PipelineSchedule.ONE_F_ONE_B:
        return 1, 1
    return plan.virtual, min(plan.pipeline, plan.micro_batches)


def end_of_step_s(ends_s: Sequence[float], done_s: Sequence[float]) -> float:
    """Return the seconds that the end of the step adds after the last stage's last pass.

    Args:
        ends_s: Seconds of exposed reduction, optimizer step and gather of each stage, which start when it is done.
        done_s: Seconds from the start of the step until each stage is done.
    """
    return max(end_s + at_s for end_s, at_s in zip(ends_s, done_s, strict=True)) - max(done_s)
