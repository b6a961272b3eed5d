"""ONNX operators that make, shape, pick and put elements."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from hardplace.workload.recording.onnx.node import OnnxNode, OnnxOperator, axes_of, whole

Array = np.ndarray[Any, Any]


def _shape(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
    sizes = list(x.shape)[slice(node.get("start", 0), node.get("end"))]
    return torch.tensor(sizes, dtype=torch.int64)


def _reshape(node: OnnxNode, x: torch.Tensor, shape: Array) -> torch.Tensor:
    """Reshape; 0 keeps a dimension unless allowzero is set."""
    sizes = whole(shape) or []
    if not node.get("allowzero", 0):
        sizes = [x.shape[place] if size == 0 else size for place, size in enumerate(sizes)]
    return x.reshape(sizes)


def _flatten(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
    axis = node.get("axis", 1)
    axis += x.dim() if axis < 0 else 0
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _squeeze(node: OnnxNode, x: torch.Tensor, axes: Array | None = None) -> torch.Tensor:
    named = axes_of(node, axes)
    return x.squeeze() if named is None else x.squeeze(tuple(named)) if named else x


def _unsqueeze(node: OnnxNode, x: torch.Tensor, axes: Array | None = None) -> torch.Tensor:
    named = axes_of(node, axes) or []
    rank = x.dim() + len(named)
    for axis in sorted(axis % rank for axis in named):
        x = x.unsqueeze(axis)
    return x


def _transpose(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
    return x.permute(node.get("perm") or list(range(x.dim()))[::-1])


def _expand(node: OnnxNode, x: torch.Tensor, shape: Array) -> torch.Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, whole(shape) or []))


def _slice(
    node: OnnxNode, x: torch.Tensor, starts: Array, ends: Array, axes: Any = None, steps: Any = None
) -> torch.Tensor:
    firsts, lasts = whole(starts) or [], whole(ends) or []
    named = whole(axes) or list(range(len(firsts)))
    for first, last, axis, step in zip(firsts, lasts, named, whole(steps) or [1] * len(firsts), strict=True):
        size = x.shape[axis]
        if step > 0:
            window = slice(first, last, step).indices(size)
            if window != (0, size, 1):
                x = x[(slice(None),) * (axis % x.dim()) + (slice(*window),)]
        else:
            places = range(size)[slice(first, last if last >= -size else None, step)]
            x = torch.index_select(x, axis, torch.tensor(list(places), dtype=torch.int64, device=x.device))
    return x


def _split(node: OnnxNode, x: torch.Tensor, sizes: Array | None = None) -> tuple[torch.Tensor, ...]:
    axis = node.get("axis", 0)
    given = node.get("split") if sizes is None else whole(sizes)
    if given is None:
        count = node.get("num_outputs") or len(node.outputs)
        each = -(-x.shape[axis] // count)
        given = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
    return torch.split(x, given, axis)


def _concat(node: OnnxNode, *inputs: torch.Tensor) -> torch.Tensor:
    return torch.cat(inputs, node.get("axis"))


def _gather(node: OnnxNode, x: torch.Tensor, indices: torch.Tensor | int) -> torch.Tensor:
    """Gather; a table's rows are an embedding, one index a view."""
    axis = node.get("axis", 0) % max(x.dim(), 1)
    if not isinstance(indices, torch.Tensor):
        return x.select(axis, indices)
    if indices.dim() == 0:
        place = torch.remainder(indices.to(torch.int64), x.shape[axis])
        return torch.index_select(x, axis, place.reshape(1)).squeeze(axis)
    if isinstance(x, torch.nn.Parameter) and x.dim() == 2 and axis == 0:
        return functional.embedding(indices.to(torch.int64), x)
    return x[(slice(None),) * axis + (indices.to(torch.int64),)]


