"""A schedule's passes in waves, as arrays: of one wave no pass waits for another, and each stage runs at most one.

The schedules are those of `hardplace.plans.simulate.order`, the definition.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, takewhile
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hardplace.ndtypes import Bools, Ints
from hardplace.plans.plan import PipelineSchedule
from hardplace.plans.v_orders import BACKWARD, FORWARD, WEIGHT, v_orders

Places = npt.NDArray[np.intp]
_START, _UNREAD = 0, 1  # rows of the start of the step, and of what no pass reads


class Wave(NamedTuple):
    """Passes of one wave, as places in arrays.

    Attributes:
        stages: Stage of each.
        kinds: Row of the table of seconds, (phase, stage, chunk).
        inputs: Row of the pass that makes its input.
        rows: Row where its own end is kept.
        hops: Whether its input comes from another stage, (passes, 1).
    """

    stages: Places
    kinds: Places
    inputs: Places
    rows: Places
    hops: Bools


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Waves:
    """All passes of a step by wave.

    Attributes:
        starts: First pass of each wave, and the end.
        passes: The passes, wave by wave.
        firsts: First stage of each wave; -1: its stages do not stand side by side.
        rows: Number of rows; each serves again once no later pass reads what it has.
    """

    starts: tuple[int, ...]
    passes: Wave
    firsts: tuple[int, ...]
    rows: int

    def common(self, other: Waves) -> int:
        """Return how many waves, from the first, are the same in other steps."""
        count = min(len(self.passes.stages), len(other.passes.stages))
        unlike = np.zeros(count, dtype=bool)
        for mine, theirs in zip(self.passes, other.passes, strict=True):
            unlike |= (mine[:count] != theirs[:count]).reshape(count, -1).any(axis=1)
        same = int(np.argmax(unlike)) if unlike.any() else count
        starts = zip(self.starts, other.starts, strict=False)
        return sum(1 for one, two in takewhile(lambda both: both[0] == both[1], starts) if one <= same) - 1


class StageOrders(NamedTuple):
    """The passes of every stage in the order in which it runs them, each of shape (stages, passes).

    Attributes:
        phase: Forward, backward or weight gradient, by number.
        micro_batch: Index of the micro-batch.
        chunk: Index of the chunk.
    """

    phase: Ints
    micro_batch: Ints
    chunk: Ints


def stage_orders(stages: int, micro_batches: int, virtual: int, schedule: PipelineSchedule) -> StageOrders:
    """Return the passes of all stages; arguments as for `simulate.order`.

    Every pass has a number by which those of its stage are sorted: of the turns of 1F1B three each, forward, backward,
    weight gradient.
    """
    if schedule.folds:
        return StageOrders(*np.array(v_orders(stages, micro_batches, schedule)).transpose(2, 0, 1))
    stage, total = np.arange(stages)[:, None], micro_batches * virtual
    number = np.arange(total)[None, :]
    phases: tuple[int, ...] = (FORWARD, BACKWARD)
    if schedule is PipelineSchedule.GPIPE:
        turns = [np.broadcast_to(one, (stages, total)) for one in (number, total + number)]
    else:
        before = stages - stage - 1 if virtual == 1 else 2 * (stages - stage - 1) + (virtual - 1) * stages
        warm = np.minimum(total, before)
        turns = [
            np.where(number < warm, number - total, 3 * (number - warm)),
            np.where(number < total - warm, 3 * number + 1, 3 * total + number)
            if virtual > 1
            else np.broadcast_to(3 * number + 1, (stages, total)),
        ]
        if schedule is PipelineSchedule.ZERO_BUBBLE:
            phases = (FORWARD, BACKWARD, WEIGHT)
            turns.append(np.where(number + stage < total, 3 * (number + stage) + 2, 3 * total + number))
    order = np.argsort(np.concatenate(turns, axis=1), axis=1, kind="stable")
    phase, which = np.array(phases)[order // total], order % total
    if virtual == 1:
        return StageOrders(phase, which, np.zeros_like(which))
    group, inside = np.divmod(which, stages * virtual)
    chunk = inside // stages
    chunk = np.where(phase == FORWARD, chunk, virtual - 1 - chunk)
    return StageOrders(phase, group * stages + inside % stages, chunk)


@lru_cache(maxsize=16)
def waves(stages: int, micro_batches: int, virtual: int, schedule: PipelineSchedule) -> Waves:
    """Return a schedule's waves; interleaved: micro_batches must be a multiple of the stages.

    Each stage runs its next pass as soon as its input was made in an earlier wave.
    """
    phase, micro, chunk = stage_orders(stages, micro_batches, virtual, schedule)
    stage = np.broadcast_to(np.arange(stages)[:, None], phase.shape)
    kinds = (phase * stages + stage) * virtual + chunk
    own = kinds * micro_batches + micro
    if schedule.folds:
        source, hops = _sources_folded(stage, phase, micro, chunk, stages, micro_batches)
    else:
        source, hops = _sources(stage, phase, micro, chunk, stages, micro_batches, virtual)
    number, flat = phase.shape[1], np.arange(stages) * phase.shape[1]
    wave_of = np.full(3 * stages * virtual * micro_batches + 1, np.iinfo(np.intp).max, dtype=np.intp)
    wave_of[-1] = 0  # the start of the step
    at, picked, wave = np.zeros(stages, dtype=np.int64), [], 0
    own_flat, source_flat = own.reshape(-1), source.reshape(-1)
    open_stages = np.arange(stages)
    while len(open_stages):
        wave += 1
        here = flat[open_stages] + at[open_stages]
        ready = wave_of[source_flat[here]] < wave
        assert ready.any(), "a schedule that waits for itself"
        here = here[ready]
        wave_of[own_flat[here]] = wave
        at[open_stages[ready]] += 1
        picked.append(here)
        open_stages = open_stages[at[open_stages] < number]
    order = np.concatenate(picked)
    row, rows = _rows(own, source, wave_of, stage, phase)
    starts: list[int] = np.concatenate([[0], np.cumsum([len(one) for one in picked])]).tolist()
    passes = Wave(
        stages=stage.reshape(-1)[order].astype(np.intp),
        kinds=kinds.reshape(-1)[order].astype(np.intp),
        inputs=row[source_flat[order]].astype(np.intp),
        rows=row[own_flat[order]].astype(np.intp),
        hops=hops.reshape(-1)[order][:, None],
    )
    of_waves = ((passes.stages[start], passes.stages[end - 1], end - start) for start, end in pairwise(starts))
    firsts = (int(first) if last - first + 1 == count else -1 for first, last, count in of_waves)  # they rise
    return Waves(starts=tuple(starts), passes=passes, firsts=tuple(firsts), rows=rows)


def _sources(
    stage: Ints, phase: Ints, micro: Ints, chunk: Ints, stages: int, micro_batches: int, virtual: int
) -> tuple[Ints, Bools]:
    """Return the pass that makes each pass's input, by number (-1: none), and whether it is on another stage."""
    forward = phase == FORWARD
    step = np.where(forward, -1, 1)
    end, last_chunk = np.where(forward, 0, stages - 1), np.where(forward, 0, virtual - 1)
    inside = stage != end
    wraps = ~inside & (chunk != last_chunk)
    of_phase = np.where(phase == WEIGHT, BACKWARD, phase)
    of_phase = np.where(~forward & (phase != WEIGHT) & ~inside & ~wraps, FORWARD, of_phase)
    moves = phase != WEIGHT
    of_stage = np.where(moves & inside, stage + step, np.where(moves & wraps, stages - 1 - end, stage))
    of_chunk = np.where(moves & wraps, chunk + step, chunk)
    source = ((of_phase * stages + of_stage) * virtual + of_chunk) * micro_batches + micro
    # A weight pass comes after its backward pass on the same stage: the stage is never free before that ends.
    none = (forward & ~inside & ~wraps) | ~moves
    return np.where(none, -1, source), ~none & (of_stage != stage)


