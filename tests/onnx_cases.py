"""Operators of ONNX with inputs, to be run by ONNX's own reference and by the module made of them.

Left out is where the reference (onnx 1.23) itself is wrong: Softmax before operator set 13 over more than one
axis, LRN with more channels than samples, LpNormalization p=1 of negative numbers, grouped ConvTranspose.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

_RANDOM = np.random.default_rng(7)


def f(*shape: int) -> np.ndarray:
    """Float numbers around 0."""
    return _RANDOM.normal(size=shape).astype(np.float32)


def p(*shape: int) -> np.ndarray:
    """Float numbers from 0.1 to 1."""
    return _RANDOM.uniform(0.1, 1, shape).astype(np.float32)


def n(*values: Any) -> np.ndarray:
    """Whole numbers."""
    return np.array(values, dtype=np.int64)


def s(value: float) -> np.ndarray:
    """One float number."""
    return np.array(value, dtype=np.float32)


@dataclass(frozen=True)
class Case:
    """One node; inputs of whole numbers that decide about shapes become constants of the file."""

    operator: str
    inputs: tuple[Any, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    opset: int = 17
    outputs: int = 1

    def __str__(self) -> str:
        return f"{self.operator}-{self.opset}-" + "-".join(f"{key}={value}" for key, value in self.attributes.items())


def case(operator: str, *inputs: Any, opset: int = 17, outputs: int = 1, **attributes: Any) -> Case:
    return Case(operator, inputs, attributes, opset, outputs)


B, C = f(2, 3, 4), f(3, 4) > 0
X4 = f(2, 4, 7, 6)
_UNARY = (
    "Abs Atan Ceil Cos Cosh Elu Erf Exp Floor HardSigmoid HardSwish Identity IsNaN LeakyRelu Neg Relu Round Selu "
    "Sigmoid Sign Sin Sinh Softplus Softsign Tan Tanh ThresholdedRelu Celu"
)
_BINARY = "Add Sub Mul Div Max Min Equal Less LessOrEqual Greater GreaterOrEqual Sum Mean"
_REDUCE = "Sum Mean Max Min Prod L1 L2 SumSquare LogSum LogSumExp"

CASES = [
    *[case(name, f(2, 3)) for name in _UNARY.split()],
    *[case(name, p(2, 3)) for name in ("Sqrt", "Log", "Reciprocal", "Asin", "Acos")],
    *[case(name, f(2, 3, 4), f(3, 1)) for name in _BINARY.split()],
    *[case(name, f(2, 3), s(0.5)) for name in ("Add", "Sub", "Mul", "Div", "Less", "Equal")],
    *[case(name, s(0.5), p(2, 3)) for name in ("Sub", "Div", "Greater", "Pow")],
    *[case(name, C, ~C[:1]) for name in ("And", "Or", "Xor")],
    *[case(f"Reduce{name}", p(2, 3, 4), axes=[-1, 0], keepdims=0, opset=11) for name in _REDUCE.split()],
    *[case(f"Reduce{name}", p(2, 3, 4), n(1), opset=18) for name in _REDUCE.split()],
    case("ReduceMean", f(2, 3), opset=13),
    case("ReduceSum", f(2, 3), n(), noop_with_empty_axes=1, opset=13),
    case("Not", C),
    case("Pow", p(2, 3), s(2.0)),
    case("Pow", p(2, 3), p(3)),
    case("Mod", n(7, -7, 7), n(3, 3, -3)),
    case("Mod", f(5), p(5), fmod=1),
    case("Div", n(7, -7, 9), n(2, 2, -4)),
    case("IsInf", np.array([1, np.inf, -np.inf], np.float32), detect_negative=0),
    case("Clip", f(3, 4), s(-0.5), s(0.5)),
    case("Clip", f(3, 4), None, s(0.5)),
    case("Clip", n(1, 5, 9), np.array(2), np.array(6)),
    case("Where", C, f(2, 3, 4), f(4)),
    case("Cast", f(3) * 5, to=7),
    case("Cast", n(0, 1, 2), to=9),
    case("CastLike", f(3), n(1)),
    case("PRelu", f(2, 3), p(3)),
    case("HardSigmoid", 5 * f(9), alpha=1 / 6, beta=0.5),
    case("Selu", f(5), alpha=1.5, gamma=0.9),
    case("Shrink", f(9), lambd=0.3, bias=0.1),
    case("Mish", f(5), opset=18),
    case("Gelu", f(5), opset=20),
    case("Gelu", f(5), approximate="tanh", opset=20),
    case("Swish", f(5), alpha=0.7, opset=24),
    *[case(name, f(2, 3, 4), axis=axis) for name in ("Softmax", "LogSoftmax") for axis in (1, -1)],
    case("Softmax", f(2, 3, 4), axis=2, opset=11),
    case("Softmax", f(2, 3, 4)),
    case("Hardmax", f(2, 3, 4)),
    case("ArgMax", f(3, 4), axis=1, keepdims=0),
    case("ArgMax", n(1, 3, 3), select_last_index=1),
    case("ArgMin", f(3, 4)),
    case("CumSum", f(3, 4), np.array(1)),
    case("CumSum", f(3, 4), np.array(0), exclusive=1, reverse=1),
    case("MatMul", f(2, 3, 4), f(4, 5)),
    case("MatMul", f(2, 3, 4), f(2, 4, 5)),
    case("MatMul", f(4), f(4, 5)),
    case("Gemm", f(3, 4), f(4, 5), f(5)),
    case("Gemm", f(4, 3), f(5, 4), f(3, 1), transA=1, transB=1, alpha=0.5, beta=2.0),
    case("Gemm", f(3, 4), f(4, 5), alpha=0.5),
    case("Einsum", f(2, 3, 4), f(2, 5, 4), equation="bid,bjd->bij"),
    case("Einsum", f(3, 2, 4), equation="...ij->...ji"),
    case("Shape", f(2, 3)),
    case("Shape", f(2, 3, 4), start=1, end=-1),
    case("Size", f(2, 3)),
    case("Reshape", f(2, 3, 4), n(0, -1)),
    case("Flatten", f(2, 3, 4), axis=2),
    case("Flatten", f(2, 3, 4), axis=-2),
    case("Flatten", f(2, 3), axis=0),
    case("Squeeze", f(1, 3, 1), axes=[0], opset=11),
    case("Squeeze", f(1, 3, 1), n(-1)),
    case("Squeeze", f(1, 3, 1)),
    case("Unsqueeze", f(3, 2), axes=[0, 3], opset=11),
    case("Unsqueeze", f(3, 2), n(-1, 0)),
    case("Transpose", f(2, 3, 4)),
    case("Transpose", f(2, 3, 4), perm=[1, 2, 0]),
    case("Expand", f(3, 1), n(2, 1, 4)),
    case("Tile", f(2, 3), n(2, 1)),
    case("Slice", f(5, 6), n(1, 0), n(4, 2**63 - 1), n(0, 1), n(1, 2)),
    case("Slice", f(5, 6), n(-1), n(-(2**63)), n(-1), n(-2)),
    case("Slice", f(5, 6), n(1), n(-1)),
    case("Slice", f(5, 6), n(4), n(0), n(0), n(-3)),
    case("Split", f(6, 2), split=[2, 4], opset=11, outputs=2),
    case("Split", f(2, 6), n(1, 5), axis=1, outputs=2),
    case("Split", f(6, 2), outputs=3),
    case("Split", f(7, 2), num_outputs=3, opset=18, outputs=3),
    case("Concat", f(2, 3), f(2, 1), axis=-1),
    case("Gather", f(5, 3), n([0, 4], [2, 2])),
    case("Gather", f(5, 3), n(-1, 0), axis=1),
    case("Gather", f(5, 3), np.array(2)),
    case("GatherElements", f(2, 4), n([0, -1], [2, 1]), axis=1),
    case("GatherND", f(3, 4, 2), n([0, 1], [2, -1])),
    case("GatherND", f(2, 3, 4), n([1], [2]), batch_dims=1, opset=13),
    case("ScatterElements", f(3, 4), n([0, 1], [2, 1]), f(2, 2), axis=1),
    case("ScatterElements", f(3, 4), n([0, -1]), f(1, 2), reduction="add", opset=18),
    case("ScatterND", f(4, 3), n([1], [3]), f(2, 3)),
    case("ScatterND", f(4, 3), n([1], [1]), f(2, 3), reduction="add"),
    case("ScatterND", f(4, 3), n([1], [-1]), f(2, 3), reduction="max", opset=18),
    case("Pad", f(2, 3, 4), n(0, 1, 2, 0, 0, 1)),
    case("Pad", f(2, 3, 4), n(0, 0, 1, 0, 0, 2), s(1.5)),
    case("Pad", f(1, 2, 5, 5), n(0, 0, 2, 1, 0, 0, 1, 2), mode="reflect"),
    case("Pad", f(3, 4), n(1, 0, 0, 2), mode="edge"),
    case("Pad", f(3, 4), n(2, 1), None, n(1), opset=18),
    case("ConstantOfShape", n(2, 3)),
    case("Range", np.array(1), np.array(8), np.array(3)),
    case("Range", s(1.0), s(-1.0), s(-0.25)),
    case("OneHot", n(1, -1, 0), np.array(3), f(2)),
    case("OneHot", n([1, 2]), np.array(3), f(2), axis=1),
    case("EyeLike", f(3, 4), k=1),
    case("Trilu", f(2, 4, 5)),
    case("Trilu", f(4, 5), np.array(-1), upper=0),
    case("TopK", f(3, 6), n(2), outputs=2),
    case("TopK", f(6, 3), n(2), axis=0, largest=0, outputs=2),
    case("NonZero", n([1, 0], [3, 4])),
    case("Compress", f(3, 4), np.array([True, False, True]), axis=0),
    case("DepthToSpace", f(1, 8, 2, 3), blocksize=2),
    case("DepthToSpace", f(1, 8, 2, 3), blocksize=2, mode="CRD"),
    case("SpaceToDepth", f(1, 2, 4, 6), blocksize=2),
    case("Conv", X4, f(6, 4, 3, 3), f(6), pads=[1, 1, 1, 1]),
    case("Conv", X4, f(8, 1, 3, 2), group=4, strides=[2, 1], dilations=[1, 2], pads=[1, 0, 1, 0]),
    case("Conv", X4, f(6, 4, 3, 3), f(6), pads=[1, 0, 0, 2]),
    case("Conv", X4, f(6, 4, 3, 2), auto_pad="SAME_UPPER", strides=[2, 2]),
    case("Conv", X4, f(6, 4, 3, 2), auto_pad="SAME_LOWER"),
    case("Conv", f(2, 3, 9), f(4, 3, 3), f(4), strides=[2]),
    case("Conv", f(1, 2, 4, 4, 4), f(3, 2, 2, 2, 2)),
    case("ConvTranspose", X4, f(4, 3, 2, 2), f(3), strides=[2, 2]),
    case("ConvTranspose", X4, f(4, 1, 3, 3), group=4, strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
    case("ConvTranspose", X4, f(4, 3, 3, 3), strides=[2, 2], output_shape=[14, 12], auto_pad="SAME_UPPER"),
    case("ConvTranspose", X4, f(4, 3, 3, 3), pads=[1, 0, 0, 1], dilations=[1, 2]),
    case("MaxPool", X4, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    case("MaxPool", X4, kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1),
    case("MaxPool", X4, kernel_shape=[3, 2], pads=[1, 0, 0, 1]),
    case("MaxPool", X4, kernel_shape=[2, 2], auto_pad="SAME_UPPER"),
    case("MaxPool", f(2, 3, 9), kernel_shape=[3], dilations=[2]),
    case("AveragePool", X4, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    case("AveragePool", X4, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    case("AveragePool", X4, kernel_shape=[3, 2], pads=[1, 0, 0, 1]),
    case("GlobalAveragePool", X4),
    case("GlobalMaxPool", X4),
    case("BatchNormalization", X4, f(4), f(4), f(4), p(4)),
    case("BatchNormalization", X4, f(4), f(4), f(4), p(4), training_mode=1, outputs=3),
    case("InstanceNormalization", X4, f(4), f(4)),
    case("GroupNormalization", X4, f(4), f(4), num_groups=2, opset=21),
    case("LayerNormalization", f(2, 3, 4), f(4), f(4)),
    case("LayerNormalization", f(2, 3, 4), f(3, 4), axis=1, epsilon=1e-3, outputs=3),
    case("RMSNormalization", f(2, 3, 4), f(4), opset=23),
    case("LpNormalization", p(3, 4), axis=1, p=1),
    case("MeanVarianceNormalization", X4),
    case("LRN", f(4, 4, 2, 3), size=3, alpha=0.1),
    case("LRN", f(4, 4, 2, 3), size=2, bias=2.0),
    case("Dropout", f(3, 4)),
    case("SoftmaxCrossEntropyLoss", f(3, 5), n(1, 0, 4)),
    case("Attention", f(2, 4, 3, 8), f(2, 2, 5, 8), f(2, 2, 5, 8), f(3, 5), opset=23),
    case("Attention", f(2, 4, 5, 8), f(2, 4, 5, 8), f(2, 4, 5, 8), is_causal=1, opset=23),
    case("Attention", f(2, 3, 16), f(2, 5, 8), f(2, 5, 8), q_num_heads=4, kv_num_heads=2, scale=0.3, opset=23),
    case("Attention", *[f(1, 2, 3, 4)] * 3, None, *[f(1, 2, 2, 4)] * 2, is_causal=1, softcap=2.0, opset=23, outputs=3),
    case("Attention", f(1, 2, 4, 8), f(1, 2, 6, 8), f(1, 2, 6, 8), is_causal=1, opset=23),
    case("Attention", f(1, 2, 4, 8), f(1, 2, 6, 8), f(1, 2, 6, 8), f(4, 6), is_causal=1, opset=23),
    case("Attention", f(1, 2, 4, 8), *[f(1, 2, 6, 8)] * 2, is_causal=1, left_window_size=1, opset=26),
    case("Attention", f(1, 2, 5, 8), *[f(1, 2, 5, 8)] * 2, left_window_size=1, right_window_size=2, opset=26),
    case("Attention", *[f(1, 2, 3, 4)] * 3, None, *[f(1, 2, 2, 4)] * 2, left_window_size=1, is_causal=1, opset=26),
    case("RotaryEmbedding", f(2, 4, 3, 8), f(6, 4), f(6, 4), n([0, 1, 2], [3, 4, 5]), opset=23),
    case("RotaryEmbedding", f(2, 3, 8), f(2, 3, 2), f(2, 3, 2), interleaved=1, num_heads=2, opset=23),
    *[
        case("Resize", f(1, 2, 4, 5), None, np.array([1, 1, 2, 1.5], np.float32), mode=mode, opset=13, **placing)
        for mode in ("nearest", "linear", "cubic")
        for placing in (
            {},
            {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
            {"coordinate_transformation_mode": "align_corners"},
            {"coordinate_transformation_mode": "pytorch_half_pixel", "nearest_mode": "ceil"},
        )
    ],
    case("Resize", f(1, 2, 4, 5), None, None, n(1, 2, 8, 3), mode="linear"),
    case("Resize", f(1, 1, 8, 8), None, None, n(1, 1, 3, 5), mode="linear", antialias=1, opset=18),
    case("Resize", f(1, 1, 8, 8), None, None, n(3, 4), mode="cubic", axes=[2, 3], exclude_outside=1, opset=18),
    case("Resize", f(1, 1, 8, 6), None, None, n(4, 4), axes=[2, 3], keep_aspect_ratio_policy="not_larger", opset=18),
]
