"""ONNX operators in torch: which function runs each."""

from __future__ import annotations

from hardplace.workload.torch_onnx.elements import ELEMENTS
from hardplace.workload.torch_onnx.layers import LAYERS
from hardplace.workload.torch_onnx.node import Operator
from hardplace.workload.torch_onnx.reductions import PRODUCTS, REDUCTIONS
from hardplace.workload.torch_onnx.tensors import TENSORS

# By name; those of com.microsoft with the domain in front.
OPERATORS: dict[str, Operator] = {**ELEMENTS, **REDUCTIONS, **PRODUCTS, **TENSORS, **LAYERS}
