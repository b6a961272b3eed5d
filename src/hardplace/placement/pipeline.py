"""Seconds of a pipelined step in closed form from the seconds of its stages (docs/model-placement.md, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hardplace.placement.plan import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipelined:
    """Seconds of all micro-batches: what the busiest stage works, what it waits, and hops that it stands still for."""

    busy_s: float
    bubble_s: float
    hops_s: float
    stage: int

    @property
    def total_s(self) -> float:
        """All three."""
        return self.busy_s + self.bubble_s + self.hops_s


def pipelined(
    forward_s: Sequence[float],
    backward_s: Sequence[float],
    hop_s: float,
    micro_batches: int,
    virtual: int = 1,
    schedule: Schedule = Schedule.ONE_F_ONE_B,
) -> Pipelined:
    """Return the seconds of a step's micro-batches without the end of the step.

    forward_s, backward_s: of one micro-batch on each stage, all its chunks. hop_s: of a boundary tensor, one way.
    1F1B: the first micro-batch goes down and up, the others follow at the pace of the slowest stage; each of them pays
    a hop each way, which the neighbours' blocking exchange exposes. Interleaved: the way down and up is one chunk a
    stage, hops overlap with the other chunks' work. Exact for equal stages without hops; otherwise an upper bound of
    1F1B without hops (test_pipeline.py simulates).
    """
    stages = len(forward_s)
    loads = [one + other for one, other in zip(forward_s, backward_s, strict=True)]
    slowest = max(range(stages), key=loads.__getitem__)
    busy_s = micro_batches * loads[slowest]
    if stages == 1:
        return Pipelined(busy_s=busy_s, bubble_s=0.0, hops_s=0.0, stage=0)
    if schedule is Schedule.GPIPE:
        way = sum(forward_s) + sum(backward_s)
        pace = (micro_batches - 1) * (max(forward_s) + max(backward_s))
        hops_s = 2.0 * (stages - 1) * hop_s
        return Pipelined(busy_s=busy_s, bubble_s=way + pace - busy_s, hops_s=hops_s, stage=slowest)
    bubble_s = (sum(loads) - loads[slowest]) / virtual
    down_s = 2.0 * (stages - 1) * hop_s
    steady_s = 2.0 * (micro_batches - 1) * hop_s if virtual == 1 else 0.0
    return Pipelined(busy_s=busy_s, bubble_s=bubble_s, hops_s=down_s + steady_s, stage=slowest)


def in_flight(stage: int, stages: int, micro_batches: int, virtual: int, schedule: Schedule) -> float:
    """Return how many micro-batches' activations a stage (from 0 at the input) holds at once.

    1F1B: stages - stage. Interleaved: 2 (stages - stage - 1) + (virtual - 1) stages + 1 chunks (Megatron-LM's warm-up
    and one), of virtual a micro-batch. GPipe: all.
    """
    if schedule is Schedule.GPIPE:
        return float(micro_batches)
    if virtual > 1:
        chunks = 2 * (stages - stage - 1) + (virtual - 1) * stages + 1
        return min(float(micro_batches), chunks / virtual)
    return float(min(micro_batches, stages - stage))


def end_of_step_s(ends_s: Sequence[float], backward_s: Sequence[float]) -> float:
    """Return what the end of the step adds after the first stage's last backward pass.

    ends_s: exposed reduction, optimizer step and gather of each stage, after its own last backward; a later stage ends
    earlier by the last micro-batch's way up through the stages before it.
    """
    slack_s, worst_s = 0.0, 0.0
    for end_s, back_s in zip(ends_s, backward_s, strict=True):
        worst_s = max(worst_s, end_s - slack_s)
        slack_s += back_s
    return worst_s
