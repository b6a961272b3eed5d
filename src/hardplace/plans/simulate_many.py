"""Simulation of many pipelined steps at once: the events of `hardplace.plans.simulate`, as arrays over plans.

Passes are taken in waves, none of which waits for another of the same wave.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hardplace.ndtypes import Floats, Ints
from hardplace.plans.pipeline import WARM, least
from hardplace.plans.plan import PipelineSchedule
from hardplace.plans.simulate import Pass, program

_PASSES = tuple(Pass)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wave:
    """Passes of one wave: their place, what each takes (row of the table of seconds), the pass before it on its stage
    and its input (0: none), whether that comes from another stage."""

    places: Ints
    kinds: Ints
    before: Ints
    inputs: Ints
    hops: Floats


@lru_cache(maxsize=128)
def _waves(stages: int, micro_batches: int, virtual: int, schedule: PipelineSchedule) -> tuple[tuple[_Wave, ...], Ints]:
    """Return a schedule's waves, and the place of each stage's last pass; place 0 is the start of the step."""
    made = program(stages, micro_batches, virtual, schedule)
    last = [0] * stages
    depth = [0]
    before, kinds = [0], [0]
    for place, (stage, (phase, _, chunk), source) in enumerate(
        zip(made.stages, made.items, made.inputs, strict=True), start=1
    ):
        before.append(last[stage])
        depth.append(1 + max(depth[last[stage]], depth[source + 1]))
        kinds.append((_PASSES.index(phase) * stages + stage) * virtual + chunk)
        last[stage] = place
    deep = np.array(depth)
    order = np.argsort(deep, kind="stable")[1:]
    groups = np.split(order, np.flatnonzero(np.diff(deep[order])) + 1)
    kind, prior = np.array(kinds), np.array(before)
    inputs = np.array([0, *(one + 1 for one in made.inputs)])
    hops = np.array([0.0, *map(float, made.hops)])[:, None]
    waves = tuple(
        _Wave(places=one, kinds=kind[one], before=prior[one], inputs=inputs[one], hops=hops[one]) for one in groups
    )
    return waves, np.array(last)


def _done_s(seconds: Floats, hop_s: Floats, micro_batches: int, schedule: PipelineSchedule) -> Floats:
    """Return when each stage is done, (stages, plans); seconds: (passes, stages, chunks, plans)."""
    _, stages, virtual, plans = seconds.shape
    waves, last = _waves(stages, micro_batches, virtual, schedule)
    table = seconds.reshape(-1, plans)
    ends = np.zeros((1 + sum(len(one.places) for one in waves), plans))
    for one in waves:
        ready = ends[one.inputs] + one.hops * hop_s
        ends[one.places] = np.maximum(ready, ends[one.before]) + table[one.kinds]
    return np.asarray(ends[last])


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
