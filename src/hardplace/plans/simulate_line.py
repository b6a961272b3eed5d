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
            above = down[stage - 1] if stage else None
            below = up[stage + 1] if stage < last else None
            while len(ups) < micro_batches:
                done = len(downs)
                if done < micro_batches and done <= warm + len(ups):
                    if above is not None:
                        if len(above) <= done:
                            break
                        now = max(above[done] + hop_s, now)
                    now += forward_s[stage]
                    downs.append(now)
                    if done < warm:
                        continue
                index = len(ups)
                if below is not None:
                    if len(below) <= index:
                        break
                    now = max(below[index] + hop_s, now)
                now += backward_s[stage]
                ups.append(now)
                if apart and index - late[stage] >= stage:
                    now += weight_s[stage]
                    late[stage] += 1
            free[stage] = now
    if apart:
        for stage in range(stages):
            for _ in range(micro_batches - late[stage]):
                free[stage] += weight_s[stage]
    return free
