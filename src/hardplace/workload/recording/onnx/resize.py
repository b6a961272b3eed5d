"""ONNX Resize in torch, all modes but cropping: torch's own interpolation where it computes the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from hardplace.workload.recording.onnx.node import OnnxNode, whole

Array = np.ndarray[Any, Any]

_PLACINGS = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric")
_ROUNDINGS: dict[str, Callable[..., Array]] = {
    "round_prefer_floor": lambda places: np.ceil(places - 0.5),
    "round_prefer_ceil": lambda places: np.floor(places + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}
_LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}


@dataclass(frozen=True, slots=True)
class _Axis:
    """One resized axis: its number, sizes before and after, and the scale that places pixels."""

    axis: int
    size: int
    to: int
    scale: float


def resize(
    node: OnnxNode, x: torch.Tensor, roi: Array | None = None, scales: Any = None, sizes: Any = None
) -> torch.Tensor:
    """Resize the axes of x that change; ValueError for a mode that is not read."""
    axes = [axis for axis in _axes(node, x, scales, sizes) if axis.to != axis.size or axis.scale != 1.0]
    mode, placing = node.get("mode", "nearest"), node.get("coordinate_transformation_mode", "half_pixel")
    if mode not in ("nearest", "linear", "cubic") or placing not in _PLACINGS:
        raise ValueError(f"mode {mode} with coordinate_transformation_mode {placing} cannot be read")
    if not axes:
        return x
    if mode == "nearest":
        return _nearest(node, x, axes)
    if _as_torch(node, x, axes):
        shape = [next((axis.to for axis in axes if axis.axis == place), x.shape[place]) for place in range(2, x.dim())]
        name = "bicubic" if mode == "cubic" else _LINEAR[x.dim()]
        corners = node.get("coordinate_transformation_mode") == "align_corners"
        return functional.interpolate(x, shape, mode=name, align_corners=corners)
    for axis in axes:
        x = _weighted(x, axis, *_taps(node, axis))
    return x


def _axes(node: OnnxNode, x: torch.Tensor, scales: Array | None, sizes: Array | None) -> list[_Axis]:
    named = node.get("axes") or list(range(x.dim()))
    if sizes is None or sizes.size == 0:
        factors = [float(scale) for scale in (np.empty(0) if scales is None else scales)]
        wanted = [math.floor(x.shape[axis] * scale) for axis, scale in zip(named, factors, strict=True)]
    else:
        wanted = whole(sizes) or []
        factors = [to / x.shape[axis] for axis, to in zip(named, wanted, strict=True)]
        policy = node.get("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            factors = [min(factors) if policy == "not_larger" else max(factors)] * len(factors)
            wanted = [math.floor(factors[0] * x.shape[axis] + 0.5) for axis in named]
    return [
        _Axis(axis % x.dim(), x.shape[axis], to, scale) for axis, to, scale in zip(named, wanted, factors, strict=True)
    ]


def _sources(node: OnnxNode, axis: _Axis) -> Array:
    """Return where in the input each output pixel lies."""
    mode = node.get("coordinate_transformation_mode", "half_pixel")
    places, long = np.arange(axis.to, dtype=np.float64), axis.scale * axis.size
    if mode == "align_corners":
        return places * 0.0 if long == 1 else places * (axis.size - 1) / (long - 1)
    if mode == "asymmetric":
        return places / axis.scale
    if mode == "pytorch_half_pixel" and long == 1:
        return places * 0.0 - 0.5
    shift = axis.size / 2 * (1 - axis.to / long) if mode == "half_pixel_symmetric" else 0.0
    return shift + (places + 0.5) / axis.scale - 0.5


def _nearest(node: OnnxNode, x: torch.Tensor, axes: list[_Axis]) -> torch.Tensor:
    rounding = _ROUNDINGS[node.get("nearest_mode", "round_prefer_floor")]
    indices = [np.clip(rounding(_sources(node, axis)), 0, axis.size - 1).astype(np.int64) for axis in axes]
    own = [np.array_equal(found, np.arange(axis.to) * axis.size // axis.to) for found, axis in zip(indices, axes)]  # noqa: B905
    if all(own) and x.dim() in _LINEAR and min(axis.axis for axis in axes) > 1:
        shape = list(x.shape[2:])
        for axis in axes:
            shape[axis.axis - 2] = axis.to
        return functional.interpolate(x, shape, mode="nearest")
    for found, axis in zip(indices, axes, strict=True):
        x = torch.index_select(x, axis.axis, torch.tensor(found.tolist(), device=x.device))
    return x


def _as_torch(node: OnnxNode, x: torch.Tensor, axes: list[_Axis]) -> bool:
    """Return whether torch.nn.functional.interpolate computes what the node says."""
    mode, placing = node.get("mode"), node.get("coordinate_transformation_mode", "half_pixel")
    if node.get("antialias", 0) or min(axis.axis for axis in axes) < 2:
        return False
    if any(axis.to != axis.scale * axis.size or (axis.to == 1 and placing != "half_pixel") for axis in axes):
        return False
    if placing not in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        return False
    if mode == "linear":
        return x.dim() in _LINEAR
    return x.dim() == 4 and node.get("cubic_coeff_a", -0.75) == -0.75 and not node.get("exclude_outside", 0)


def _taps(node: OnnxNode, axis: _Axis) -> tuple[Array, Array]:
    """Return which input pixels each output pixel reads, and their weights: both (output size, taps)."""
    cubic = node.get("mode") == "cubic"
    shrink = min(axis.scale, 1.0) if node.get("antialias", 0) else 1.0
    reach = math.ceil((2 if cubic else 1) / shrink)
    sources = _sources(node, axis)[:, None]
    places = np.floor(sources) + np.arange(1 - reach, reach + 1)[None, :]
    distances = np.abs(places - sources) * shrink
    weights = _cubic(distances, node.get("cubic_coeff_a", -0.75)) if cubic else np.clip(1 - distances, 0, 1)
    if node.get("exclude_outside", 0):
        weights = weights * ((places >= 0) & (places < axis.size))
    weights = weights / weights.sum(1, keepdims=True)
    return np.clip(places, 0, axis.size - 1).astype(np.int64), weights


def _cubic(distance: Array, a: float) -> Array:
    """Return the weights of cubic convolution (Keys 1981, equation 15)."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


def _weighted(x: torch.Tensor, axis: _Axis, places: Array, weights: Array) -> torch.Tensor:
    total: torch.Tensor | None = None
    shape = [-1] + [1] * (x.dim() - 1 - axis.axis)
    for tap in range(places.shape[1]):
        index = torch.tensor(places[:, tap].tolist(), device=x.device)
        factor = torch.tensor(weights[:, tap].tolist(), dtype=x.dtype, device=x.device).reshape(shape)
        part = torch.index_select(x, axis.axis, index) * factor
        total = part if total is None else total + part
    if total is None:
        raise ValueError("no pixels to read")
    return total
