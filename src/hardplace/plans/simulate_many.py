"""Simulation of many pipelined steps at once: the events of `hardplace.plans.simulate`, as arrays over plans.

Passes are taken in waves (`hardplace.plans.waves`), none of which waits for another of the same wave.
"""

from __future__ import annotations

import numpy as np

from hardplace.ndtypes import Floats
from hardplace.plans.pipeline import WARM, least
from hardplace.plans.plan import PipelineSchedule
from hardplace.plans.waves import waves


def _done_s(seconds: Floats, hop_s: Floats, micro_batches: int, schedule: PipelineSchedule) -> Floats:
    """Return when each stage is done, (stages, plans); seconds: (passes, stages, chunks, plans)."""
    _, stages, virtual, plans = seconds.shape
    made = waves(stages, micro_batches, virtual, schedule)
    table = seconds.reshape(-1, plans)
    done, ends = np.zeros((stages, plans)), np.zeros((made.rows, plans))
    for one in made:
        ready = ends.take(one.inputs, axis=0)
        ready += one.hops * hop_s
        np.maximum(ready, done.take(one.stages, axis=0), out=ready)
        ready += table.take(one.kinds, axis=0)
        done[one.stages] = ends[one.rows] = ready
    return done


def stages_done_s(seconds: Floats, hop_s: Floats, micro_batches: int, schedule: PipelineSchedule) -> Floats:
    """Return when each stage of each plan is done, as `pipeline.pipelined` has it.

    Args:
        seconds: Seconds of one micro-batch, shape (forward, backward, weight gradient; stages; chunks; plans); weight
            gradients run apart only in zero-bubble schedules.
        hop_s: Seconds of a boundary tensor, shape (plans,).
        micro_batches: Micro-batches of one replica.
        schedule: The schedule.

    Returns:
        Seconds from the start of the step, shape (stages, plans).
    """
    stages = seconds.shape[1]
    if schedule is not PipelineSchedule.ZERO_BUBBLE:
        back = seconds[1] + seconds[2]
        seconds = np.stack([seconds[0], back, np.zeros_like(back)])
    if stages == 1:
        return np.asarray(micro_batches * seconds.sum(axis=(0, 2)))
    groups, rest = divmod(micro_batches, stages)
    if groups <= WARM + 1:
        return _done_s(seconds, hop_s, micro_batches, schedule)
    done = _done_s(seconds, hop_s, WARM * stages + rest, schedule)
    early = _done_s(seconds, hop_s, (WARM - 1) * stages + rest, schedule)
    found = done + (groups - WARM) * (done - early)
    least_done_s, least_total_s = least(seconds, hop_s, micro_batches, schedule)
    found = np.maximum(found, least_done_s)
    return np.asarray(found + np.maximum(0.0, least_total_s - found.max(axis=0)))
