"""ONNX operators in torch: which function runs each."""

from __future__ import annotations

from hardplace.workload.recording.onnx.elements import ELEMENTS
from hardplace.workload.recording.onnx.layers import LAYERS
from hardplace.workload.recording.onnx.node import OnnxOperator
from hardplace.workload.recording.onnx.reductions import PRODUCTS, REDUCTIONS
from hardplace.workload.recording.onnx.tensors import TENSORS

# By name; those of com.microsoft with the domain in front.
OPERATORS: dict[str, OnnxOperator] = {**ELEMENTS, **REDUCTIONS, **PRODUCTS, **TENSORS, **LAYERS}
