"""Seconds of work in columns on a GPU by its fitted model: a `cost.layers.timer.Timer`.

Products take the learned correction too where the GPU has one: ranking needs it (docs/validation-shape.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hardplace.cost.collectives import Ring, collective_s
from hardplace.cost.gpu.attention import attention_s, backend_named, unfused_attention_s
from hardplace.cost.gpu.cudnn import CUDNN_FP8
from hardplace.cost.gpu.gemm import gemms, in_range
from hardplace.cost.gpu.measured import AttentionRows
from hardplace.cost.gpu.residual import corrected_gemm_s
from hardplace.cost.gpu.streams import stream_s
from hardplace.cost.gpu.types import GpuModel
from hardplace.cost.layers.timer import Timer
from hardplace.cost.layers.work import AttentionWork, CollectiveWork, GemmWork, StreamWork
from hardplace.hardware.types import Cluster
from hardplace.ndtypes import Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuTimer(Timer):
    """Prices kernels on one GPU; factors are seconds in a step over those alone.

    Attributes:
        model: Fitted model of the GPU.
        products: Factor of products.
        attentions: Factor of attention.
        streams: Factor of kernels that move bytes.
        network: Factor of collectives.
        sync_s: Seconds that ranks wait for each other at each collective.
        launch_s: Seconds of the host for each kernel.
        attention: "unfused" or a backend's name.
        fused_softmax: Unfused, of up to 2,048 keys the softmax's kernel scales and masks.
        unaligned_flops_per_s: Unfused, rate of its products at most where 8 does not divide the head dimension.
        cluster: Network of the tensor-parallel group; None: one GPU alone.
        ring: The tensor-parallel group; None: one GPU alone.
    """

    model: GpuModel
    products: float = 1.0
    attentions: float = 1.0
    streams: float = 1.0
    network: float = 1.0
    sync_s: float = 0.0
    launch_s: float = 0.0
    attention: str = "default"
    fused_softmax: bool = False
    unaligned_flops_per_s: float = math.inf
    cluster: Cluster | None = None
    ring: Ring | None = None

    @property
    def waits_s(self) -> float:
        """See Timer."""
        return self.launch_s

    def products_s(self, like: GemmWork, m: Ints, n: Ints, k: Ints) -> Floats:
        """See Timer: with the correction, where there is one."""
        (m, n, k, batch), times = in_range(m, n, k, like.batch)
        shapes = gemms(m, n, k, batch=batch, layout=like.layout, output_bytes=like.output_bytes)
        model = self.model
        return corrected_gemm_s(shapes, model.datasheet, model.gemm, model.residual) * times * self.products

    def attentions_s(self, like: AttentionWork, heads: Ints, kv_heads: Ints, head_dim: Ints) -> Floats:
        """See Timer: a window, or a share of the queries, scales the time by the work. Unfused is without dropout,
        which `StepPricer` counts (Megatron-LM's older runs)."""
        # with a window fp8's backward kernel meets every key (validation/gpu/cudnn_attention.csv)
        every = self.attention == CUDNN_FP8 and like.backward and 0 < like.window < like.keys
        whole = {"batch": like.batch, "sequence": like.keys, "causal": int(like.causal and not every)}
        whole |= {"backward": int(like.backward), "cached": 0}
        rows = AttentionRows(
            backend=("",) * len(heads),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            time_s=np.full(len(heads), np.nan),
            spread=np.full(len(heads), np.nan),
            **{name: np.full(len(heads), value, dtype=np.int64) for name, value in whole.items()},
        )
        share = like.queries / like.keys if every else like.share
        if self.attention == "unfused":
            seconds = share * unfused_attention_s(
                rows,
                self.model,
                fused_softmax=self.fused_softmax,
                unaligned_flops_per_s=self.unaligned_flops_per_s,
            )
        else:
            fitted = self.model.attention[backend_named(self.attention, self.model)]
            seconds = attention_s(rows, self.model.datasheet, fitted, share)
        return np.asarray(seconds * self.attentions)

    def moved_s(self, like: StreamWork, moved_bytes: Floats, row: Ints) -> Floats:
        """See Timer."""
        seconds = stream_s(moved_bytes, self.model.datasheet, self.model.streams[like.kind], row=row)
        return np.asarray(seconds * self.streams)

    def exchanged_s(self, like: CollectiveWork, moved_bytes: Floats) -> Floats:
        """See Timer: on the level of the network that the group lands on; nothing without a group."""
        if self.cluster is None or self.ring is None:
            return np.zeros_like(moved_bytes)
        alone = [
            collective_s(self.cluster, like.collective, self.ring.members, self.ring.stride, one)
            for one in moved_bytes.tolist()
        ]
        return np.array(alone) * self.network + self.sync_s
