"""Nouns of a layer's work: how operands of a GEMM lie in memory, and the kinds of kernels that only move bytes."""

from __future__ import annotations

from enum import StrEnum


class Layout(StrEnum):
    """Layout of the operands of a GEMM in memory: forward (TN), input gradient (NN), weight gradient (NT)."""

    TN = "TN"
    NN = "NN"
    NT = "NT"


class Stream(StrEnum):
    """Kind of kernel that only moves bytes, as it was measured."""

    ELEMENTWISE = "elementwise"
    NORM = "norm"
    SOFTMAX = "softmax"
    EMBEDDING = "embedding"
    EMBEDDING_BACKWARD = "embedding_backward"
    CROSS_ENTROPY = "cross_entropy"
    OPTIMIZER = "optimizer"
    DISPATCH = "dispatch"
