"""Memory of a pipeline stage, by what it holds, at its fullest moment (docs/model-training.md, section 5)."""

from __future__ import annotations

from dataclasses import dataclass, fields

from hardplace.plans.pipeline import in_flight, weights_left
from hardplace.plans.plan import GRADIENT_BYTES, STATE_BYTES, Format, OptimizerKind, Plan
from hardplace.plans.v_orders import v_turns
from hardplace.workload.types import Recompute

# Adam's second moments: what their square roots take at once.
_ROOT_BYTES = {
    OptimizerKind.ADAMW: 4,
    OptimizerKind.ADAMW_REMAINDERS: 4,
    OptimizerKind.ADAMW_BF16_MOMENTS: 2,
    OptimizerKind.ADAMW_BF16: 2,
}
HELD_GRADIENT_BYTES = GRADIENT_BYTES | {"bf16+fp32": 6}  # the 16-bit one stays beside its fp32 sum


def weight_bytes(plan: Plan) -> int:
    """Return the bytes of a weight that products read in 16 bit or fp32; what is cast is counted beside
    (`StageContents.cast_bytes`)."""
    return 4 if plan.precision is Format.FP32 else 2


def state_bytes(plan: Plan) -> int:
    """Return the bytes of optimizer states for each parameter; in fp32 the weight is its own master copy."""
    own = plan.precision is Format.FP32 and plan.optimizer is not OptimizerKind.ADAMW_BF16
    return STATE_BYTES[plan.optimizer] - (4 if own else 0)


def master_bytes(plan: Plan) -> int:
    """Return the bytes of an fp32 master weight that is the only copy kept (FSDP, XLA with ZeRO-3); 0: 16-bit weights
    are kept beside the states.
    """
    apart = plan.precision is not Format.FP32 and plan.optimizer is not OptimizerKind.ADAMW_BF16
    return 4 if plan.habits.one_copy and plan.zero == 3 and apart and not plan.offload else 0


def least_bytes_per_parameter(plan: Plan) -> int:
    """Return the bytes that all devices together hold of each trained parameter at the least, however it is divided:
    its gradient and, unless they are offloaded, its optimizer states; a 16-bit weight may live only while it is used.
    """
    return HELD_GRADIENT_BYTES[plan.gradient] + (0 if plan.offload else state_bytes(plan))


