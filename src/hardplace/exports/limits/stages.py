"""How a plan cuts the model's layers, as limits ask for it."""

from __future__ import annotations

from hardplace.exports.limits.types import ModelFacts
from hardplace.plans.plan import Dimension, Plan
from hardplace.plans.stage_sizes import chunk_layers, folded_layers, stage_layers


def layers_by_chunk(plan: Plan, layers: int) -> tuple[tuple[int, ...], ...]:
    """Return the model's own layers by stage and chunk."""
    sizes = (layers,) if plan.pipeline == 1 else stage_layers(layers, plan)
    if plan.schedule.folds:
        return folded_layers(sizes)
    return tuple(chunk_layers(size, stage, plan) for stage, size in enumerate(sizes))


def empty_chunk(plan: Plan, facts: ModelFacts) -> bool:
    """Return whether a chunk has nothing to do: no layer, and neither embedding nor loss."""
    if plan.assignment or plan.pipeline == 1:
        return False
    found = layers_by_chunk(plan, facts.layers)
    ends = {(0, 0), (0 if plan.schedule.folds else plan.pipeline - 1, plan.virtual - 1)}
    return any(
        not size and (stage, chunk) not in ends for stage, row in enumerate(found) for chunk, size in enumerate(row)
    )


def same_order(plan: Plan, other: tuple[Dimension, ...]) -> bool:
    """Return whether an order of degrees lays the same ranks together: degrees of 1 may stand anywhere."""

    def counted(order: tuple[Dimension, ...]) -> list[Dimension]:
        return [one for one in order if getattr(plan, one) > 1]

    return counted(plan.order) == counted(other)