def _sources_folded(
    stage: Ints, phase: Ints, micro: Ints, chunk: Ints, stages: int, micro_batches: int
) -> tuple[Ints, Bools]:
    """Return the same of a V: the first chunk goes down the stages, the second up, and back."""
    forward, moves = phase == FORWARD, phase != WEIGHT
    before = stage + np.where(forward == (chunk == 0), -1, 1)
    inside = moves & (before >= 0) & (before < stages)
    turns = moves & ~inside & (chunk == np.where(forward, 1, 0))
    of_phase = np.where(moves & ~inside & ~turns, FORWARD, phase)
    of_chunk = np.where(turns, 1 - chunk, chunk)
    source = ((of_phase * stages + np.where(inside, before, stage)) * 2 + of_chunk) * micro_batches + micro
    none = ~moves | (forward & ~inside & ~turns)
    return np.where(none, -1, source), inside


def _rows(own: Ints, source: Ints, wave_of: Places, stage: Ints, phase: Ints) -> tuple[Ints, int]:
    """Return the row of every pass's end, by its number, and the number of rows.

    The forward passes of a stage take turns at so many rows that each is read by all before it is written again, its
    backward passes too; a wave reads before it writes.
    """
    row = np.full(len(wave_of), _UNREAD, dtype=np.int64)
    row[-1], rows = _START, 2
    read = np.zeros(len(wave_of), dtype=np.int64)
    np.maximum.at(read, source.reshape(-1), wave_of[own.reshape(-1)])
    for which in (FORWARD, BACKWARD):
        count = int((phase[0] == which).sum())
        each = own[phase == which].reshape(len(own), count)  # in the order in which a stage runs them
        made, until = wave_of[each], read[each]
        turns = 1
        while turns < count and (until[:, :-turns] > made[:, turns:]).any():
            turns += 1 if turns < 8 else turns // 4
        turns = min(turns, count)
        row[each] = rows + stage[:, :1] * turns + np.arange(count) % turns
        rows += len(own) * turns
    return row, rows
