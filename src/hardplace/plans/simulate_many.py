"""Simulation of many pipelined steps at once: the events of `hardplace.plans.simulate`, as arrays over plans.

Passes are taken in waves (`hardplace.plans.waves`), none of which waits for another of the same wave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hardplace.ndtypes import Floats
from hardplace.plans.pipeline import at_least, simulated_micro_batches
from hardplace.plans.plan import PipelineSchedule
from hardplace.plans.waves import Waves, waves


@dataclass(frozen=True, slots=True)
class _Ends:
    """What a simulation knows of each plan after some waves.

    Attributes:
        done: When each stage is free, (stages, plans).
        kept: Ends of passes that later ones read, (rows, plans).
    """

    done: Floats
    kept: Floats

    def run(self, made: Waves, waves_run: range, table: Floats, hop_s: Floats) -> None:
        """Run some waves on; table: seconds of the passes, by kind, (kinds, plans)."""
        done, kept, passes = self.done, self.kept, made.passes
        # one boundary tensor of all plans: a column
        hops_s = passes.hops * hop_s[0] if (hop_s == hop_s[0]).all() else None
        for number in waves_run:
            start, end, first = made.starts[number], made.starts[number + 1], made.firsts[number]
            ready = kept.take(passes.inputs[start:end], axis=0)
            ready += passes.hops[start:end] * hop_s if hops_s is None else hops_s[start:end]
            # stages side by side are free in place
            free = done[first : first + end - start] if first >= 0 else done.take(passes.stages[start:end], axis=0)
            np.maximum(free, ready, out=free)
            free += table.take(passes.kinds[start:end], axis=0)
            kept[passes.rows[start:end]] = free
            if first < 0:
                done[passes.stages[start:end]] = free


def _done_s(
    seconds: Floats, hop_s: Floats, micro_batches: Sequence[int], schedule: PipelineSchedule
) -> tuple[Floats, ...]:
    """Return when each stage is done, (stages, plans), by number of micro-batches: those of steps whose first passes
    are the same, which run once.

    Args:
        seconds: Seconds, (passes, stages, chunks, plans).
        hop_s: Seconds of a boundary tensor, (plans,).
        micro_batches: Micro-batches of each step, one or two.
        schedule: The schedule.
    """
    _, stages, virtual, plans = seconds.shape
    steps = [waves(stages, count, virtual, schedule) for count in micro_batches]
    same = steps[0].common(steps[1]) if len(steps) > 1 else 0
    table, rows = seconds.reshape(-1, plans), max(one.rows for one in steps)
    both = _Ends(np.zeros((stages, plans)), np.zeros((rows, plans)))
    both.run(steps[0], range(same), table, hop_s)
    found = []
    for one in steps:
        alone = both if one is steps[-1] else _Ends(both.done.copy(), both.kept.copy())
        alone.run(one, range(same, len(one.firsts)), table, hop_s)
        found.append(alone.done)
    return tuple(found)


def stages_done_s(seconds: Floats, hop_s: Floats, micro_batches: int, schedule: PipelineSchedule) -> Floats:
    """Return when each stage of each plan is done, as `pipeline.pipelined` has it.

    Args:
        seconds: Seconds of one micro-batch, shape (forward, backward, weight gradient; stages; chunks; plans); weight
            gradients run apart only in zero-bubble and V-shaped schedules.
        hop_s: Seconds of a boundary tensor, shape (plans,).
        micro_batches: Micro-batches of one replica.
        schedule: The schedule.

    Returns:
        Seconds from the start of the step, shape (stages, plans).
    """
    stages = seconds.shape[1]
    if not schedule.apart:
        back = seconds[1] + seconds[2]
        seconds = np.stack([seconds[0], back, np.zeros_like(back)])
    if stages == 1:
        return np.asarray(micro_batches * seconds.sum(axis=(0, 2)))
    count = simulated_micro_batches(stages, micro_batches)
    if count == micro_batches:
        return _done_s(seconds, hop_s, [micro_batches], schedule)[0]
    done, early = _done_s(seconds, hop_s, [count, count - stages], schedule)
    more = (micro_batches - count) // stages
    return at_least(done + more * (done - early), seconds, hop_s, micro_batches, schedule)
