"""What a recorded operator is to a cost model: its kind, dimensions and floating-point operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from hardplace.workload.affine import between
from hardplace.workload.linear_scan import CHUNK, DELTA, LINEAR, RECURRENCE, scan_product_flops
from hardplace.workload.scan import scan_flops
from hardplace.workload.types import Gradient, Operator, OperatorKind, Phase, Tensor

Shape = tuple[int, ...]

ATTENTION = "attention"
ATTENTION_BACKWARD = "attention_backward"
GROUPED = "grouped_mm"
TRANSPOSED = "convolution_transposed"
BAG = "_embedding_bag"
CAUSAL = "causal_conv1d"  # depth-wise, with its activation (Mamba)

_KINDS = {
    OperatorKind.MATMUL: "mm addmm bmm baddbmm mv addmv dot",
    OperatorKind.GROUPED_MATMUL: GROUPED,
    OperatorKind.ATTENTION: f"{ATTENTION} {ATTENTION_BACKWARD}",
    OperatorKind.CONVOLUTION: (
        f"convolution {TRANSPOSED} convolution_backward {TRANSPOSED}_backward {CAUSAL} {CAUSAL}_backward"
    ),
    OperatorKind.SCAN: (
        "ssd_scan ssd_scan_backward selective_scan selective_scan_backward gated_delta_scan gated_delta_scan_backward "
        "kimi_delta_scan kimi_delta_scan_backward linear_attention_scan linear_attention_scan_backward recurrence_scan "
        "recurrence_scan_backward"
    ),
    OperatorKind.NORMALISATION: (
        "native_layer_norm native_layer_norm_backward native_batch_norm native_batch_norm_backward "
        "native_group_norm native_group_norm_backward _fused_rms_norm _fused_rms_norm_backward "
        "gated_rms_norm gated_rms_norm_backward l2_norm l2_norm_backward "
        "_native_batch_norm_legit _batch_norm_with_update batch_norm_backward"
    ),
    OperatorKind.SOFTMAX: "_softmax _log_softmax _softmax_backward_data _log_softmax_backward_data logsumexp",
    OperatorKind.CROSS_ENTROPY: (
        "nll_loss_forward nll_loss_backward nll_loss2d_forward nll_loss2d_backward binary_cross_entropy "
        "binary_cross_entropy_backward binary_cross_entropy_with_logits"
    ),
    OperatorKind.EMBEDDING: "embedding embedding_dense_backward _embedding_bag _embedding_bag_dense_backward",
    OperatorKind.GATHER: (
        "gather index index_select scatter scatter_add index_put _index_put_impl _unsafe_index _unsafe_index_put "
        "index_add scatter_reduce masked_select take_along_dim"
    ),
    OperatorKind.ROUTING: "topk sort histc bincount argsort one_hot searchsorted",
    OperatorKind.REDUCTION: (
        "sum mean amax amin max min cumsum cumprod prod var var_mean std any all argmax argmin norm "
        "linalg_vector_norm max_pool2d_with_indices max_pool2d_with_indices_backward avg_pool2d avg_pool2d_backward "
        "avg_pool1d max_pool1d _adaptive_avg_pool2d _adaptive_avg_pool2d_backward adaptive_max_pool2d "
        "adaptive_max_pool2d_backward cumsum_backward"
    ),
    OperatorKind.COPY: (
        "clone copy _to_copy cat stack fill zero zeros ones full arange zeros_like ones_like full_like "
        "new_zeros new_full new_ones slice_backward select_backward constant_pad_nd repeat flip roll tril triu "
        "slice_scatter select_scatter scalar_tensor rand rand_like randn randn_like randint normal uniform bernoulli "
        "linspace eye im2col col2im upsample_nearest2d upsample_nearest2d_backward upsample_bilinear2d "
        "upsample_bilinear2d_backward upsample_bicubic2d upsample_bicubic2d_backward reflection_pad1d reflection_pad2d "
        "replication_pad2d pixel_shuffle pixel_unshuffle unfold_backward grid_sampler_2d grid_sampler_2d_backward"
    ),
    OperatorKind.ELEMENTWISE: (
        "add sub rsub mul div neg pow rsqrt sqrt exp log tanh tanh_backward sigmoid sigmoid_backward silu "
        "silu_backward gelu gelu_backward relu threshold_backward native_dropout native_dropout_backward cos sin "
        "where masked_fill lt ge eq ne gt le bitwise_or bitwise_and bitwise_not logical_and logical_or logical_not "
        "clamp clamp_min clamp_max addcmul addcdiv reciprocal erf abs sign square floor ceil round softplus "
        "softplus_backward hardtanh hardtanh_backward leaky_relu leaky_relu_backward elu elu_backward mish "
        "hardswish hardswish_backward hardsigmoid hardsigmoid_backward mse_loss mse_loss_backward maximum minimum "
        "remainder floor_divide fmod expm1 log1p log2 lerp isnan isinf nan_to_num log_sigmoid_forward "
        "log_sigmoid_backward smooth_l1_loss smooth_l1_loss_backward atan2 hypot glu glu_backward polar"
    ),
}
_KIND = {name: kind for kind, names in _KINDS.items() for name in names.split()}
# These touch as many elements as they look up or write, not the whole table (and so do their backward passes).
_LOOKUPS = {"embedding", "gather", "index", "index_select", "_unsafe_index", "take_along_dim"}
# Operand that says how many elements are put into a table.
_PUTS = {
    "embedding_dense_backward": 0,
    "scatter_add": -1,
    "scatter": -1,
    "index_put": -1,
    "_index_put_impl": -1,
    "_unsafe_index_put": -1,
    "index_add": -1,
}


def kind_of(name: str, pointwise: bool = False) -> OperatorKind:
    """Return the kind of an operator by its name without namespace or the underscore of an in-place version.

    pointwise: what torch's own tags say of a name that is not listed here.
    """
    return _KIND.get(name, OperatorKind.ELEMENTWISE if pointwise else OperatorKind.OTHER)


def dims_of(kind: OperatorKind, name: str, reads: Sequence[Shape], writes: Sequence[Shape]) -> tuple[int, ...]:
    """Return an operator's dimensions, as hardplace.workload.types.Operator defines them, from its shapes."""
    if kind is OperatorKind.MATMUL:
        return _matmul(*reads[-2:])
    if kind is OperatorKind.GROUPED_MATMUL:
        left, right = reads[:2]
        if len(right) == 3:
            return (right[0], left[0], right[2], right[1])
        return (writes[0][0], left[0], right[1], left[1])  # gradient of the weights: a sum over all groups' rows
    if kind is OperatorKind.ATTENTION:
        query, key, value = reads[name == ATTENTION_BACKWARD :][:3]
        return (query[0], query[1], key[1], query[2], key[2], query[3], value[3])
    if kind is OperatorKind.CONVOLUTION:
        return _convolution(name, reads, writes)
    if kind is OperatorKind.SCAN:
        return _scan(name, reads, writes)
    if kind is OperatorKind.VIEW:
        return ()
    return (_elements(name, reads, writes),)


