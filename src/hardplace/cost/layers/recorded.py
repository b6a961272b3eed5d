"""Layers of a recorded model on one rank as work for a GPU: kernels after cost's fusion, collectives as recorded."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from hardplace.cost.kernels.fusion import FusedPhase, Structure, fused_phase, structure_of
from hardplace.cost.layers.stream_kind import row_of, stream_of
from hardplace.cost.layers.types import Layout, Stream
from hardplace.cost.layers.work import AttentionWork, CollectiveWork, GemmWork, LayerWork, StreamWork, Work
from hardplace.cost.types import Kernel
from hardplace.workload.memory import recomputed, saved_bytes
from hardplace.workload.types import Gradient, Layer, Operator, OperatorKind, Phase, Recompute
from hardplace.workload.weights import WeightSizes, weights_of

_CYCLES = {"other": 1}
_WIDE = {Gradient.WGRAD: 8.0}  # added up in fp32: read and written


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FusedLayer:
    """A recorded layer on one rank with its operators fused, whatever the micro-batch and the recompute.

    Attributes:
        layer: The layer.
        forward: Its forward pass.
        backward: Its backward pass.
        weights: Its weights.
    """

    layer: Layer
    forward: FusedPhase
    backward: FusedPhase
    weights: WeightSizes

    def works(self, micro_batch: int, kinds: Iterable[Recompute]) -> dict[Recompute, LayerWork]:
        """Return what the layer gives to do at a micro-batch (samples), by kind of recompute."""
        layer, forward = self.layer, _pieces(self.forward, micro_batch)
        first, backward = _joined(forward), _joined(_pieces(self.backward, micro_batch))
        lost = any(one.kind is OperatorKind.CROSS_ENTROPY for one in layer.operators)
        whole, output = saved_bytes(layer, Recompute.NONE).at(micro_batch), layer.output_bytes.at(micro_batch)
        made = saved_bytes(layer, Recompute.SELECTIVE).at(micro_batch)  # no weight gradient reads scores
        found = {}
        for kind in dict.fromkeys(kinds):
            chosen = set(recomputed(layer, kind))
            again = _joined(piece for piece in forward if chosen and set(piece[0]) <= chosen)
            kept = whole if kind is Recompute.NONE else saved_bytes(layer, kind).at(micro_batch)
            found[kind] = LayerWork(
                name=layer.name,
                forward=first,
                again=again,
                backward=backward,
                **self.weights._asdict(),
                saved_bytes=0.0 if lost else float(kept),
                logits_bytes=float(kept) if lost else 0.0,
                working_bytes=float(whole - kept) if kind is not Recompute.NONE else 0.0,
                output_bytes=float(output),
                late_bytes=0.0 if lost or kind is Recompute.NONE else max(0.0, float(made - kept)),
                logits_gradient_bytes=_logits_gradient_bytes(layer, micro_batch) if lost else 0.0,
                tensors=len(layer.trained),
            )
        return found


def _logits_gradient_bytes(layer: Layer, micro_batch: int) -> float:
    """Return the bytes of the gradient of what the loss is taken of, in 16 bit; 0 where no product made it."""
    losses = [one for one in layer.operators if one.kind is OperatorKind.CROSS_ENTROPY]
    sizes = [[side.at(micro_batch) for side in layer.tensors[one].shape] for loss in losses for one in loss.reads]
    return 2.0 * max(map(math.prod, sizes), default=0) if layer.trained else 0.0


class LayerFusion:
    """Fuses the operators of layers; of those of one structure once, whatever their sizes."""

    def __init__(self) -> None:
        self._known: dict[Structure, tuple[FusedPhase, FusedPhase]] = {}

    def of(self, layer: Layer) -> FusedLayer:
        """Return one rank's recorded layer with its operators fused."""
        structure = structure_of(layer)
        if structure not in self._known:
            self._known[structure] = fused_phase(layer, Phase.FORWARD), fused_phase(layer, Phase.BACKWARD)
        forward, backward = (replace(one, layer=layer) for one in self._known[structure])
        return FusedLayer(layer=layer, forward=forward, backward=backward, weights=weights_of(layer))


def fused_layer(layer: Layer) -> FusedLayer:
    """Return one rank's recorded layer with its operators fused."""
    return LayerFusion().of(layer)


def layer_work(layer: Layer, micro_batch: int, recompute: Recompute) -> LayerWork:
    """Return what one rank's recorded layer gives to do (samples: micro_batch)."""
    return fused_layer(layer).works(micro_batch, [recompute])[recompute]


_Piece = tuple[tuple[int, ...], tuple[Work, ...]]  # operators of a kernel, and its work


def _pieces(fused: FusedPhase, micro_batch: int) -> list[_Piece]:
    layer, found = fused.layer, []
    for kernel in fused.at(micro_batch, _CYCLES).kernels:
        operators = [layer.operators[index] for index in kernel.operators]
        found.append((kernel.operators, tuple(_work(layer, kernel, operators, micro_batch))))
    return found


def _joined(pieces: Iterable[_Piece]) -> tuple[Work, ...]:
    return tuple(one for _, work in pieces for one in work)


def _work(layer: Layer, kernel: Kernel, operators: list[Operator], micro_batch: int) -> list[Work]:
    first = operators[0]
    if first.kind is OperatorKind.COLLECTIVE:
        return [CollectiveWork(collective=kernel.collective, bytes=float(kernel.collective_bytes), group=first.group)]
    if first.kind is OperatorKind.ATTENTION:
        batch, heads, kv_heads, queries, keys, query_dim, value_dim = (size.at(micro_batch) for size in first.dims)
        return [
            AttentionWork(
                batch=batch,
                heads=heads,
                kv_heads=kv_heads,
                queries=queries,
                keys=keys,
                head_dim=(query_dim + value_dim) // 2,
                causal=first.causal,
                backward=first.phase is Phase.BACKWARD,
                window=first.window,
            )
        ]
    if not kernel.matmuls:
        kind = stream_of(operators, first.phase)
        row = row_of(operators, layer, kind, micro_batch)
        return [StreamWork(kind=kind, bytes=float(kernel.stream_bytes), row=row)]
    layout = Layout(first.layout) if first.layout else Layout.TN
    made: list[Work] = []
    grouped = first.kind is OperatorKind.GROUPED_MATMUL
    for one in kernel.matmuls:
        output_bytes = _WIDE.get(first.gradient, 2.0)
        made.append(
            GemmWork(
                m=one.m, n=one.n, k=one.k, batch=one.batch, layout=layout, output_bytes=output_bytes, grouped=grouped
            )
        )
    if kernel.tiled and kernel.stream_bytes:
        made.append(StreamWork(kind=Stream.ELEMENTWISE, bytes=float(kernel.stream_bytes)))
    return made
