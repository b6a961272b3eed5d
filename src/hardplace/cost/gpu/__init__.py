"""GPUs that exist: times of kernels, fitted on measurements (docs/model-gpu.md)."""
