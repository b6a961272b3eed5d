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
    """What runs a kernel: tensor cores, vector cores, both together (a fused kernel), the network, the copy engine."""

    TENSOR = "tensor"
    VECTOR = "vector"
    BOTH = "both"
    NETWORK = "network"
    COPY = "copy"


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
class Reuse:
    """What an attention kernel streams again and again: the keys and values of each of `heads` (batch x heads).

    While resident_bytes (of one head) fit the buffer they are read once; otherwise once for each block of queries
    that fits, at row_bytes a query.
    """

    heads: int
    queries: int
    row_bytes: int
    resident_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """Operators that run as one: matmuls on tensor cores, lane-cycles on vector cores, bytes from and to memory.

    tiled: the operands of the one matmul go through memory as the buffer's tiling has it, and stream_bytes is what
    comes on top; otherwise stream_bytes is all (for attention, with keys and values read once, see reuse).
    collective_bytes: tensor bytes that an all-reduce over the tensor-parallel group takes.
    operators: which of the layer's recorded operators it runs.
    """

    name: str
    engine: Engine
    matmuls: tuple[Matmul, ...] = ()
    tiled: bool = False
    reuse: Reuse | None = None
    lane_cycles: int = 0
    stream_bytes: int = 0
    collective_bytes: int = 0
    predecessors: tuple[int, ...] = ()
    operators: tuple[int, ...] = ()


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
