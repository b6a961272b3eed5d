"""Kernels of a layer: operators fused as a compiler would."""