def _matmul(left: Shape, right: Shape) -> tuple[int, ...]:
    rows = left[-2] if len(left) > 1 else 1
    columns = right[-1] if len(right) > 1 else 1
    return (left[0] if len(left) > 2 else 1, rows, columns, left[-1])


def _convolution(name: str, reads: Sequence[Shape], writes: Sequence[Shape]) -> tuple[int, ...]:
    """Return (batch, in, out, groups, sizes in, sizes out, kernel); of a transposed one by the same meaning."""
    backward = name.endswith("_backward")
    given, weight = reads[backward : backward + 2]
    if name.startswith(CAUSAL):
        return (given[0], given[1], given[1], given[1], given[2], given[2], weight[1])
    made = reads[0] if backward else writes[0]
    per_group = weight[0] if name.startswith(TRANSPOSED) else weight[1]
    # Weights are (out, in / groups, ...), those of a transposed one (in, out / groups, ...).
    groups = made[1] // weight[1] if name.startswith(TRANSPOSED) else given[1] // max(1, per_group)
    return (given[0], given[1], made[1], groups, *given[2:], *made[2:], *weight[2:])


def _scan(name: str, reads: Sequence[Shape], writes: Sequence[Shape]) -> tuple[int, ...]:
    """Return (batch, length, heads, head dimension, groups, state, chunk)."""
    backward = name.endswith("_backward")
    if name.startswith(RECURRENCE):  # each channel is a head of one
        return (*reads[backward], 1, 1, 1, 1)
    if name.startswith((*DELTA, LINEAR)):
        key, _, value, *_ = reads[backward:]
        return (*value, key[2], key[3], CHUNK)
    given, _, rates, first, *_ = reads[backward:]
    if name.startswith("selective"):  # Mamba-1: each channel is a head of one; no products, so no chunks
        return (given[0], given[2], given[1], 1, 1, rates[1], 1)
    chunk = (reads[-1] if backward else writes[1])[-1]
    return (*given, first[2], first[3], chunk)


