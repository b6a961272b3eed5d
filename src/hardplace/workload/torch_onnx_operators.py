"""ONNX operators in torch: which function runs each; arithmetic, comparisons, reductions and products here."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from hardplace.workload.torch_onnx_layers import LAYERS
from hardplace.workload.torch_onnx_node import Node, Operator, axes_of
from hardplace.workload.torch_onnx_tensors import TENSORS

Tensor = torch.Tensor


def _unary(function: Callable[..., Tensor]) -> Operator:
    return Operator(run=lambda node, x: function(x))


def _binary(function: Callable[..., Tensor]) -> Operator:
    return Operator(run=lambda node, x, y: function(x, y), scalars=(0, 1))


def _variadic(function: Callable[..., Tensor]) -> Operator:
    return Operator(run=lambda node, *inputs: functools.reduce(function, inputs))


def _divide(node: Node, x: Any, y: Any) -> Tensor:
    """Divide; whole numbers are rounded towards zero."""
    tensor = x if isinstance(x, Tensor) else y
    if tensor.is_floating_point():
        return x / y  # type: ignore[no-any-return]
    return torch.div(torch.as_tensor(x, dtype=tensor.dtype), y, rounding_mode="trunc")


def _mod(node: Node, x: Any, y: Any) -> Tensor:
    function = torch.fmod if node.get("fmod", 0) else torch.remainder
    return function(x if isinstance(x, Tensor) else torch.full_like(y, x), y)


def _power(node: Node, x: Any, y: Any) -> Tensor:
    result = x**y
    return result.to(x.dtype) if isinstance(x, Tensor) else result  # type: ignore[no-any-return]


def _shift(node: Node, x: Tensor, y: Tensor) -> Tensor:
    signed = torch.int64 if x.dtype in (torch.uint16, torch.uint32, torch.uint64) else x.dtype
    function = torch.bitwise_left_shift if node.get("direction") == "LEFT" else torch.bitwise_right_shift
    return function(x.to(signed), y.to(signed)).to(x.dtype)


def _mean(node: Node, *inputs: Tensor) -> Tensor:
    return functools.reduce(operator.add, inputs) / len(inputs)


def _clip(node: Node, x: Tensor, low: Any = None, high: Any = None) -> Tensor:
    low = node.get("min") if low is None else low
    high = node.get("max") if high is None else high
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        x = x if low is None else torch.clamp(x, min=low)
        return x if high is None else torch.clamp(x, max=high)
    return x if low is None and high is None else torch.clamp(x, min=low, max=high)


def _cast(node: Node, x: Tensor) -> Tensor:
    return x.to(node.get("to"))


def _quick_gelu(node: Node, x: Tensor) -> Tensor:
    return x * torch.sigmoid(node.get("alpha", 1.702) * x)


def _swish(node: Node, x: Tensor) -> Tensor:
    alpha = node.get("alpha", 1.0)
    return functional.silu(x) if alpha == 1.0 else x * torch.sigmoid(alpha * x)


def _gelu(node: Node, x: Tensor) -> Tensor:
    return functional.gelu(x, approximate=node.get("approximate", "none"))


def _bias_gelu(node: Node, x: Tensor, bias: Tensor | None = None) -> Tensor:
    tanh = node.operator == "com.microsoft.FastGelu"
    return functional.gelu(x if bias is None else x + bias, approximate="tanh" if tanh else "none")


def _prelu(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, x * slope, x)


def _selu(node: Node, x: Tensor) -> Tensor:
    alpha, gamma = node.get("alpha", 1.6732632), node.get("gamma", 1.0507010)
    return gamma * torch.where(x > 0, x, alpha * torch.expm1(x))


def _shrink(node: Node, x: Tensor) -> Tensor:
    bound, bias = node.get("lambd", 0.5), node.get("bias", 0.0)
    return torch.where(x < -bound, x + bias, torch.where(x > bound, x - bias, torch.zeros_like(x)))


def _is_infinite(node: Node, x: Tensor) -> Tensor:
    negative, positive = node.get("detect_negative", 1), node.get("detect_positive", 1)
    if negative and positive:
        return torch.isinf(x)
    if not negative and not positive:
        return torch.zeros_like(x, dtype=torch.bool)
    return torch.isposinf(x) if positive else torch.isneginf(x)


def _softmax(function: Callable[..., Tensor]) -> Operator:
    """Softmax over one axis; before operator set 13 over all axes from that one on."""

    def run(node: Node, x: Tensor) -> Tensor:
        axis = node.get("axis", -1 if node.version >= 13 else 1)
        if node.version >= 13 or axis in (-1, x.dim() - 1):
            return function(x, axis)
        return function(x.flatten(axis), -1).reshape(x.shape)

    return Operator(run=run)


def _hardmax(x: Tensor, axis: int) -> Tensor:
    return torch.zeros_like(x).scatter(axis, x.argmax(axis, keepdim=True), 1.0)


def _arg(function: Callable[..., Tensor]) -> Operator:
    def run(node: Node, x: Tensor) -> Tensor:
        axis, keep = node.get("axis", 0), bool(node.get("keepdims", 1))
        if not node.get("select_last_index", 0):
            return function(x, dim=axis, keepdim=keep)
        return x.shape[axis] - 1 - function(x.flip(axis), dim=axis, keepdim=keep)

    return Operator(run=run)


def _reduce(function: Callable[..., Tensor]) -> Operator:
    """Reduce over named axes; all if none is named, or none if noop_with_empty_axes says so."""

    def run(node: Node, x: Tensor, axes: Any = None) -> Tensor:
        named = axes_of(node, axes)
        if not named and node.get("noop_with_empty_axes", 0):
            named = []
        elif not named:
            named = list(range(x.dim()))
        return function(x, [axis % max(x.dim(), 1) for axis in named], bool(node.get("keepdims", 1)))

    return Operator(run=run, values=(1,))


def _sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return torch.sum(x, axes, keepdim=keep, dtype=x.dtype) if axes else x


def _average(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    if x.is_floating_point():
        return torch.mean(x, axes, keepdim=keep) if axes else x
    return torch.div(_sum(x, axes, keep), math.prod(x.shape[axis] for axis in axes), rounding_mode="trunc")


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, axis, keepdim=keep, dtype=x.dtype)
    return x


def _extreme(function: Callable[..., Tensor]) -> Operator:
    def run(x: Tensor, axes: list[int], keep: bool) -> Tensor:
        if not axes:
            return x
        return function(x.to(torch.uint8), axes, keep).bool() if x.dtype is torch.bool else function(x, axes, keep)

    return _reduce(run)


def _gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.t() if node.get("transA", 0) else a
    b = b.t() if node.get("transB", 0) else b
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    if not a.is_floating_point():
        alpha, beta = int(alpha), int(beta)
    if c is None:
        product = a @ b
        return product if alpha == 1 else alpha * product
    return torch.addmm(c, a, b, beta=beta, alpha=alpha)


def _fused_matmul(node: Node, a: Tensor, b: Tensor) -> Tensor:
    a = a.mT if node.get("transA", 0) else a
    b = b.mT if node.get("transB", 0) else b
    alpha = node.get("alpha", 1.0)
    return a @ b if alpha == 1.0 else alpha * (a @ b)


def _cumulative(node: Node, x: Tensor, axis: Any) -> Tensor:
    where = int(axis.reshape(-1)[0])
    reverse = bool(node.get("reverse", 0))
    x = x.flip(where) if reverse else x
    total = torch.cumsum(x, where, dtype=x.dtype)
    total = total - x if node.get("exclusive", 0) else total
    return total.flip(where) if reverse else total


def _random(function: Callable[..., Tensor], low: str, high: str) -> Operator:
    """Random numbers in the shape of x; low and high name the attributes, of which only the shape matters."""

    def run(node: Node, x: Tensor) -> Tensor:
        made = function(x, dtype=node.get("dtype") or x.dtype)
        start, stop = node.get(low, 0.0), node.get(high, 1.0)
        return made * (stop if function is torch.randn_like else stop - start) + start

    return Operator(run=run)


_ARITHMETIC = {
    "Add": _binary(operator.add),
    "Sub": _binary(operator.sub),
    "Mul": _binary(operator.mul),
    "Div": Operator(run=_divide, scalars=(0, 1)),
    "Mod": Operator(run=_mod, scalars=(0, 1)),
    "Pow": Operator(run=_power, scalars=(0, 1)),
    "BitShift": Operator(run=_shift),
    "Sum": _variadic(operator.add),
    "Max": _variadic(torch.maximum),
    "Min": _variadic(torch.minimum),
    "Mean": Operator(run=_mean),
    "Equal": _binary(operator.eq),
    "Less": _binary(operator.lt),
    "LessOrEqual": _binary(operator.le),
    "Greater": _binary(operator.gt),
    "GreaterOrEqual": _binary(operator.ge),
    "And": _binary(operator.and_),
    "Or": _binary(operator.or_),
    "Xor": _binary(operator.xor),
    "BitwiseAnd": _binary(operator.and_),
    "BitwiseOr": _binary(operator.or_),
    "BitwiseXor": _binary(operator.xor),
    "Where": Operator(run=lambda node, condition, x, y: torch.where(condition, x, y)),
    "Clip": Operator(run=_clip, scalars=(1, 2)),
    "Cast": Operator(run=_cast),
    "CastLike": Operator(run=lambda node, x, like: x.to(like.dtype), outlines=(1,)),
    "IsInf": Operator(run=_is_infinite),
}

_FUNCTIONS = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "BitwiseNot": torch.bitwise_not,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Det": torch.linalg.det,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": functional.hardswish,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Mish": functional.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softplus": functional.softplus,
    "Softsign": functional.softsign,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}

_ACTIVATIONS = {
    "Celu": lambda node, x: functional.celu(x, node.get("alpha", 1.0)),
    "Elu": lambda node, x: functional.elu(x, node.get("alpha", 1.0)),
    "Gelu": _gelu,
    "HardSigmoid": lambda node, x: torch.clamp(node.get("alpha", 0.2) * x + node.get("beta", 0.5), 0.0, 1.0),
    "LeakyRelu": lambda node, x: functional.leaky_relu(x, node.get("alpha", 0.01)),
    "PRelu": _prelu,
    "Selu": _selu,
    "Shrink": _shrink,
    "Swish": _swish,
    "ThresholdedRelu": lambda node, x: functional.threshold(x, node.get("alpha", 1.0), 0.0),
    "com.microsoft.BiasGelu": _bias_gelu,
    "com.microsoft.FastGelu": _bias_gelu,
    "com.microsoft.Gelu": _gelu,
    "com.microsoft.QuickGelu": _quick_gelu,
}

_REDUCTIONS = {
    "ReduceSum": _reduce(_sum),
    "ReduceMean": _reduce(_average),
    "ReduceProd": _reduce(_product),
    "ReduceMax": _extreme(torch.amax),
    "ReduceMin": _extreme(torch.amin),
    "ReduceL1": _reduce(lambda x, axes, keep: _sum(x.abs(), axes, keep)),
    "ReduceL2": _reduce(lambda x, axes, keep: torch.sqrt(_sum(x * x, axes, keep).float()).to(x.dtype)),
    "ReduceSumSquare": _reduce(lambda x, axes, keep: _sum(x * x, axes, keep)),
    "ReduceLogSum": _reduce(lambda x, axes, keep: torch.log(_sum(x, axes, keep))),
    "ReduceLogSumExp": _reduce(lambda x, axes, keep: torch.logsumexp(x, axes, keep) if axes else x),
    "ArgMax": _arg(torch.argmax),
    "ArgMin": _arg(torch.argmin),
    "Softmax": _softmax(torch.softmax),
    "LogSoftmax": _softmax(torch.log_softmax),
    "Hardmax": _softmax(_hardmax),
    "CumSum": Operator(run=_cumulative, values=(1,)),
}

_PRODUCTS = {
    "MatMul": Operator(run=lambda node, a, b: torch.matmul(a, b)),
    "Gemm": Operator(run=_gemm),
    "Einsum": Operator(run=lambda node, *inputs: torch.einsum(node.get("equation"), *inputs)),
    "com.microsoft.FusedMatMul": Operator(run=_fused_matmul),
}

_RANDOM = {
    "RandomNormalLike": _random(torch.randn_like, "mean", "scale"),
    "RandomUniformLike": _random(torch.rand_like, "low", "high"),
}

# By name; those of com.microsoft with the domain in front.
OPERATORS: dict[str, Operator] = {
    **_ARITHMETIC,
    **{name: _unary(function) for name, function in _FUNCTIONS.items()},
    **{name: Operator(run=function) for name, function in _ACTIVATIONS.items()},
    **_REDUCTIONS,
    **_PRODUCTS,
    **_RANDOM,
    **TENSORS,
    **LAYERS,
}
