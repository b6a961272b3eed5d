"""Seconds of kernels on chips with systolic arrays and vector lanes."""
