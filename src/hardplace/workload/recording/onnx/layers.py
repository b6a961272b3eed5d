"""ONNX operators that are layers of a network: convolution, pooling, normalisation, losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from hardplace.workload.recording.onnx.attention import ATTENTIONS
from hardplace.workload.recording.onnx.node import OnnxNode, OnnxOperator
from hardplace.workload.recording.onnx.resize import resize

Pads = list[tuple[int, int]]

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
_MAXIMA = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVERAGES = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _spatial(node: OnnxNode, x: torch.Tensor, table: dict[int, Any]) -> Any:
    """Return the torch function for the number of spatial dimensions of x (batch, channels, spatial...)."""
    if x.dim() - 2 not in table:
        raise ValueError(f"expected 1 to 3 spatial dimensions, found {max(x.dim() - 2, 0)}")
    return table[x.dim() - 2]


def _pads(node: OnnxNode, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Any) -> Pads:
    """Return how much each spatial dimension is padded before and after."""
    automatic, count = node.get("auto_pad", "NOTSET"), len(sizes)
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        made = []
        for size, window, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
            total = max((-(-size // stride) - 1) * stride + (window - 1) * dilation + 1 - size, 0)
            less, more = total // 2, total - total // 2
            made.append((less, more) if automatic == "SAME_UPPER" else (more, less))
        return made
    flat = node.get("pads") or [0] * (2 * count) if automatic == "NOTSET" else [0] * (2 * count)
    return list(zip(flat[:count], flat[count:], strict=True))


def _padded(x: torch.Tensor, pads: Pads, value: float) -> torch.Tensor:
    flat = [width for pair in reversed(pads) for width in pair]
    return functional.pad(x, flat, value=value) if any(flat) else x


def _symmetric(pads: Pads) -> bool:
    return all(before == after for before, after in pads)


def _convolution(
    node: OnnxNode, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Convolve x (batch, channels, spatial...) with weight (out channels, channels / group, kernel...)."""
    count = x.dim() - 2
    strides, dilations = node.get("strides") or [1] * count, node.get("dilations") or [1] * count
    pads = _pads(node, x.shape[2:], weight.shape[2:], strides, dilations)
    even = [before for before, _ in pads] if _symmetric(pads) else [0] * count
    x = x if _symmetric(pads) else _padded(x, pads, 0.0)
    return _spatial(node, x, _CONVOLUTIONS)(x, weight, bias, strides, even, dilations, node.get("group", 1))


def _transposed_pads(
    node: OnnxNode, x: torch.Tensor, kernel: Sequence[int], strides: Any, dilations: Any, extra: Any
) -> Pads:
    """Return how much of each spatial dimension of the output is cut off (ONNX: ConvTranspose)."""
    automatic, wanted = node.get("auto_pad", "NOTSET"), node.get("output_shape")
    if not wanted and not automatic.startswith("SAME"):
        return _pads(node, x.shape[2:], kernel, strides, dilations)
    pads = []
    for place, size in enumerate(x.shape[2:]):
        full = strides[place] * (size - 1) + extra[place] + (kernel[place] - 1) * dilations[place] + 1
        total = full - (wanted[place - len(kernel)] if wanted else size * strides[place])
        less, more = total // 2, total - total // 2
        pads.append((less, more) if automatic == "SAME_UPPER" else (more, less))
    return pads


