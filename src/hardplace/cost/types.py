"""Nouns of the cost step: kernels, the engines that run them, and their times."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from hardplace.workload.types import Phase

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Engine(StrEnum):
    """What runs a kernel: tensor cores, vector cores, both together (a fused kernel), or the network."""

    TENSOR = "tensor"
    VECTOR = "vector"
    BOTH = "both"
    NETWORK = "network"


@dataclass(frozen=True, slots=True, kw_only=True)
class Matmul:
    """batch independent products of an (m x k) and a (k x n) matrix."""

    batch: int
    m: int
    n: int
    k: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.batch * self.m * self.n * self.k


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """Operators that run as one: matmuls on tensor cores, lane-cycles on vector cores, bytes to and from memory.

    attention kernels stream their score matrix on chip, so their traffic is traffic_bytes; for a kernel with a
    matmul, operand traffic comes from the tiling and stream_bytes is what the vector part reads and writes besides.
    """

    name: str
    engine: Engine
    matmuls: tuple[Matmul, ...] = ()
    fused_attention: bool = False
    lane_cycles: int = 0
    stream_bytes: int = 0
    collective_bytes: int = 0
    predecessors: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelGraph:
    """The kernels of one phase of one layer at one micro-batch size, in topological order."""

    layer: str
    phase: Phase
    kernels: tuple[Kernel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTimes:
    """Seconds of each kernel on each chip, shape (kernels, chips): on one core of its kind, and on all of them."""

    single_s: Floats
    whole_s: Floats
