"""Time of kernels that only move bytes, of MoE's grouped GEMMs, and what a step takes beyond its kernels."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import numpy.typing as npt

from hardplace.cost.gpu.types import Datasheet, Floats, StepOverhead, StreamParameters


class Stream(StrEnum):
    """Kinds of kernels that only move bytes."""

    ELEMENTWISE = "elementwise"
    NORM = "norm"
    SOFTMAX = "softmax"
    EMBEDDING = "embedding"
    EMBEDDING_BACKWARD = "embedding_backward"
    CROSS_ENTROPY = "cross_entropy"
    OPTIMIZER = "optimizer"
    DISPATCH = "dispatch"


def stream_s(
    kind: Stream,
    moved_bytes: npt.ArrayLike,
    sheet: Datasheet,
    fitted: StreamParameters,
    *,
    row: npt.ArrayLike = 0,
) -> Floats:
    """Return seconds of kernels that move this many bytes (read + written); row: elements that one reduction spans."""
    moved, length = np.asarray(moved_bytes, dtype=np.float64), np.asarray(row, dtype=np.float64)
    wide = 1.0 + length / fitted.wide_row if fitted.wide_row else np.ones_like(length)
    return np.asarray(fitted.launch_s + moved * wide / (sheet.memory_bandwidth_bytes_per_s * fitted.efficiency))


def elementwise_bytes(elements: int, inputs: int, outputs: int, element_bytes: int = 2) -> int:
    """Return the bytes of a chain of element-wise operators that is one kernel."""
    return elements * (inputs + outputs) * element_bytes


def embedding_bytes(tokens: int, hidden: int, element_bytes: int = 2) -> int:
    """Return the bytes of a look-up: each token's row read and written (the indices do not count)."""
    return 2 * tokens * hidden * element_bytes


def cross_entropy_bytes(tokens: int, vocabulary: int, *, fused: bool, element_bytes: int = 2) -> int:
    """Return the bytes of softmax, loss and their gradient: fused, logits are read and their gradient written once.

    Otherwise as eager PyTorch has it: a cast to fp32, log-softmax in fp32 and its gradient, and a cast back.
    """
    logits = tokens * vocabulary
    if fused:
        return 2 * logits * element_bytes
    cast, log_softmax, gradient, back = element_bytes + 4, 4 + 4, 4 + 4, 4 + element_bytes
    return logits * (cast + log_softmax + gradient + back)


def adam_bytes(parameters: int, weight_bytes: int = 2, gradient_bytes: int = 2, state_bytes: int = 12) -> int:
    """Return the bytes of an Adam step: gradient read, states (fp32 weight and two moments) read and written, weight
    written."""
    return parameters * (gradient_bytes + 2 * state_bytes + weight_bytes)


def dispatch_bytes(tokens: int, experts_a_token: int, hidden: int, element_bytes: int = 2) -> int:
    """Return the bytes of sorting tokens by expert (or of gathering them again): each copy read and written."""
    return 2 * tokens * experts_a_token * hidden * element_bytes


def step_s(kernels_s: float, kernels: int, overhead: StepOverhead) -> float:
    """Return seconds of a step from the sum of its kernels' times and their number (no communication)."""
    return kernels_s * (1.0 + overhead.framework) + kernels * overhead.gap_s + overhead.constant_s