def _transposed(
    node: OnnxNode, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Convolve backwards: weight (channels, out channels / group, kernel...)."""
    count = x.dim() - 2
    strides, dilations = node.get("strides") or [1] * count, node.get("dilations") or [1] * count
    extra, group = node.get("output_padding") or [0] * count, node.get("group", 1)
    pads = _transposed_pads(node, x, weight.shape[2:], strides, dilations, extra)
    function = _spatial(node, x, _TRANSPOSED)
    small = all(more < max(step, gap) for more, step, gap in zip(extra, strides, dilations, strict=True))
    if _symmetric(pads) and small and all(before >= 0 for before, _ in pads):
        even = [before for before, _ in pads]
        return function(x, weight, bias, strides, even, extra, group, dilations)
    full = function(x, weight, bias, strides, 0, 0, group, dilations)
    return _padded(full, [(-before, more - after) for (before, after), more in zip(pads, extra, strict=True)], 0.0)


def _pool_pads(node: OnnxNode, x: torch.Tensor) -> tuple[list[int], list[int], list[int], Pads, Pads]:
    """Return kernel, strides, dilations, padding, and what ceil_mode adds to it, of a pooling operator."""
    kernel = node.get("kernel_shape")
    strides, dilations = node.get("strides") or [1] * len(kernel), node.get("dilations") or [1] * len(kernel)
    pads = _pads(node, x.shape[2:], kernel, strides, dilations)
    more = []
    for (before, after), size, window, stride, gap in zip(pads, x.shape[2:], kernel, strides, dilations, strict=True):
        span = size + before + after - (window - 1) * gap - 1
        steps = -(-span // stride) if node.get("ceil_mode", 0) else span // stride
        if steps * stride >= size + before:  # a window that would start in the padding is left out
            steps -= 1
        more.append((0, max(steps * stride - span, 0)))
    return kernel, strides, dilations, pads, more


def _maximum(node: OnnxNode, x: torch.Tensor) -> Any:
    """Pool by the maximum; the second output numbers the elements of the whole input."""
    if node.get("storage_order", 0):
        raise ValueError("storage_order 1 is not read")
    kernel, strides, dilations, pads, more = _pool_pads(node, x)
    function = _spatial(node, x, _MAXIMA)
    even = _symmetric(pads) and all(2 * pad[0] <= size for pad, size in zip(pads, kernel, strict=True))
    if even and not any(after for _, after in more):
        padding, around = [before for before, _ in pads], [(0, 0)] * len(pads)
    else:
        padding, around = [0] * len(pads), [(b, a + m) for (b, a), (_, m) in zip(pads, more, strict=True)]
        if len(node.outputs) > 1:
            raise ValueError("indices of a pool with uneven padding are not read")
    lowest = -math.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
    inner = _padded(x, around, lowest)
    if len(node.outputs) < 2:
        narrow = inner if inner.is_floating_point() else inner.to(torch.float32)
        return function(narrow, kernel, strides, padding, dilations).to(x.dtype)
    pooled, indices = function(inner, kernel, strides, padding, dilations, return_indices=True)
    planes = torch.arange(x.shape[0] * x.shape[1], device=x.device) * math.prod(x.shape[2:])
    return pooled, indices + planes.reshape(x.shape[0], x.shape[1], *[1] * (x.dim() - 2))


def _average(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
    kernel, strides, dilations, pads, more = _pool_pads(node, x)
    if any(gap != 1 for gap in dilations):
        raise ValueError("dilations of an average pool are not read")
    function, counted = _spatial(node, x, _AVERAGES), bool(node.get("count_include_pad", 0))
    even = _symmetric(pads) and all(2 * pad[0] <= size for pad, size in zip(pads, kernel, strict=True))
    if even and not any(after for _, after in more):
        return function(x, kernel, strides, [b for b, _ in pads], False, counted)
    inside = _padded(torch.ones_like(x[:1, :1]), pads, 1.0 if counted else 0.0)
    total = function(_padded(_padded(x, pads, 0.0), more, 0.0), kernel, strides)
    return total / function(_padded(inside, more, 0.0), kernel, strides)


def _global_average(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
    return x.mean(list(range(2, x.dim())), keepdim=True)


def _global_maximum(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
    return x.amax(list(range(2, x.dim())), keepdim=True)


def _batch_norm(
    node: OnnxNode, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor
) -> Any:
    """Normalise over all but the channels; with stored statistics unless the file says training_mode."""
    epsilon, training = node.get("epsilon", 1e-5), bool(node.get("training_mode", 0))
    if not training:
        return functional.batch_norm(x, mean, variance, scale, bias, False, 0.0, epsilon)
    keep, axes = node.get("momentum", 0.9), [axis for axis in range(x.dim()) if axis != 1]
    result = functional.batch_norm(x, None, None, scale, bias, True, 0.0, epsilon)
    if len(node.outputs) < 2:
        return result
    with torch.no_grad():
        spread, middle = torch.var_mean(x, axes, correction=0)
        return result, mean * keep + middle * (1 - keep), variance * keep + spread * (1 - keep)


def _instance_norm(node: OnnxNode, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return functional.instance_norm(x, weight=scale, bias=bias, eps=node.get("epsilon", 1e-5))


def _group_norm(node: OnnxNode, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Normalise groups of channels; scale is by group before operator set 21, by channel from then on."""
    groups = node.get("num_groups")
    if node.version < 21 and scale.shape[0] != x.shape[1]:
        repeats = x.shape[1] // groups
        scale, bias = scale.repeat_interleave(repeats), bias.repeat_interleave(repeats)
    return functional.group_norm(x, groups, scale, bias, node.get("epsilon", 1e-5))


def _inner(node: OnnxNode, x: torch.Tensor) -> tuple[int, ...]:
    axis = node.get("axis", -1)
    return tuple(x.shape[axis:] if axis >= 0 else x.shape[x.dim() + axis :])


def _spread(weight: torch.Tensor | None, shape: tuple[int, ...]) -> torch.Tensor | None:
    return weight if weight is None or tuple(weight.shape) == shape else weight.expand(shape)


def _layer_norm(node: OnnxNode, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None = None) -> Any:
    shape, epsilon = _inner(node, x), node.get("epsilon", 1e-5)
    weight, shift = _spread(scale, shape), _spread(bias, shape)
    if len([name for name in node.outputs if name]) < 2:
        return functional.layer_norm(x, shape, weight, shift, epsilon)
    return torch.native_layer_norm(x, shape, weight, shift, epsilon)


def _rms_norm(node: OnnxNode, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    shape = _inner(node, x)
    return functional.rms_norm(x, shape, _spread(scale, shape), node.get("epsilon", 1e-5))


def _skip_norm(
    node: OnnxNode, x: torch.Tensor, skip: torch.Tensor, gamma: torch.Tensor, *rest: torch.Tensor | None
) -> Any:
    """Add and normalise (com.microsoft); the fourth output is the sum."""
    simple = node.operator.endswith("SkipSimplifiedLayerNormalization")
    beta = None if simple or not rest else rest[0]
    bias = rest[0] if simple and rest else rest[1] if len(rest) > 1 else None
    total = x + skip if bias is None else x + skip + bias
    epsilon, shape = node.get("epsilon", 1e-5 if simple else 1e-12), (x.shape[-1],)
    normal = functional.rms_norm if simple else functional.layer_norm
    result = normal(total, shape, gamma, eps=epsilon, **({} if simple else {"bias": beta}))
    return result, None, None, total


def _lp_norm(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
    axis = node.get("axis", -1)
    size = torch.linalg.vector_norm(x, node.get("p", 2), axis, keepdim=True)
    return torch.where(size == 0, torch.zeros_like(x), x / size)


def _mean_variance(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
    axes = node.get("axes") or [0, 2, 3]
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) / (torch.sqrt(variance) + 1e-9)


def _response_norm(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
    size = node.get("size")
    square = functional.pad((x * x).flatten(2).unsqueeze(1), (0, 0, (size - 1) // 2, size // 2))
    mean = functional.avg_pool2d(square, (size, 1), 1).reshape(x.shape)
    return x / (node.get("bias", 1.0) + node.get("alpha", 1e-4) * mean) ** node.get("beta", 0.75)


def _dropout(node: OnnxNode, x: torch.Tensor, ratio: Any = None, training: Any = None) -> Any:
    """Drop out only where the file says training_mode; otherwise the input."""
    if training is None or not bool(training):
        return (x, torch.ones_like(x, dtype=torch.bool)) if len(node.outputs) > 1 else x
    rate = node.get("ratio", 0.5) if ratio is None else float(ratio)
    if len(node.outputs) > 1:
        return torch.native_dropout(x, rate, True)
    return functional.dropout(x, rate, True)


def _cross_entropy(
    node: OnnxNode, scores: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None
) -> Any:
    ignored, reduction = node.get("ignore_index", -100), node.get("reduction", "mean")
    if node.operator == "NegativeLogLikelihoodLoss":
        return functional.nll_loss(scores, labels.to(torch.int64), weights, ignore_index=ignored, reduction=reduction)
    loss = functional.cross_entropy(scores, labels.to(torch.int64), weights, ignore_index=ignored, reduction=reduction)
    return (loss, torch.log_softmax(scores, 1)) if len(node.outputs) > 1 else loss


LAYERS: dict[str, OnnxOperator] = {
    "Conv": OnnxOperator(run=_convolution),
    "ConvTranspose": OnnxOperator(run=_transposed),
    "MaxPool": OnnxOperator(run=_maximum),
    "AveragePool": OnnxOperator(run=_average),
    "GlobalAveragePool": OnnxOperator(run=_global_average),
    "GlobalMaxPool": OnnxOperator(run=_global_maximum),
    "BatchNormalization": OnnxOperator(run=_batch_norm),
    "InstanceNormalization": OnnxOperator(run=_instance_norm),
    "GroupNormalization": OnnxOperator(run=_group_norm),
    "LayerNormalization": OnnxOperator(run=_layer_norm),
    "RMSNormalization": OnnxOperator(run=_rms_norm),
    "SimplifiedLayerNormalization": OnnxOperator(run=_rms_norm),
    "com.microsoft.SimplifiedLayerNormalization": OnnxOperator(run=_rms_norm),
    "com.microsoft.SkipLayerNormalization": OnnxOperator(run=_skip_norm),
    "com.microsoft.SkipSimplifiedLayerNormalization": OnnxOperator(run=_skip_norm),
    "LpNormalization": OnnxOperator(run=_lp_norm),
    "MeanVarianceNormalization": OnnxOperator(run=_mean_variance),
    "LRN": OnnxOperator(run=_response_norm),
    "Dropout": OnnxOperator(run=_dropout, values=(1, 2)),
    "SoftmaxCrossEntropyLoss": OnnxOperator(run=_cross_entropy),
    "NegativeLogLikelihoodLoss": OnnxOperator(run=_cross_entropy),
    "Resize": OnnxOperator(run=resize, values=(1, 2, 3)),
    **ATTENTIONS,
}