@dataclass(frozen=True, slots=True, kw_only=True)
class StageContents:
    """What the layers of a stage hold on one rank, before ZeRO and the schedule divide or multiply it.

    Attributes:
        parameters: Trained parameters of dense layers, in elements.
        expert_parameters: Trained parameters of experts, in elements.
        saved_bytes: Activations kept for the backward pass of one micro-batch, without logits and loss.
        logits_bytes: Logits and what the loss keeps of one micro-batch.
        working_bytes: Temporary buffers of the backward pass of one layer, the largest.
        largest_parameters: Parameters of the largest layer, trained and frozen.
        boundary_bytes: Tensor that a stage hands to the next, of one micro-batch.
        largest_trained_parameters: Trained parameters of the layer that has most.
        frozen_parameters: Dense parameters that are not trained.
        expert_frozen_parameters: Parameters of experts that are not trained.
        packed_bytes: Bytes of quantised dense weights, as they are stored.
        expert_packed_bytes: Bytes of quantised experts.
        largest_packed_bytes: Quantised bytes of the layer that has most.
        passing_bytes: Of the logits and loss, what is freed before the backward pass of the last layer.
        lingering_bytes: What the last step left that is held until the forward pass has ended.
        second_saved_bytes: What of saved_bytes the second chunk of a V-shaped schedule keeps; else 0.
        second_late_bytes: The same of late_bytes.
        late_bytes: What of one micro-batch recompute makes, or comes back from host memory, and weight gradients need.
        late_working_bytes: What of working_bytes late_bytes counts already: the less where both are held.
        logits_gradient_bytes: Gradient of the logits of one micro-batch, which the head's weight gradients read.
        cast_bytes: Weights cast to low precision that stay beside their 16-bit copies; below 0: instead of them.
    """

    parameters: int
    expert_parameters: int
    saved_bytes: float
    logits_bytes: float
    working_bytes: float
    largest_parameters: int
    boundary_bytes: float
    largest_trained_parameters: int
    frozen_parameters: int = 0
    expert_frozen_parameters: int = 0
    packed_bytes: int = 0
    expert_packed_bytes: int = 0
    largest_packed_bytes: int = 0
    passing_bytes: float = 0.0
    lingering_bytes: float = 0.0
    second_saved_bytes: float = 0.0
    second_late_bytes: float = 0.0
    late_bytes: float = 0.0
    late_working_bytes: float = 0.0
    logits_gradient_bytes: float = 0.0
    cast_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StageMemory:
    """Memory of one stage on one device at its fullest moment: the first backward pass, with all micro-batches in
    flight; where the last step's outputs are still held, maybe the end of the forward pass; where the optimizer copies
    gradients, or the passes begin without any, maybe its step.

    Attributes:
        weights_bytes: Weights, trained, frozen and quantised, as ZeRO-3 divides them.
        gradients_bytes: Gradients of trained parameters, as ZeRO-2 divides them.
        states_bytes: Optimizer states, as ZeRO-1 divides them; 0 where they are offloaded.
        activations_bytes: Activations of the micro-batches in flight.
        logits_bytes: Logits and what the loss keeps.
        working_bytes: Temporary buffers of one layer's backward pass.
        buffers_bytes: Gathered layers and gradients of ZeRO-2 and ZeRO-3, tensors between stages, buckets of
            gradients; in the step, copies of gradients and roots of second moments.
        fragmentation_bytes: What the allocator loses.
        reserve_bytes: Driver and communication libraries.
    """

    weights_bytes: float
    gradients_bytes: float
    states_bytes: float
    activations_bytes: float
    logits_bytes: float
    working_bytes: float
    buffers_bytes: float
    fragmentation_bytes: float
    reserve_bytes: float

    @property
    def allocated_bytes(self) -> float:
        """Return what a framework's allocator counts: all but fragmentation and the reserve."""
        return (
            self.weights_bytes
            + self.gradients_bytes
            + self.states_bytes
            + self.activations_bytes
            + self.logits_bytes
            + self.working_bytes
            + self.buffers_bytes
        )

    @property
    def reserved_bytes(self) -> float:
        """Return what a framework's allocator takes of the device."""
        return self.allocated_bytes + self.fragmentation_bytes

    @property
    def total_bytes(self) -> float:
        """Return all bytes, to be compared with the memory of the device."""
        return self.reserved_bytes + self.reserve_bytes


def stage_memory(plan: Plan, stage: int, held: StageContents) -> StageMemory:
    """Return the memory of a stage at its fullest moment, of the passes or of the optimizer's step.

    Args:
        plan: The plan.
        stage: Index of the stage, from 0 at the input.
        held: What its layers hold on one rank.

    Source: docs/model-training.md, section 5.
    """
    passes = passes_memory(plan, stage, held)
    step = _step_memory(plan, held, passes)
    if step is None:
        return passes
    later = 1.0 * (step.total_bytes > passes.total_bytes)  # of numbers and of arrays alike
    return StageMemory(
        **{
            one.name: (1.0 - later) * getattr(passes, one.name) + later * getattr(step, one.name)
            for one in fields(StageMemory)
        }
    )


