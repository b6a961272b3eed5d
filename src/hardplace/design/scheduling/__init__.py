"""Kernels of a layer onto the cores of a chip."""
