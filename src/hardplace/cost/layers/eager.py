"""Bytes that plain PyTorch modules move, a kernel an operator of aten: each reads its inputs and writes its output.

Hugging Face's LlamaRMSNorm, apply_rotary_pos_emb and LlamaMLP (transformers 5.23.0, models/llama/modeling_llama.py) and
their gradients by autograd (derivatives.yaml of PyTorch); counted on torch 2.13 in tests/cost/layers/test_eager.py.
Statistics of rows and tables of cosines, which heads share, are left out. docs/model-training.md, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EagerKernels:
    """What the operators of a module move for an element of its input.

    Attributes:
        forward_bytes: Bytes an element, forward pass.
        backward_bytes: Bytes an element, backward pass.
        forward_launches: Kernels of the forward pass.
        backward_launches: Kernels of the backward pass.
    """

    forward_bytes: float
    backward_bytes: float
    forward_launches: int
    backward_launches: int


def rms_norm(size: int, *, wide: bool) -> EagerKernels:
    """Return the operators of an RMS norm: to fp32, square, mean, times the root, to 16 bit, times the weight.

    Backward the weight's product and sum, to fp32, both factors of the product with the root (one summed over the row),
    the mean's gradient spread over the row, the square's (x to the first power, doubled, times it), their sum, to 16
    bit.

    Args:
        size: Bytes of an activation in 16 bit.
        wide: All is in fp32: nothing is cast. Bytes are then those over two, as the pricer counts them twice.
    """
    inner, cast = (size, 0) if wide else (4, size + 4)
    return EagerKernels(
        forward_bytes=2.0 * cast + 5.0 * inner + 2.0 * size,
        backward_bytes=2.0 * cast + 17.0 * inner + 6.0 * size,
        forward_launches=6 if wide else 8,
        backward_launches=14 if wide else 16,
    )


def rotation(size: int) -> EagerKernels:
    """Return the operators of the rotation of a tensor of queries or keys: times cosines, its halves changed over (one
    negated, both put together), times sines, the sum; backward the halves each spread over zeros, their sum, and the
    gradient laid out for the projection."""
    return EagerKernels(forward_bytes=10.0 * size, backward_bytes=16.0 * size, forward_launches=5, backward_launches=8)