def _step_memory(plan: Plan, held: StageContents, passes: StageMemory) -> StageMemory | None:
    """Return the memory of a stage in the optimizer's step, without activations; None where the passes are fuller
    whatever they hold."""
    short = plan.gradient == "bf16" and plan.precision is not Format.FP32
    fp32_states = plan.optimizer is not OptimizerKind.ADAMW_BF16 and not plan.offload
    if plan.habits.copies_gradients and plan.zero in (1, 2) and short and fp32_states:
        own = held.parameters / plan.sharded_over + held.expert_parameters / plan.experts_sharded_over
        gradients, copies = GRADIENT_BYTES["bf16"] * own, (GRADIENT_BYTES["bf16"] + GRADIENT_BYTES["fp32"]) * own
        lost = plan.lost_share * (passes.weights_bytes + passes.states_bytes + gradients)  # not of copies, each its own
    elif _replicates(plan) and plan.micro_batches == 1:
        own = held.parameters + held.expert_parameters
        gradients = HELD_GRADIENT_BYTES[plan.gradient] * own
        roots = 0.0 if plan.offload else _ROOT_BYTES.get(plan.optimizer, 0) * own
        copies = _bucket_bytes(plan, held) + roots
        lost = plan.lost_share * (passes.weights_bytes + passes.states_bytes + gradients + copies)
    else:
        return None
    return StageMemory(
        weights_bytes=passes.weights_bytes,
        gradients_bytes=gradients,
        states_bytes=passes.states_bytes,
        activations_bytes=0.0,
        logits_bytes=0.0,
        working_bytes=0.0,
        buffers_bytes=copies,
        fragmentation_bytes=lost,
        reserve_bytes=passes.reserve_bytes,
    )


def _replicates(plan: Plan) -> bool:
    """Return whether replicas are torch's DistributedDataParallel."""
    return plan.habits.replicates and plan.zero == 0


def _bucket_bytes(plan: Plan, held: StageContents) -> float:
    """Return the bytes of the buckets in which its replicas reduce gradients."""
    own = held.parameters + held.expert_parameters
    return 1.0 * HELD_GRADIENT_BYTES[plan.gradient] * own if _replicates(plan) and plan.data > 1 else 0.0


def passes_memory(plan: Plan, stage: int, held: StageContents) -> StageMemory:
    """Return the memory of a stage at the fullest moment of its passes: weights, gradients and states as ZeRO divides
    them, activations in flight.

    Gradients and states are of trained parameters alone; quantised weights keep their own type.

    Args:
        plan: The plan.
        stage: Index of the stage, from 0 at the input.
        held: What its layers hold on one rank.

    Source: docs/model-training.md, section 5.
    """
    over, expert_over = plan.sharded_over, plan.experts_sharded_over

    def divided(from_zero: int, bytes_each: int, dense: float, experts: float) -> float:
        cut = plan.zero >= from_zero
        return bytes_each * (dense / (over if cut else 1) + experts / (expert_over if cut else 1))

    trained = held.parameters, held.expert_parameters
    gradient, weight, own = HELD_GRADIENT_BYTES[plan.gradient], weight_bytes(plan), master_bytes(plan)
    weights = divided(3, weight, held.frozen_parameters, held.expert_frozen_parameters)
    weights += divided(3, own or weight, *trained)
    weights += divided(3, 1, held.packed_bytes, held.expert_packed_bytes)
    weights += held.cast_bytes if plan.zero < 3 else 0.0
    gradients = 0.0 if _replicates(plan) and plan.micro_batches == 1 else divided(2, gradient, *trained)
    states = 0.0 if plan.offload else divided(1, state_bytes(plan) - own, *trained)
    # Gradients before they are scattered; ZeRO-3: layers in use and gathered ahead; pipelines: a tensor each way.
    gathered, scattered, habits = 0.0, 0.0, plan.habits
    if over > 1 and plan.zero >= 2:
        scattered = habits.gradient_layers * gradient * held.largest_trained_parameters
    if over > 1 and plan.zero == 3:
        gathered = habits.gathered_layers * (weight * held.largest_parameters + held.largest_packed_bytes)
    wide = weight / 2.0  # activations in fp32
    if plan.habits.keeps_sent and plan.pipeline > 1 and plan.zero == 1 and over > 1:
        # FSDP that keeps what it gathered: whole gradients stand beside what is reduced of them, on another stream.
        scattered = gradient * (held.parameters / over + held.expert_parameters / expert_over)
        scattered = scattered + habits.gradient_layers * gradient * held.largest_trained_parameters
        gathered = habits.gathered_layers * (weight * held.largest_parameters + held.largest_packed_bytes)
    hops = _hops(plan, stage) * wide * held.boundary_bytes
    (saved, logits), working = _in_flight_bytes(plan, stage, held), held.working_bytes
    if plan.schedule.apart:
        working = working - held.late_working_bytes
    if habits.loss_passes:  # a layer's backward pass begins when the loss's has ended
        working = 0.0 + (working - held.passing_bytes) * (working > held.passing_bytes)
    if habits.returns_cache:
        # The end of the forward pass: nothing of a backward pass yet, the last step's outputs beside this one's.
        absent = gradients if plan.micro_batches == 1 else 0.0
        ended = 1.0 * (wide * held.lingering_bytes > wide * working + scattered + absent)
        saved = saved + ended * held.lingering_bytes
        working, scattered = (1.0 - ended) * working, (1.0 - ended) * scattered
        gradients = gradients - ended * absent
    gathered += scattered + _bucket_bytes(plan, held)
    kept = tuple(wide * one for one in (saved, logits, working))
    return StageMemory(
        weights_bytes=weights,
        gradients_bytes=gradients,
        states_bytes=states,
        activations_bytes=kept[0],
        logits_bytes=kept[1],
        working_bytes=kept[2],
        buffers_bytes=gathered + hops,
        fragmentation_bytes=plan.lost_share * (weights + gradients + states + sum(kept) + gathered + hops),
        reserve_bytes=plan.kept_bytes,
    )


