"""Seconds of a layer's work on a GPU and a cluster: kernels by their models, collectives on the level they land on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from hardplace.cost.collectives import collective_s
from hardplace.cost.gpu.attention import attention_s, attention_shapes, backend_named, unfused_attention_s
from hardplace.cost.gpu.gemm import LAYOUTS, Gemms, gemm_s
from hardplace.cost.gpu.streams import Stream, stream_s
from hardplace.cost.gpu.types import GpuModel
from hardplace.cost.gpu.work import Attending, Exchange, Moved, Product, Work
from hardplace.cost.types import Collective
from hardplace.hardware.types import Cluster
from hardplace.workload.types import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiencies:
    """What a training step reaches of what its kernels take alone; 1 and 0 where nothing was fitted.

    kernels: seconds of products and attention in a step over the sum of their seconds alone (clocks of a loaded chip,
    gaps). streams: the same of kernels that move bytes (chains that a framework does not fuse). low_rate: GEMMs in fp8
    over bf16's rate, casts included. network: seconds of a collective over those of the model of the network. hidden:
    share of compute behind which data-parallel traffic can hide. contention: seconds by which compute is slowed for a
    second of traffic beside it (NCCL takes multiprocessors and memory bandwidth). host_s: of the host for each kernel; a
    layer's pass takes at least its kernels times this.
    """

    kernels: float = 1.0
    streams: float = 1.0
    low_rate: float = 1.6
    network: float = 1.0
    hidden: float = 1.0
    contention: float = 0.0
    host_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """A group of ranks: how many, and devices from one to the next."""

    members: int
    stride: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """Where a piece of work's time goes: matrix products, attention, kernels that move bytes, collectives, waits
    for the host."""

    products_s: float = 0.0
    attention_s: float = 0.0
    streams_s: float = 0.0
    exchange_s: float = 0.0
    host_s: float = 0.0

    @property
    def total_s(self) -> float:
        """All of it, one after the other."""
        return self.products_s + self.attention_s + self.streams_s + self.exchange_s + self.host_s

    @property
    def compute_s(self) -> float:
        """All but the collectives."""
        return self.products_s + self.attention_s + self.streams_s + self.host_s

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(
            products_s=self.products_s + other.products_s,
            attention_s=self.attention_s + other.attention_s,
            streams_s=self.streams_s + other.streams_s,
            exchange_s=self.exchange_s + other.exchange_s,
            host_s=self.host_s + other.host_s,
        )

    def __mul__(self, times: float) -> Seconds:
        return Seconds(
            products_s=self.products_s * times,
            attention_s=self.attention_s * times,
            streams_s=self.streams_s * times,
            exchange_s=self.exchange_s * times,
            host_s=self.host_s * times,
        )


@dataclass(slots=True, kw_only=True)
class Pricer:
    """Prices work on one GPU; every distinct kernel once, kept for the next call.

    low: products that allow it run in fp8. flash: attention as one kernel (backend: whose), else unfused.
    """

    model: GpuModel
    efficiencies: Efficiencies
    low: bool = False
    flash: bool = True
    backend: str = "default"
    _known: dict[Product | Attending, float] = field(default_factory=dict)
    _moved: dict[tuple[Stream, float, int], float] = field(default_factory=dict)

    def seconds(self, work: Iterable[Work], cluster: Cluster, groups: Mapping[Group, Ring]) -> Seconds:
        """Return the seconds of work, one after the other; groups: the ranks that join each kind of collective."""
        listed = tuple(work)
        self._price({one for one in listed if isinstance(one, Product | Attending) and one not in self._known})
        found = {"products_s": 0.0, "attention_s": 0.0, "streams_s": 0.0, "exchange_s": 0.0}
        for one in listed:
            match one:
                case Product():
                    rate = self.efficiencies.low_rate if self.low and one.low else 1.0
                    found["products_s"] += self._known[one] / rate
                case Attending():
                    found["attention_s"] += self._known[one]
                case Moved():
                    found["streams_s"] += self.moved_s(one.kind, one.bytes, one.row)
                case Exchange():
                    found["exchange_s"] += self.exchange_s(one.collective, one.bytes, cluster, groups[one.group])
        for part in ("products_s", "attention_s"):
            found[part] *= self.efficiencies.kernels
        waits_s = max(0.0, len(listed) * self.efficiencies.host_s - sum(found.values()))
        return Seconds(**found, host_s=waits_s)

    def moved_s(self, kind: Stream, moved_bytes: float, row: int = 0) -> float:
        """Return seconds of a kernel that only moves bytes, as a step reaches them."""
        key = (kind, moved_bytes, row)
        if key not in self._moved:
            alone_s = stream_s(kind, moved_bytes, self.model.datasheet, self.model.streams[kind], row=row)
            self._moved[key] = float(alone_s)
        return self._moved[key] * self.efficiencies.streams

    def exchange_s(self, collective: Collective, moved_bytes: float, cluster: Cluster, ring: Ring) -> float:
        """Return seconds of a collective, as a step reaches them."""
        alone_s = collective_s(cluster, collective, ring.members, ring.stride, moved_bytes)
        return alone_s * self.efficiencies.network

    def _price(self, fresh: set[Product | Attending]) -> None:
        products = [one for one in fresh if isinstance(one, Product)]
        if products:
            shapes = Gemms(
                **{
                    name: np.array([getattr(one, name) for one in products], dtype=np.int64)
                    for name in ("m", "n", "k", "batch")
                },
                layout=np.array([LAYOUTS.index(one.layout) for one in products], dtype=np.int64),
                output_bytes=np.array([one.output_bytes for one in products]),
            )
            times = gemm_s(shapes, [(self.model.datasheet, self.model.gemm)])[:, 0]
            self._known.update(zip(products, times.tolist(), strict=True))
        for one in fresh:
            if isinstance(one, Attending):
                self._known[one] = self._attending_s(one)

    def _attending_s(self, one: Attending) -> float:
        """Return seconds of attention over the whole sequence, in the share of it that the rank's queries and window
        leave."""
        rows = attention_shapes(
            batch=one.batch,
            sequence=one.keys,
            heads=one.heads,
            head_dim=one.head_dim,
            kv_heads=one.kv_heads,
            causal=one.causal,
            backward=one.backward,
        )
        share = one.queries / one.keys
        if one.window and one.window < one.keys:
            inside = one.window / one.keys
            share *= inside * (2.0 - inside) if one.causal else inside
        if not self.flash:
            return float(unfused_attention_s(rows, self.model)[0]) * share
        fitted = self.model.attention[backend_named(self.backend, self.model)]
        return float(attention_s(rows, self.model.datasheet, fitted)[0]) * share
