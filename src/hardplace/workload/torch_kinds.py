"""What a recorded torch operator is to a cost model: its kind, dimensions and floating-point operations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from hardplace.workload.types import OperatorKind

# Allocations alone: they cost nothing and write nothing.
ALLOCATIONS = {"empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided"}
ATTENTION = "_scaled_dot_product_flash_attention_for_cpu"
ATTENTION_BACKWARD = f"{ATTENTION}_backward"
# Named after what the model asks for, not after the CPU kernel that stands in for it.
NAMES = {
    ATTENTION: "scaled_dot_product_attention",
    ATTENTION_BACKWARD: "scaled_dot_product_attention_backward",
}

_KINDS = {
    OperatorKind.MATMUL: "mm addmm bmm baddbmm",
    OperatorKind.ATTENTION: f"{ATTENTION} {ATTENTION_BACKWARD}",
    OperatorKind.NORMALISATION: "native_layer_norm native_layer_norm_backward",
    OperatorKind.SOFTMAX: "_softmax _log_softmax _softmax_backward_data _log_softmax_backward_data",
    OperatorKind.CROSS_ENTROPY: "nll_loss_forward nll_loss_backward",
    OperatorKind.EMBEDDING: "embedding embedding_dense_backward gather",
    OperatorKind.REDUCTION: "sum mean amax cumsum",
    OperatorKind.COPY: (
        "clone copy_ _to_copy cat stack fill_ zero_ zeros ones full arange zeros_like ones_like full_like "
        "new_zeros new_full new_ones slice_backward select_backward constant_pad_nd"
    ),
    OperatorKind.ELEMENTWISE: (
        "add add_ sub sub_ rsub mul mul_ div div_ neg pow rsqrt sqrt exp exp_ log tanh tanh_backward sigmoid "
        "sigmoid_backward silu silu_backward gelu gelu_backward relu threshold_backward native_dropout "
        "native_dropout_backward cos sin where masked_fill masked_fill_ lt ge eq ne bitwise_or bitwise_not "
        "scatter_add_"
    ),
}
_KIND = {name: kind for kind, names in _KINDS.items() for name in names.split()}
# These touch as many elements as they look up, not the whole table (and so do their backward passes).
_LOOKUPS = {"embedding", "gather"}


def kind_of(name: str) -> OperatorKind:
    """Return the kind of an aten operator by its name without the namespace."""
    return _KIND.get(name, OperatorKind.OTHER)


def dims_of(
    name: str, args: Sequence[object], read: Sequence[torch.Tensor], written: Sequence[torch.Tensor]
) -> tuple[int, ...]:
    """Return an operator's dimensions as hardplace.workload.types.Operator defines them."""
    kind = kind_of(name)
    if kind is OperatorKind.MATMUL:
        left, right = [value for value in args if isinstance(value, torch.Tensor)][-2:]
        return (*(left.shape[:-2] or (1,)), left.shape[-2], right.shape[-1], left.shape[-1])
    if kind is OperatorKind.ATTENTION:
        query, key = [value for value in args if isinstance(value, torch.Tensor)][name == ATTENTION_BACKWARD :][:2]
        batch, heads, queries, width = query.shape
        return (batch, heads, key.shape[1], queries, key.shape[2], width)
    if name in _LOOKUPS:
        return (max(tensor.numel() for tensor in written),)
    if name == "embedding_dense_backward":
        return (read[0].numel(),)
    if name == "scatter_add_":
        return (read[-1].numel(),)
    return (max(tensor.numel() for tensor in (*read, *written)),)


def flops_of(name: str, dims: tuple[int, ...]) -> int:
    """Return multiplications and additions of the matrix products; the masked half of attention counts too.

    Attention: two products forward, five backward (the scores are computed again), as in Dao 2023, section 3.
    """
    kind = kind_of(name)
    if kind is OperatorKind.MATMUL:
        return 2 * math.prod(dims)
    if kind is OperatorKind.ATTENTION:
        batch, heads, _, queries, keys, width = dims
        return (10 if name == ATTENTION_BACKWARD else 4) * batch * heads * queries * keys * width
    return 0