def _elements(name: str, reads: Sequence[Shape], writes: Sequence[Shape]) -> int:
    if name.startswith(BAG):  # of table or gradient (rows, width) and indices: a row for each of them
        return math.prod(reads[1]) * reads[0][1]
    if name in _LOOKUPS:
        return max(math.prod(shape) for shape in writes)
    if name in _PUTS:
        return math.prod(reads[_PUTS[name]])
    return max((math.prod(shape) for shape in (*reads, *writes)), default=0)


def flops_of(kind: OperatorKind, name: str, dims: tuple[int, ...]) -> int:
    """Return multiplications and additions of the matrix products; the masked half of attention counts too.

    Attention: two products forward, five backward (the scores are computed again), as in Dao 2023, section 3. Its
    name, not its phase, says which: checkpointing runs forward operators in the backward pass.
    """
    backward = name.endswith("_backward")
    if kind in (OperatorKind.MATMUL, OperatorKind.GROUPED_MATMUL):
        return 2 * math.prod(dims if kind is OperatorKind.MATMUL else dims[1:])
    if kind is OperatorKind.ATTENTION:
        batch, heads, _, queries, keys, width, value_width = dims
        scores, values = (2 * batch * heads * queries * keys * size for size in (width, value_width))
        return 3 * scores + 2 * values if backward else scores + values
    if kind is OperatorKind.CONVOLUTION:
        batch, channels, filters, groups = dims[:4]
        spatial = (len(dims) - 4) // 3
        sizes_in, sizes_out, kernel = (dims[4 + i * spatial : 4 + (i + 1) * spatial] for i in range(3))
        places = math.prod(sizes_in if name.startswith(TRANSPOSED) else sizes_out)
        # The gradients of input and weight, and the output again for its activation, in one kernel.
        times = 3 if name == f"{CAUSAL}_backward" else 1
        return 2 * times * batch * places * channels * filters // groups * math.prod(kernel)
    if kind is OperatorKind.SCAN and name.startswith("ssd"):
        names = ("batch", "length", "heads", "head_dim", "groups", "state", "chunk")
        found = scan_flops(**dict(zip(names, dims, strict=True)))
        return found.backward if backward else found.forward
    if kind is OperatorKind.SCAN:
        return scan_product_flops(name, dims, backward=backward)
    return 0


def sized(operator: Operator, tensors: Sequence[Tensor]) -> Operator:
    """Return an operator with the dimensions and FLOPs that its tensors' shapes give, as recording computes them."""

    def dims(micro_batch: int) -> tuple[int, ...]:
        reads, writes = (
            [tuple([size.at(micro_batch) for size in tensors[index].shape]) for index in indices]
            for indices in (operator.reads, operator.writes)
        )
        if operator.kind is OperatorKind.CONVOLUTION:
            return _cut_convolution(operator, micro_batch, reads, writes)
        return dims_of(operator.kind, operator.name, reads, writes)

    low, high = dims(2), dims(3)
    flops = (flops_of(operator.kind, operator.name, size) for size in (low, high))
    return replace(
        operator,
        dims=tuple([between(low[place], high[place]) for place in range(len(operator.dims))]),
        flops=between(*flops),
    )


def _cut_convolution(
    operator: Operator, micro_batch: int, reads: Sequence[Shape], writes: Sequence[Shape]
) -> tuple[int, ...]:
    """Return the dimensions of a convolution whose channels may be cut; a gradient reads only one of its operands."""
    given, made = {
        Gradient.DGRAD: (writes[0], reads[0]),
        Gradient.WGRAD: (reads[-1], reads[0]),
    }.get(operator.gradient, (reads[0], writes[0]))
    _, channels, _, groups, *rest = (one.at(micro_batch) for one in operator.dims)
    return (given[0], given[1], made[1], max(1, groups * given[1] // channels) if groups > 1 else 1, *rest)


def gradient_of(kind: OperatorKind, phase: Phase) -> Gradient:
    """Return FORWARD for products of the forward pass, else NONE: which backward one it is, the graph says."""
    products = (OperatorKind.MATMUL, OperatorKind.GROUPED_MATMUL, OperatorKind.CONVOLUTION)
    return Gradient.FORWARD if kind in products and phase is Phase.FORWARD else Gradient.NONE