def _hops(plan: Plan, stage: int) -> float:
    """Return how many tensors between stages a stage holds: one each way; where torch's pipelines run, buffers to
    receive each micro-batch of the step, of each chunk, and what each in flight has sent."""
    if plan.pipeline == 1 or not plan.habits.keeps_sent:
        return 2.0 * (plan.pipeline > 1)
    first, last = stage == 0, stage == (0 if plan.schedule.folds else plan.pipeline - 1)
    sent = plan.virtual * in_flight(stage, plan.pipeline, plan.micro_batches, plan.virtual, plan.schedule)
    return (2 * plan.virtual - first - last) * plan.micro_batches + sent


def _in_flight_bytes(plan: Plan, stage: int, held: StageContents) -> tuple[float, float]:
    """Return what a stage keeps of the micro-batches in flight, at most: activations, and logits with the loss.

    Where weight gradients run apart, what recompute has made waits for them, and the gradient of the logits. In a V
    the chunks of a stage may differ, and how many of each are in flight does, and wait; logits stay until the head's
    weight gradients.
    """
    if not plan.schedule.folds:
        flight = in_flight(stage, plan.pipeline, plan.micro_batches, plan.virtual, plan.schedule)
        (late,) = weights_left(stage, plan.pipeline, plan.micro_batches, 1, plan.schedule)
        if not late:
            return flight * held.saved_bytes, held.logits_bytes
        logits = held.logits_bytes + (late - 1) * held.logits_gradient_bytes
        return flight * held.saved_bytes + late * held.late_bytes, logits
    turns = v_turns(plan.pipeline, plan.micro_batches, plan.schedule)[stage]
    saved, waiting = held.second_saved_bytes, held.second_late_bytes
    most, sizes = 0.0, (held.saved_bytes - saved, saved, held.late_bytes - waiting, waiting)
    for counts in turns.held if plan.recompute is Recompute.NONE else turns.waiting:
        # the larger of both, of numbers and of arrays alike
        more = sum(count * size for count, size in zip(counts, sizes, strict=False)) - most
        most = most + (more + abs(more)) / 2.0
    return most, max(one[1] for one in turns.held) * held.logits_bytes
