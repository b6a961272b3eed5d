"""Activations that wait in host memory for the backward pass (docs/model-training.md, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hardplace.cost.layers.work import LayerWork
from hardplace.plans.plan import Plan
from hardplace.workload.kept import SharedKept


def offloaded(layers: Sequence[LayerWork], plan: Plan) -> tuple[LayerWork, ...]:
    """Return layers with the share of their kept activations in host memory that the plan's `offload_layers` are of a
    stage's: as if every layer had its part, which is what copies spread over the pass come to.

    Args:
        layers: The layers that are cut into stages; equal ones stay one object.
        plan: The plan.

    Source: docs/model-training.md, section 5.
    """
    if not plan.offload_layers or not layers:
        return tuple(layers)
    share = _offloaded_share(plan, len(layers))
    made = {}
    for one in dict.fromkeys(layers):
        away = share * one.saved_bytes
        made[one] = replace(
            one, saved_bytes=(1.0 - share) * one.saved_bytes, offloaded_bytes=away, late_bytes=one.late_bytes + away
        )
    return tuple(made[one] for one in layers)


def _offloaded_share(plan: Plan, layers: int) -> float:
    """Return the share of what the layers that are cut keep which is in host memory."""
    return min(1.0, plan.offload_layers * plan.pipeline / layers) if layers else 0.0


def still_kept(shared: Sequence[SharedKept], plan: Plan, layers: int) -> tuple[SharedKept, ...]:
    """Return what several layers keep on the device: of what is copied away each layer copies its own.

    Args:
        shared: What they keep without offload.
        plan: The plan.
        layers: Number of layers that are cut into stages.
    """
    share = 1.0 - _offloaded_share(plan, layers)
    return tuple(one._replace(bytes=share * one.bytes) for one in shared)
