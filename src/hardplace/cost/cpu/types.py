"""Nouns of the CPU's cost model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuOperator:
    """An operator on a CPU: batch products of (m x k)(k x n), the bytes that it reads and writes, measured seconds.

    kind, name: as in a Workload. m, n, k: 0 where there is no product; of a convolution m output places, n output
    channels and k input channels x taps of a group; of attention m queries, n keys, k the head's width (batch: heads).
    """

    kind: str
    name: str
    batch: int
    m: int
    n: int
    k: int
    taps: int
    moved_bytes: float
    seconds: float = 0.0

    @property
    def flops(self) -> float:
        """Of the products; attention has two."""
        return 2.0 * self.batch * self.m * self.n * self.k * (2 if self.kind == "attention" else 1)
