"""An event simulator of one pipeline under 1F1B: simpler and slower than the placement's closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from hardplace.search.types import Evaluation


class Kind(StrEnum):
    """What a stage does."""

    FORWARD = "forward"
    BACKWARD = "backward"
    REDUCTION = "gradient reduction"
    OPTIMIZER = "optimizer step"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSeconds:
    """What a stage takes a micro-batch, its transfers and recompute included, and at the end of a batch."""

    forward_s: float
    backward_s: float
    reduction_s: float = 0.0
    optimizer_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One stretch of work of one stage; micro_batch is -1 at the end of the batch."""

    stage: int
    micro_batch: int
    kind: Kind
    start_s: float
    end_s: float


def stage_seconds(evaluation: Evaluation) -> tuple[StageSeconds, ...]:
    """Return what each stage of a placement takes, from the schedules of its layers.

    A stage receives the activation before its forward pass and the gradient before its backward pass (the
    first and the last stage only one of them). What remains of its load is the backward pass, with recompute
    where the plan has it, so that both together are exactly the load that the placement counts.
    """
    stages = evaluation.placement.stages
    found = []
    for position, stage in enumerate(stages):
        layers = (evaluation.layers[evaluation.order[index]] for index in stage.layers)
        computed_s = sum(layer.forward.schedule.makespan_s for layer in layers)
        received = 0.0 if position == 0 else 1.0 if position == len(stages) - 1 else 0.5
        forward_s = computed_s + received * stage.transfer_s
        found.append(
            StageSeconds(
                forward_s=forward_s,
                backward_s=max(0.0, stage.load_s - forward_s),
                reduction_s=stage.reduction_s,
                optimizer_s=stage.optimizer_s,
            )
        )
    return tuple(found)


def one_forward_one_backward(from_end: int, micro_batches: int) -> tuple[tuple[Kind, int], ...]:
    """Return the work of a stage in order; the last stage has from_end 1 (arXiv 2104.04473, section 2.2).

    As many forwards as there are stages to come, itself included; then backward and forward in turn; then the
    backwards that are left.
    """
    warm_up = min(from_end, micro_batches)
    work = [(Kind.FORWARD, index) for index in range(warm_up)]
    for index in range(micro_batches):
        work.append((Kind.BACKWARD, index))
        if warm_up + index < micro_batches:
            work.append((Kind.FORWARD, warm_up + index))
    return tuple(work)


def simulate(stages: Sequence[StageSeconds], micro_batches: int) -> tuple[Block, ...]:
    """Return the blocks of one batch on every stage, by stage and then by start.

    A block starts when its stage is free and what it depends on has ended: the forward pass of the stage
    before, the backward pass of the stage after (on the last stage, its own forward pass).
    """
    count = len(stages)
    queues = [one_forward_one_backward(count - stage, micro_batches) for stage in range(count)]
    ended: dict[tuple[Kind, int, int], float] = {}
    rows: list[list[Block]] = [[] for _ in stages]
    # Sweep there and back until nothing is left; each sweep takes a stage as far as its dependencies allow.
    while any(len(row) < len(queue) for row, queue in zip(rows, queues, strict=True)):
        for stage in (*range(count), *reversed(range(count))):
            _advance(stage, stages[stage], queues[stage], rows[stage], ended, count)
    for stage, seconds in enumerate(stages):
        rows[stage] += _end_of_batch(stage, seconds, rows[stage][-1].end_s if rows[stage] else 0.0)
    return tuple(block for row in rows for block in row)


def _advance(
    stage: int,
    seconds: StageSeconds,
    queue: tuple[tuple[Kind, int], ...],
    row: list[Block],
    ended: dict[tuple[Kind, int, int], float],
    count: int,
) -> None:
    """Append to a stage's row every block whose dependency has ended."""
    while len(row) < len(queue):
        kind, micro_batch = queue[len(row)]
        ready_s = _ready_s(stage, kind, micro_batch, ended, count)
        if ready_s is None:
            return
        start_s = max(ready_s, row[-1].end_s if row else 0.0)
        end_s = start_s + (seconds.forward_s if kind is Kind.FORWARD else seconds.backward_s)
        ended[kind, stage, micro_batch] = end_s
        row.append(Block(stage=stage, micro_batch=micro_batch, kind=kind, start_s=start_s, end_s=end_s))


def _ready_s(
    stage: int, kind: Kind, micro_batch: int, ended: dict[tuple[Kind, int, int], float], count: int
) -> float | None:
    """Return when the dependency of a block ends, or None if that is not known yet."""
    if kind is Kind.FORWARD:
        return 0.0 if stage == 0 else ended.get((Kind.FORWARD, stage - 1, micro_batch))
    if stage == count - 1:
        return ended.get((Kind.FORWARD, stage, micro_batch))
    return ended.get((Kind.BACKWARD, stage + 1, micro_batch))


def _end_of_batch(stage: int, seconds: StageSeconds, start_s: float) -> list[Block]:
    parts = ((Kind.REDUCTION, seconds.reduction_s), (Kind.OPTIMIZER, seconds.optimizer_s))
    blocks = []
    for kind, duration_s in parts:
        end_s = start_s + duration_s
        blocks.append(Block(stage=stage, micro_batch=-1, kind=kind, start_s=start_s, end_s=end_s))
        start_s = end_s
    return blocks
