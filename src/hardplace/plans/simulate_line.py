"""Simulation of pipelines without virtual stages: as `hardplace.plans.simulate`, without a list of events, several
times faster.
"""

from __future__ import annotations

from collections.abc import Sequence


def line_ends_s(
    forward_s: Sequence[float],
    backward_s: Sequence[float],
    weight_s: Sequence[float],
    hop_s: float,
    micro_batches: int,
    *,
    apart: bool,
) -> list[float]:
    """Return when each stage is done in 1F1B or ZB-H1, exactly as `simulate.ends_of` has it.

    Args:
        forward_s: Seconds of one micro-batch, by stage.
        backward_s: Seconds of its backward pass, with weight gradients where they do not run apart.
        weight_s: Seconds of weight gradients that run apart.
        hop_s: Seconds from a stage's end to the next one's start.
        micro_batches: Micro-batches of one replica.
        apart: ZB-H1, whose weight gradients run apart; else 1F1B.
    """
    stages = len(forward_s)
    down: list[list[float]] = [[] for _ in range(stages)]  # ends of forward passes
    up: list[list[float]] = [[] for _ in range(stages)]  # ends of backward passes
    free, late = [0.0] * stages, [0] * stages
    last = stages - 1
    while len(up[0]) < micro_batches:
        for stage in range(stages):
            warm = min(micro_batches, last - stage)
            downs, ups, now = down[stage], up[stage], free[stage]
            forth_s, back_s, late_s = forward_s[stage], backward_s[stage], weight_s[stage]
            above, below = (down[stage - 1] if stage else None), (up[stage + 1] if stage < last else None)
            given = len(above) if above is not None else micro_batches  # passes whose input is there
            returned = len(below) if below is not None else micro_batches
            done, index = len(downs), len(ups)
            while index < micro_batches:
                if done < micro_batches and done <= warm + index:
                    if done >= given:
                        break
                    if above is not None:
                        ready = above[done] + hop_s
                        if ready > now:
                            now = ready
                    now += forth_s
                    downs.append(now)
                    done += 1
                    if done <= warm:
                        continue
                if index >= returned:
                    break
                if below is not None:
                    ready = below[index] + hop_s
                    if ready > now:
                        now = ready
                now += back_s
                ups.append(now)
                if apart and index - late[stage] >= stage:
                    now += late_s
                    late[stage] += 1
                index += 1
            free[stage] = now
    if apart:
        for stage in range(stages):
            for _ in range(micro_batches - late[stage]):
                free[stage] += weight_s[stage]
    return free
