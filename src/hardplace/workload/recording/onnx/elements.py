"""ONNX operators on elements: arithmetic, comparisons, activations."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from hardplace.workload.recording.onnx.node import OnnxNode, OnnxOperator


def _unary(function: Callable[..., torch.Tensor]) -> OnnxOperator:
    return OnnxOperator(run=lambda node, x: function(x))


def _binary(function: Callable[..., torch.Tensor]) -> OnnxOperator:
    return OnnxOperator(run=lambda node, x, y: function(x, y), scalars=(0, 1))


def _variadic(function: Callable[..., torch.Tensor]) -> OnnxOperator:
    return OnnxOperator(run=lambda node, *inputs: functools.reduce(function, inputs))


def _divide(node: OnnxNode, x: Any, y: Any) -> torch.Tensor:
    """Divide; whole numbers are rounded towards zero."""
    tensor = x if isinstance(x, torch.Tensor) else y
    if tensor.is_floating_point():
        return x / y
    return torch.div(torch.as_tensor(x, dtype=tensor.dtype), y, rounding_mode="trunc")


def _mod(node: OnnxNode, x: Any, y: Any) -> torch.Tensor:
    function = torch.fmod if node.get("fmod", 0) else torch.remainder
    return function(x if isinstance(x, torch.Tensor) else torch.full_like(y, x), y)


def _power(node: OnnxNode, x: Any, y: Any) -> torch.Tensor:
    result = x**y
    return result.to(x.dtype) if isinstance(x, torch.Tensor) else result


def _shift(node: OnnxNode, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    signed = torch.int64 if x.dtype in (torch.uint16, torch.uint32, torch.uint64) else x.dtype
    function = torch.bitwise_left_shift if node.get("direction") == "LEFT" else torch.bitwise_right_shift
    return function(x.to(signed), y.to(signed)).to(x.dtype)


def _mean(node: OnnxNode, *inputs: torch.Tensor) -> torch.Tensor:
    return functools.reduce(operator.add, inputs) / len(inputs)


def _clip(node: OnnxNode, x: torch.Tensor, low: Any = None, high: Any = None) -> torch.Tensor:
    low = node.get("min") if low is None else low
    high = node.get("max") if high is None else high
    if isinstance(low, torch.Tensor) or isinstance(high, torch.Tensor):
        x = x if low is None else torch.clamp(x, min=low)
        return x if high is None else torch.clamp(x, max=high)
    if low is None or high is None or not x.is_floating_point():
        return x if low is None and high is None else torch.clamp(x, min=low, max=high)
    return functional.hardtanh(x, low, high)  # its backward pass is one operator: this is how ReLU6 is exported


def _cast(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
    return x.to(node.get("to"))


def _quick_gelu(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(node.get("alpha", 1.702) * x)


def _swish(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
    alpha = node.get("alpha", 1.0)
    return functional.silu(x) if alpha == 1.0 else x * torch.sigmoid(alpha * x)


def _gelu(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
    return functional.gelu(x, approximate=node.get("approximate", "none"))


def _bias_gelu(node: OnnxNode, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    tanh = node.operator == "com.microsoft.FastGelu"
    return functional.gelu(x if bias is None else x + bias, approximate="tanh" if tanh else "none")


def _prelu(node: OnnxNode, x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    return torch.where(x < 0, x * slope, x)


def _selu(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
    alpha, gamma = node.get("alpha", 1.6732632), node.get("gamma", 1.0507010)
    if math.isclose(alpha, 1.6732632, rel_tol=1e-6) and math.isclose(gamma, 1.0507010, rel_tol=1e-6):
        return functional.selu(x)
    return gamma * torch.where(x > 0, x, alpha * torch.expm1(x))


def _hard_sigmoid(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return functional.hardsigmoid(x)
    return torch.clamp(alpha * x + beta, 0.0, 1.0)


def _shrink(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
    bound, bias = node.get("lambd", 0.5), node.get("bias", 0.0)
    return torch.where(x < -bound, x + bias, torch.where(x > bound, x - bias, torch.zeros_like(x)))


def _is_infinite(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
    negative, positive = node.get("detect_negative", 1), node.get("detect_positive", 1)
    if negative and positive:
        return torch.isinf(x)
    if not negative and not positive:
        return torch.zeros_like(x, dtype=torch.bool)
    return torch.isposinf(x) if positive else torch.isneginf(x)


def _random(function: Callable[..., torch.Tensor], low: str, high: str) -> OnnxOperator:
    """Random numbers in the shape of x; low and high name the attributes that move and stretch them."""

    def run(node: OnnxNode, x: torch.Tensor) -> torch.Tensor:
        made = function(x, dtype=node.get("dtype") or x.dtype)
        start, stop = node.get(low, 0.0), node.get(high, 1.0)
        return made * (stop if function is torch.randn_like else stop - start) + start

    return OnnxOperator(run=run)


_ARITHMETIC = {
    "Add": _binary(operator.add),
    "Sub": _binary(operator.sub),
    "Mul": _binary(operator.mul),
    "Div": OnnxOperator(run=_divide, scalars=(0, 1)),
    "Mod": OnnxOperator(run=_mod, scalars=(0, 1)),
    "Pow": OnnxOperator(run=_power, scalars=(0, 1)),
    "BitShift": OnnxOperator(run=_shift),
    "Sum": _variadic(operator.add),
    "Max": _variadic(torch.maximum),
    "Min": _variadic(torch.minimum),
    "Mean": OnnxOperator(run=_mean),
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
    "Where": OnnxOperator(run=lambda node, condition, x, y: torch.where(condition, x, y)),
    "Clip": OnnxOperator(run=_clip, scalars=(1, 2)),
    "Cast": OnnxOperator(run=_cast),
    "CastLike": OnnxOperator(run=lambda node, x, like: x.to(like.dtype), outlines=(1,)),
    "IsInf": OnnxOperator(run=_is_infinite),
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

_ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "Celu": lambda node, x: functional.celu(x, node.get("alpha", 1.0)),
    "Elu": lambda node, x: functional.elu(x, node.get("alpha", 1.0)),
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
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

_RANDOM = {
    "RandomNormalLike": _random(torch.randn_like, "mean", "scale"),
    "RandomUniformLike": _random(torch.rand_like, "low", "high"),
}

ELEMENTS: dict[str, OnnxOperator] = {
    **_ARITHMETIC,
    **{name: _unary(function) for name, function in _FUNCTIONS.items()},
    **{name: OnnxOperator(run=function) for name, function in _ACTIVATIONS.items()},
    **_RANDOM,
}
