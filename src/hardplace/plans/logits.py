"""What the loss holds of the logits where it is no one kernel (docs/model-training.md, section 5)."""

from __future__ import annotations

from hardplace.plans.plan import Format, OptimizerKind, Plan
from hardplace.workload.decoder import DecoderShape


def logits_bytes(shape: DecoderShape, plan: Plan) -> tuple[int, int]:
    """Return the bytes of an element of the logits that the loss holds at its peak, and of those what is freed before
    the backward pass of the last layer; in 16 bit logits, their log-softmax and two gradients; of logits that DTensor
    divides the 16-bit ones, and in fp32 they, less their maximum, and exponentials of these."""
    all_short = plan.precision is Format.FP16 or plan.optimizer is OptimizerKind.ADAMW_BF16
    if plan.habits.loss_as_given and all_short and plan.precision is not Format.FP32 and not shape.gated:
        return 8, 6
    if plan.tensor > 1 and plan.habits.split_loss_bytes:
        return plan.habits.split_loss_bytes, 0
    return plan.habits.loss_bytes, plan.habits.loss_passes
