"""TODO."""

from __future__ import annotations

from enum import StrEnum


class Layout(StrEnum):
    """How the operands of a GEMM lie in memory: forward (TN), input gradient (NN), weight gradient (NT)."""

    TN = "TN"
    NN = "NN"
    NT = "NT"


class Stream(StrEnum):
    """Kinds of kernels that only move bytes."""

    ELEMENTWISE = "elementwise"
    NORM = "norm"
    SOFTMAX = "softmax"
    EMBEDDING = "embedding"
    EMBEDDING_BACKWARD = "embedding_backward"
    CROSS_ENTROPY = "cross_entropy"
    OPTIMIZER = "optimizer"
    DISPATCH = "dispatch"
