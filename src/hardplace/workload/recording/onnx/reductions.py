"""ONNX operators that combine elements: reductions, softmax, products of matrices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from hardplace.workload.recording.onnx.node import OnnxNode, OnnxOperator, axes_of


def _softmax(function: Callable[..., torch.Tensor]) -> OnnxOperator:
    """Softmax over one axis; before operator set 13 over all axes from that one on."""

    def run(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
        axis = node.get("axis", -1 if node.version >= 13 else 1)
        if node.version >= 13 or axis in (-1, x.dim() - 1):
            return function(x, axis)
        return function(x.flatten(axis), -1).reshape(x.shape)

    return OnnxOperator(run=run)


def _hardmax(x: torch.Tensor, axis: int) -> torch.Tensor:
    return torch.zeros_like(x).scatter(axis, x.argmax(axis, keepdim=True), 1.0)


def _arg(function: Callable[..., torch.Tensor]) -> OnnxOperator:
    def run(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
        axis, keep = node.get("axis", 0), bool(node.get("keepdims", 1))
        if not node.get("select_last_index", 0):
            return function(x, dim=axis, keepdim=keep)
        return x.shape[axis] - 1 - function(x.flip(axis), dim=axis, keepdim=keep)

    return OnnxOperator(run=run)


def _reduce(function: Callable[..., torch.Tensor]) -> OnnxOperator:
    """Reduce over named axes; all if none is named, or none if noop_with_empty_axes says so."""

    def run(node: OnnxNode, x: torch.Tensor, axes: Any = None) -> torch.Tensor:
        named = axes_of(node, axes)
        if not named and node.get("noop_with_empty_axes", 0):
            named = []
        elif not named:
            named = list(range(x.dim()))
        return function(x, [axis % max(x.dim(), 1) for axis in named], bool(node.get("keepdims", 1)))

    return OnnxOperator(run=run, values=(1,))


def _sum(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    return torch.sum(x, axes, keepdim=keep, dtype=x.dtype) if axes else x


def _average(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    if x.is_floating_point():
        return torch.mean(x, axes, keepdim=keep) if axes else x
    return torch.div(_sum(x, axes, keep), math.prod(x.shape[axis] for axis in axes), rounding_mode="trunc")


def _product(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, axis, keepdim=keep, dtype=x.dtype)
    return x


def _length(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    total = _sum(x * x, axes, keep)
    return torch.sqrt(total) if x.is_floating_point() else torch.sqrt(total.double()).to(x.dtype)


def _extreme(function: Callable[..., torch.Tensor]) -> OnnxOperator:
    def run(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
        if not axes:
            return x
        return function(x.to(torch.uint8), axes, keep).bool() if x.dtype is torch.bool else function(x, axes, keep)

    return _reduce(run)


def _gemm(node: OnnxNode, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
    a = a.t() if node.get("transA", 0) else a
    b = b.t() if node.get("transB", 0) else b
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    if not a.is_floating_point():
        alpha, beta = int(alpha), int(beta)
    if c is None:
        product = a @ b
        return product if alpha == 1 else alpha * product
    return torch.addmm(c, a, b, beta=beta, alpha=alpha)


def _fused_matmul(node: OnnxNode, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a = a.mT if node.get("transA", 0) else a
    b = b.mT if node.get("transB", 0) else b
    alpha = node.get("alpha", 1.0)
    return a @ b if alpha == 1.0 else alpha * (a @ b)


def _cumulative(node: OnnxNode, x: torch.Tensor, axis: Any) -> torch.Tensor:
    where = int(axis.reshape(-1)[0])
    reverse = bool(node.get("reverse", 0))
    x = x.flip(where) if reverse else x
    total = torch.cumsum(x, where, dtype=x.dtype)
    total = total - x if node.get("exclusive", 0) else total
    return total.flip(where) if reverse else total


REDUCTIONS: dict[str, OnnxOperator] = {
    "ReduceSum": _reduce(_sum),
    "ReduceMean": _reduce(_average),
    "ReduceProd": _reduce(_product),
    "ReduceMax": _extreme(torch.amax),
    "ReduceMin": _extreme(torch.amin),
    "ReduceL1": _reduce(lambda x, axes, keep: _sum(x.abs(), axes, keep)),
    "ReduceL2": _reduce(_length),
    "ReduceSumSquare": _reduce(lambda x, axes, keep: _sum(x * x, axes, keep)),
    "ReduceLogSum": _reduce(lambda x, axes, keep: torch.log(_sum(x, axes, keep))),
    "ReduceLogSumExp": _reduce(lambda x, axes, keep: torch.logsumexp(x, axes, keep) if axes else x),
    "ArgMax": _arg(torch.argmax),
    "ArgMin": _arg(torch.argmin),
    "Softmax": _softmax(torch.softmax),
    "LogSoftmax": _softmax(torch.log_softmax),
    "Hardmax": _softmax(_hardmax),
    "CumSum": OnnxOperator(run=_cumulative, values=(1,)),
}

PRODUCTS: dict[str, OnnxOperator] = {
    "MatMul": OnnxOperator(run=lambda node, a, b: torch.matmul(a, b)),
    "Gemm": OnnxOperator(run=_gemm),
    "Einsum": OnnxOperator(run=lambda node, *inputs: torch.einsum(node.get("equation"), *inputs)),
    "com.microsoft.FusedMatMul": OnnxOperator(run=_fused_matmul),
}
