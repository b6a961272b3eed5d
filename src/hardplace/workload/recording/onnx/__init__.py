"""ONNX models as torch modules that the recorder can follow."""

from hardplace.workload.recording.onnx.build import onnx_module
from hardplace.workload.recording.onnx.step import step_of_onnx

__all__ = ["onnx_module", "step_of_onnx"]
