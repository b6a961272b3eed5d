"""One batch of a pipeline under 1F1B, block by block: what the placement's closed form bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from hardplace.design.types import Evaluation
from hardplace.plans.plan import PipelineSchedule
from hardplace.plans.simulate import Pass
from hardplace.plans.simulate import simulate as pipeline


class BlockKind(StrEnum):
    """What a stage does."""

    FORWARD = "forward"
    BACKWARD = "backward"
    REDUCTION = "gradient reduction"
    OPTIMIZER = "optimizer step"


_KINDS = {Pass.FORWARD: BlockKind.FORWARD, Pass.BACKWARD: BlockKind.BACKWARD}


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSeconds:
    """What a stage takes a micro-batch, its transfers and recompute included, and at the end of a batch."""

    forward_s: float
    backward_s: float
    reduction_s: float = 0.0
    optimizer_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineBlock:
    """One stretch of work of one stage; micro_batch is -1 at the end of the batch."""

    stage: int
    micro_batch: int
    kind: BlockKind
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


def simulate(stages: Sequence[StageSeconds], micro_batches: int) -> tuple[TimelineBlock, ...]:
    """Return the blocks of one batch on every stage, by stage and then by start: 1F1B, transfers within the passes."""
    forward_s, backward_s = ([[getattr(one, side)] for one in stages] for side in ("forward_s", "backward_s"))
    rows: list[list[TimelineBlock]] = [[] for _ in stages]
    for event in pipeline(forward_s, backward_s, (), 0.0, micro_batches, PipelineSchedule.ONE_F_ONE_B):
        rows[event.stage].append(
            TimelineBlock(
                stage=event.stage,
                micro_batch=event.micro_batch,
                kind=_KINDS[event.phase],
                start_s=event.start_s,
                end_s=event.end_s,
            )
        )
    for stage, (row, seconds) in enumerate(zip(rows, stages, strict=True)):
        row += _end_of_batch(stage, seconds, row[-1].end_s)
    return tuple(block for row in rows for block in row)


def _end_of_batch(stage: int, seconds: StageSeconds, start_s: float) -> list[TimelineBlock]:
    parts = ((BlockKind.REDUCTION, seconds.reduction_s), (BlockKind.OPTIMIZER, seconds.optimizer_s))
    blocks = []
    for kind, duration_s in parts:
        end_s = start_s + duration_s
        blocks.append(TimelineBlock(stage=stage, micro_batch=-1, kind=kind, start_s=start_s, end_s=end_s))
        start_s = end_s
    return blocks
