"""Times work in columns on a chip with arrays: a `cost.layers.timer.Timer` (docs/model-shape.md)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hardplace.cost.arrays.machine import ArrayMachine
from hardplace.cost.arrays.times import kernel_levels
from hardplace.cost.kernels.attention import flash_attention, plain_attention
from hardplace.cost.layers.timer import Timer
from hardplace.cost.layers.types import Layout, Stream
from hardplace.cost.layers.work import AttentionWork, CollectiveWork, GemmWork, StreamWork
from hardplace.cost.types import Engine, Kernel, Matmul
from hardplace.hardware.device import Arrays
from hardplace.ndtypes import Floats, Ints
from hardplace.workload.affine import Affine
from hardplace.workload.types import Operator, OperatorKind, Phase

# Lane-cycles an element of 16 bit that a chain moves, judged (C): a few functions each; memory is what bounds them.
_LANE_CYCLES = {Stream.NORM: 3, Stream.SOFTMAX: 4, Stream.CROSS_ENTROPY: 4, Stream.OPTIMIZER: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayTimer(Timer):
    """One chip with arrays, all of it for each kernel; collectives are left out.

    Attributes:
        machine: The chip.
        flash: Attention is one kernel.
        group_rows: Rows of a tile of a grouped product, forward and of input gradients, and of weight gradients; 0:
            each of its products stands alone.
    """

    machine: ArrayMachine
    flash: bool = True
    group_rows: tuple[int, int] = (0, 0)

    def products_s(self, like: GemmWork, m: Ints, n: Ints, k: Ints) -> Floats:
        """See Timer: edge waste, fill and drain of the arrays; traffic of memory and buffer by the best tiling."""
        batch = like.batch
        if like.ragged and self.group_rows[0]:
            batch, m, k = self._in_tiles(like, m, k)
        kernels = tuple(
            Kernel(name="", engine=Engine.TENSOR, matmuls=(Matmul(batch=batch, m=a, n=b, k=c),), tiled=True)
            for a, b, c in zip(m.tolist(), n.tolist(), k.tolist(), strict=True)
        )
        return self._seconds(kernels)

    def _in_tiles(self, like: GemmWork, m: Ints, k: Ints) -> tuple[int, Ints, Ints]:
        """Return batch, rows and depth of products whose rows stand one behind the other, as its tiles run them.

        Of M rows in E groups a kernel runs M / tile + E - 1 tiles: one that two groups share, once for each. Every
        device of the chip has its own rows of all groups.

        Source: docs/model-training.md, "Chips with arrays".
        """
        engine = self.machine.device.engine
        devices = engine.devices if isinstance(engine, Arrays) else 1

        def run(rows: Ints, tile: int) -> Ints:
            return np.asarray(np.ceil(rows / devices + tile * (1.0 - 1.0 / like.batch)).astype(np.int64))

        if like.layout is Layout.NT:
            return like.batch * devices, m, run(k, self.group_rows[1])
        return like.batch * devices, run(m, self.group_rows[0]), k

    def attentions_s(self, like: AttentionWork, heads: Ints, kv_heads: Ints, head_dim: Ints) -> Floats:
        """See Timer: of the whole sequence, and of that the share of the rank's queries."""
        made = [
            self._attention(like, *sizes)
            for sizes in zip(heads.tolist(), kv_heads.tolist(), head_dim.tolist(), strict=True)
        ]
        every = tuple(kernel for kernels in made for kernel in kernels)
        seconds = self._seconds(every).reshape(len(made), -1).sum(axis=1)  # each has as many kernels
        return np.asarray(seconds * like.queries / like.keys)

    def moved_s(self, like: StreamWork, moved_bytes: Floats, row: Ints) -> Floats:
        """See Timer: the longer of memory and lanes."""
        setting, chips = self.machine.setting, self.machine.chips
        memory_s = moved_bytes / setting.memory_bandwidth_bytes_per_s
        lanes = float(chips.vector_cores[0] * chips.vector_lanes[0]) * setting.clock_hz
        return np.asarray(np.maximum(memory_s, _LANE_CYCLES.get(like.kind, 1) * moved_bytes / 2.0 / lanes))

    def exchanged_s(self, like: CollectiveWork, moved_bytes: Floats) -> Floats:
        """See Timer: left out, a chip alone has no network."""
        return np.zeros_like(moved_bytes)

    def _attention(self, like: AttentionWork, heads: int, kv_heads: int, head_dim: int) -> tuple[Kernel, ...]:
        dims = (like.batch, heads, kv_heads, like.keys, like.keys, head_dim, head_dim)
        operator = Operator(
            name="attention",
            module="",
            kind=OperatorKind.ATTENTION,
            phase=Phase.BACKWARD if like.backward else Phase.FORWARD,
            dims=tuple(Affine(size, 0) for size in dims),
            flops=Affine(0, 0),
            reads=(),
            writes=(),
            causal=like.causal,
            window=like.window,
        )
        cycles = self.machine.setting.function_cycles
        if not self.flash:
            return plain_attention(operator, cycles, 1)
        (kernel,) = flash_attention(operator, cycles, 1)
        passes = 2 if like.backward else 1  # q, k, v, o, and the gradients of each
        streamed = passes * 2 * like.batch * head_dim * 2 * (heads + kv_heads) * like.keys
        return (replace(kernel, stream_bytes=streamed),)

    def _seconds(self, kernels: tuple[Kernel, ...]) -> Floats:
        """Return seconds of each kernel: the slowest of arrays, lanes, memory and shared buffer."""
        one = kernel_levels(kernels, self.machine.chips, self.machine.setting, precision=self.machine.precision)
        levels = (one.array_s, one.lane_s, one.memory_s, one.buffer_s)
        return np.asarray(np.max([level[:, 0] for level in levels], axis=0))
