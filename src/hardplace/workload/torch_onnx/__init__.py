"""ONNX models as torch modules that the recorder can follow."""

from hardplace.workload.torch_onnx.build import onnx_module

__all__ = ["onnx_module"]
