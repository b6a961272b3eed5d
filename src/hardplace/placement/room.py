"""Memory of each pipeline stage, by what it is (docs/model-placement.md, section 5)."""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.placement.pipeline import in_flight
from hardplace.placement.plan import GRADIENT_BYTES, STATE_BYTES, Plan

WEIGHT_BYTES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a stage's layers hold on one rank: parameters (elements), of dense layers and of experts, bytes kept a
    micro-batch, bytes that one layer's recompute works in, the largest layer's parameters, a boundary tensor."""

    parameters: int
    expert_parameters: int
    saved_bytes: float
    working_bytes: float
    largest_parameters: int
    boundary_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Bytes of one stage at its fullest moment."""

    weights_bytes: float
    gradients_bytes: float
    states_bytes: float
    activations_bytes: float
    working_bytes: float
    buffers_bytes: float
    fragmentation_bytes: float
    reserve_bytes: float

    @property
    def allocated_bytes(self) -> float:
        """What a framework's allocator counts: all but fragmentation and the reserve."""
        return self.total_bytes - self.fragmentation_bytes - self.reserve_bytes

    @property
    def total_bytes(self) -> float:
        """All of it."""
        return (
            self.weights_bytes
            + self.gradients_bytes
            + self.states_bytes
            + self.activations_bytes
            + self.working_bytes
            + self.buffers_bytes
            + self.fragmentation_bytes
            + self.reserve_bytes
        )


def room(plan: Plan, stage: int, held: Held) -> Room:
    """Return the memory of a stage: weights, gradients, states as ZeRO divides them, activations in flight."""
    expert_replicas = plan.tensor * plan.context * plan.data // plan.expert
    over, expert_over = plan.sharded_over, max(1, min(expert_replicas, plan.sharded_over))

    def divided(bytes_each: int, from_zero: int) -> float:
        cut = plan.zero >= from_zero
        dense = held.parameters / (over if cut else 1)
        experts = held.expert_parameters / (expert_over if cut else 1)
        return bytes_each * (dense + experts)

    gradient = GRADIENT_BYTES[plan.gradient]
    weights, gradients, states = divided(WEIGHT_BYTES, 3), divided(gradient, 2), divided(STATE_BYTES[plan.optimizer], 1)
    flight = in_flight(stage, plan.pipeline, plan.micro_batches, plan.virtual, plan.schedule)
    # ZeRO-3: a layer in use and the next one gathered, and one's whole gradient; pipelines: a tensor each way.
    gathered = held.largest_parameters * (2 * WEIGHT_BYTES + gradient) if plan.zero == 3 and over > 1 else 0.0
    hops = 2.0 * held.boundary_bytes if plan.pipeline > 1 else 0.0
    parts = (weights, gradients, states, flight * held.saved_bytes, held.working_bytes, gathered + hops)
    return Room(
        weights_bytes=weights,
        gradients_bytes=gradients,
        states_bytes=states,
        activations_bytes=flight * held.saved_bytes,
        working_bytes=held.working_bytes,
        buffers_bytes=gathered + hops,
        fragmentation_bytes=plan.fragmentation * sum(parts),
        reserve_bytes=plan.reserve_bytes,
    )