def _gather_elements(node: OnnxNode, x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    axis = node.get("axis", 0)
    return torch.gather(x, axis, torch.remainder(indices.to(torch.int64), x.shape[axis]))


def _gather_nd(node: OnnxNode, x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    leading = node.get("batch_dims", 0)
    shape = x.shape[:leading]
    grids = []
    for place, size in enumerate(shape):
        ones = [1] * (indices.dim() - 1)
        grids.append(torch.arange(size, device=x.device).reshape(*ones[:place], size, *ones[place + 1 :]))
    return x[(*grids, *indices.to(torch.int64).unbind(-1))]


def _scatter_elements(node: OnnxNode, x: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
    axis, reduction = node.get("axis", 0), node.get("reduction", "none")
    places = torch.remainder(indices.to(torch.int64), x.shape[axis])
    if reduction == "none":
        return torch.scatter(x, axis, places, updates)
    return torch.scatter_reduce(x, axis, places, updates, _REDUCE[reduction])


_REDUCE = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _scatter_nd(node: OnnxNode, x: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
    reduction = node.get("reduction", "none")
    places = indices.to(torch.int64).unbind(-1)
    if reduction in ("none", "add"):
        return torch.index_put(x, places, updates, accumulate=reduction == "add")
    depth = len(places)
    rows = torch.zeros_like(places[0])
    for place, size in zip(places, x.shape[:depth], strict=True):
        rows = rows * size + torch.remainder(place, size)
    inner = math.prod(x.shape[depth:])
    flat = x.reshape(-1, inner)
    to = rows.reshape(-1, 1).expand(-1, inner)
    return flat.scatter_reduce(0, to, updates.reshape(-1, inner), _REDUCE[reduction]).reshape(x.shape)


def _pad(
    node: OnnxNode, x: torch.Tensor, pads: Array | None = None, value: Any = None, axes: Array | None = None
) -> torch.Tensor:
    widths = whole(pads) or []
    named = whole(axes) or list(range(x.dim()))
    around = [(0, 0)] * x.dim()
    for place, axis in enumerate(named):
        around[axis] = (widths[place], widths[place + len(named)])
    mode = node.get("mode", "constant")
    if not any(widths):
        return x
    if mode == "constant":
        flat = [width for pair in reversed(around) for width in pair]
        fill = 0 if value is None else value.reshape(-1)[0].item()
        return functional.pad(x, flat, value=fill)
    for axis, (before, after) in enumerate(around):
        if before or after:
            cut = np.arange(x.shape[axis])[max(-before, 0) : x.shape[axis] - max(-after, 0)]
            places = np.pad(cut, (max(before, 0), max(after, 0)), mode=mode)
            x = torch.index_select(x, axis, torch.tensor(places.tolist(), dtype=torch.int64, device=x.device))
    return x


def _filled(node: OnnxNode, shape: Array) -> torch.Tensor:
    return torch.full(whole(shape) or [], node.get("value", 0.0), dtype=node.get("dtype", torch.float32))


def _range(node: OnnxNode, start: Array, limit: Array, delta: Array) -> torch.Tensor:
    first, last, step = (value.reshape(-1)[0].item() for value in (start, limit, delta))
    return torch.arange(first, first + step * max(math.ceil((last - first) / step), 0), step, dtype=_dtype(start))


def _dtype(array: Array) -> torch.dtype:
    return getattr(torch, array.dtype.name)


def _one_hot(node: OnnxNode, indices: torch.Tensor, depth: Array, values: torch.Tensor) -> torch.Tensor:
    size, axis = int(depth.reshape(-1)[0]), node.get("axis", -1)
    axis += indices.dim() + 1 if axis < 0 else 0
    places = torch.arange(size, device=indices.device).reshape([size] + [1] * (indices.dim() - axis))
    hot = torch.where(indices < 0, indices + size, indices).unsqueeze(axis) == places
    return torch.where(hot, values[1], values[0])


def _eye(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
    ones = torch.ones(x.shape, dtype=node.get("dtype") or x.dtype)
    shift = node.get("k", 0)
    return ones.tril(shift).triu(shift)


def _triangle(node: OnnxNode, x: torch.Tensor, k: Array | None = None) -> torch.Tensor:
    shift = 0 if k is None else int(k.reshape(-1)[0])
    return x.triu(shift) if node.get("upper", 1) else x.tril(shift)


def _top(node: OnnxNode, x: torch.Tensor, k: Array) -> tuple[torch.Tensor, ...]:
    sizes = whole(k) or [1]
    largest, in_order = bool(node.get("largest", 1)), bool(node.get("sorted", 1))
    return tuple(torch.topk(x, sizes[0], node.get("axis", -1), largest=largest, sorted=in_order))


def _non_zero(node: OnnxNode, x: Array) -> torch.Tensor:
    return torch.tensor(np.array(np.nonzero(x)).tolist(), dtype=torch.int64).reshape(max(x.ndim, 1), -1)


def _compress(node: OnnxNode, x: torch.Tensor, condition: Array) -> torch.Tensor:
    axis = node.get("axis")
    places = torch.tensor(np.flatnonzero(condition).tolist(), dtype=torch.int64, device=x.device)
    return torch.index_select(x.flatten() if axis is None else x, axis or 0, places)


def _depth_to_space(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
    n, channels, height, width = x.shape
    side = node.get("blocksize")
    if node.get("mode", "DCR") == "CRD":
        return functional.pixel_shuffle(x, side)
    parts = x.reshape(n, side, side, channels // side**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(n, channels // side**2, height * side, width * side)


def _space_to_depth(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
    n, channels, height, width = x.shape
    side = node.get("blocksize")
    parts = x.reshape(n, channels, height // side, side, width // side, side)
    parts = parts.permute(0, 1, 3, 5, 2, 4) if node.get("mode", "DCR") == "CRD" else parts.permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(n, channels * side**2, height // side, width // side)


TENSORS: dict[str, OnnxOperator] = {
    "Identity": OnnxOperator(run=lambda node, x: x),
    "Shape": OnnxOperator(run=_shape, outlines=(0,)),
    "Size": OnnxOperator(run=lambda node, x: torch.tensor(x.numel(), dtype=torch.int64), outlines=(0,)),
    "Reshape": OnnxOperator(run=_reshape, values=(1,)),
    "Flatten": OnnxOperator(run=_flatten),
    "Squeeze": OnnxOperator(run=_squeeze, values=(1,)),
    "Unsqueeze": OnnxOperator(run=_unsqueeze, values=(1,)),
    "Transpose": OnnxOperator(run=_transpose),
    "Expand": OnnxOperator(run=_expand, values=(1,)),
    "Tile": OnnxOperator(run=lambda node, x, repeats: x.repeat(whole(repeats)), values=(1,)),
    "Slice": OnnxOperator(run=_slice, values=(1, 2, 3, 4)),
    "Split": OnnxOperator(run=_split, values=(1,)),
    "Concat": OnnxOperator(run=_concat),
    "Gather": OnnxOperator(run=_gather, scalars=(1,)),
    "GatherElements": OnnxOperator(run=_gather_elements),
    "GatherND": OnnxOperator(run=_gather_nd),
    "ScatterElements": OnnxOperator(run=_scatter_elements),
    "ScatterND": OnnxOperator(run=_scatter_nd),
    "Pad": OnnxOperator(run=_pad, values=(1, 2, 3)),
    "ConstantOfShape": OnnxOperator(run=_filled, values=(0,)),
    "Range": OnnxOperator(run=_range, values=(0, 1, 2)),
    "OneHot": OnnxOperator(run=_one_hot, values=(1,)),
    "EyeLike": OnnxOperator(run=_eye, outlines=(0,)),
    "Trilu": OnnxOperator(run=_triangle, values=(1,)),
    "TopK": OnnxOperator(run=_top, values=(1,)),
    "NonZero": OnnxOperator(run=_non_zero, values=(0,)),
    "Compress": OnnxOperator(run=_compress, values=(1,)),
    "DepthToSpace": OnnxOperator(run=_depth_to_space),
    "SpaceToDepth": OnnxOperator(run=_space_to_depth),
}
