"""Seconds of work whose sizes are columns: a layer of many shapes at once, each distinct kernel priced once.

`cost.layers.decoder` gives such work for a shape of columns. What prices it is a Timer: of a GPU by its fitted
model (`cost.gpu.timer`), of a chip with arrays (`cost.arrays.timer`), or, here, by the roofline alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hardplace.cost.layers.work import AttentionWork, CollectiveWork, GemmWork, StreamWork, Work
from hardplace.errors import BadInput
from hardplace.ndtypes import Floats, Ints
from hardplace.workload.decoder import LARGEST

_BITS = 21  # of a size in a packed key: sizes reach 2^20
Sizes = tuple[Ints, ...]


class Timer(ABC):
    """Prices kernels on one device; every method takes columns of one length and returns seconds of that length."""

    @property
    def waits_s(self) -> float:
        """Return the seconds of the host for each kernel: a pass takes at least its kernels times this."""
        return 0.0

    @abstractmethod
    def products_s(self, like: GemmWork, m: Ints, n: Ints, k: Ints) -> Floats:
        """Return seconds of products of these sizes; batch, layout and bytes of the result are those of `like`."""

    def listed_s(self, products: Sequence[GemmWork]) -> Floats:
        """Return seconds of products of single sizes, shape (len(products),)."""
        alike: dict[tuple[object, ...], list[int]] = {}
        for index, one in enumerate(products):
            alike.setdefault((one.batch, one.layout, one.output_bytes, one.grouped, one.ragged), []).append(index)
        found = np.zeros(len(products))
        for rows in alike.values():
            sizes = np.array([(products[row].m, products[row].n, products[row].k) for row in rows], dtype=np.int64)
            found[rows] = self.products_s(products[rows[0]], sizes[:, 0], sizes[:, 1], sizes[:, 2])
        return found

    @abstractmethod
    def attentions_s(self, like: AttentionWork, heads: Ints, kv_heads: Ints, head_dim: Ints) -> Floats:
        """Return seconds of attention of these heads; the rest is of `like`."""

    @abstractmethod
    def moved_s(self, like: StreamWork, moved_bytes: Floats, row: Ints) -> Floats:
        """Return seconds of kernels that move so many bytes; row: elements of one reduction."""

    @abstractmethod
    def exchanged_s(self, like: CollectiveWork, moved_bytes: Floats) -> Floats:
        """Return seconds of collectives of so many bytes on one rank."""


def kernels_s(work: Iterable[Work], timer: Timer, length: int) -> Floats:
    """Return seconds of each kernel of work in columns of this length (or of single sizes), shape (kernels, length)."""
    return np.array([_kernel_s(one, timer, length) for one in work]).reshape(-1, length)


def pass_s(work: Sequence[Work], timer: Timer, length: int) -> Floats:
    """Return seconds of one pass over work, shape (length,): of its kernels, or of the host if that is more."""
    launches = sum(one.batch if isinstance(one, GemmWork) and one.grouped else 1 for one in work)
    return np.asarray(np.maximum(kernels_s(work, timer, length).sum(axis=0), timer.waits_s * launches))


def _kernel_s(one: Work, timer: Timer, length: int) -> Floats:
    match one:
        case GemmWork():
            return _distinct_s(lambda m, n, k: timer.products_s(one, m, n, k), (one.m, one.n, one.k), length)
        case AttentionWork():
            sizes = (one.heads, one.kv_heads, one.head_dim)
            return _distinct_s(lambda a, kv, d: timer.attentions_s(one, a, kv, d), sizes, length)
        case StreamWork():
            moved = np.broadcast_to(np.asarray(one.bytes, dtype=np.float64), length)
            return timer.moved_s(one, moved, np.broadcast_to(np.asarray(one.row, dtype=np.int64), length))
        case CollectiveWork():
            values, which = np.unique(np.asarray(one.bytes, dtype=np.float64), return_inverse=True)
            return np.broadcast_to(timer.exchanged_s(one, values)[which.reshape(-1)], length)


def _distinct_s(price: Callable[..., Floats], sizes: Sequence[npt.ArrayLike], length: int) -> Floats:
    """Return price(*sizes), asked for distinct sizes only; sizes below 2^21."""
    rows = [np.asarray(size, dtype=np.int64).reshape(-1) for size in sizes]
    largest = max(int(row.max()) for row in rows)
    if largest > LARGEST:
        raise BadInput(
            f"a kernel of size {largest}: expected at most {LARGEST}: a smaller micro-batch, sequence or width"
        )
    most = max(len(row) for row in rows)
    rows = [np.broadcast_to(row, most) for row in rows]
    key = (rows[0] << 2 * _BITS) | (rows[1] << _BITS) | rows[2]
    _, first, which = np.unique(key, return_index=True, return_inverse=True)
    return np.broadcast_to(price(*(row[first] for row in rows))[which.reshape(-1)], length)


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline(Timer):
    """The longer of operations at the peak and bytes at the bandwidth: all that a datasheet says; no network."""

    flops_per_s: float
    bytes_per_s: float

    def products_s(self, like: GemmWork, m: Ints, n: Ints, k: Ints) -> Floats:
        """See Timer: operands are read and the result is written once."""
        macs = 1.0 * like.batch * m * n * k
        moved = like.batch * (2.0 * (m * k + n * k) + like.output_bytes * m * n)
        return np.asarray(np.maximum(2.0 * macs / self.flops_per_s, moved / self.bytes_per_s))

    def attentions_s(self, like: AttentionWork, heads: Ints, kv_heads: Ints, head_dim: Ints) -> Floats:
        """See Timer: two products forward, five backward, half of the scores if causal; q, k, v, o once each way."""
        scores = 1.0 * like.batch * heads * like.queries * like.keys * (0.5 if like.causal else 1.0)
        flops = (10.0 if like.backward else 4.0) * scores * head_dim
        moved = (4.0 if like.backward else 2.0) * like.batch * head_dim
        moved = moved * (2.0 * heads * like.queries + 2.0 * kv_heads * like.keys)
        return np.asarray(np.maximum(flops / self.flops_per_s, moved / self.bytes_per_s))

    def moved_s(self, like: StreamWork, moved_bytes: Floats, row: Ints) -> Floats:
        """See Timer."""
        return np.asarray(moved_bytes / self.bytes_per_s)

    def exchanged_s(self, like: CollectiveWork, moved_bytes: Floats) -> Floats:
        """See Timer: left out."""
        return np.zeros_like(moved_bytes)
