"""Layers of a recorded model on one rank as work for a GPU: kernels after cost's fusion, collectives as recorded."""

from __future__ import annotations

from hardplace.cost.kernels.fusion import kernel_graph
from hardplace.cost.layers.stream_kind import row_of, stream_of
from hardplace.cost.layers.types import Layout, Stream
from hardplace.cost.layers.work import AttentionWork, CollectiveWork, GemmWork, LayerWork, StreamWork, Work
from hardplace.cost.types import Kernel
from hardplace.workload.memory import recomputed, saved_bytes
from hardplace.workload.types import Gradient, Layer, Operator, OperatorKind, Phase, Recompute
from hardplace.workload.weights import weights_of

_CYCLES = {"other": 1}
_WIDE = {Gradient.WGRAD: 8.0}  # added up in fp32: read and written


def layer_work(layer: Layer, micro_batch: int, recompute: Recompute) -> LayerWork:
    """Return what one rank's recorded layer gives to do (samples: micro_batch)."""
    by_phase = {phase: _phase(layer, phase, micro_batch) for phase in (Phase.FORWARD, Phase.BACKWARD)}
    chosen = set(recomputed(layer, recompute))
    again = tuple(one for members, work in by_phase[Phase.FORWARD] if chosen and set(members) <= chosen for one in work)
    kept, whole = (saved_bytes(layer, one).at(micro_batch) for one in (recompute, Recompute.NONE))
    lost = any(one.kind is OperatorKind.CROSS_ENTROPY for one in layer.operators)
    return LayerWork(
        name=layer.name,
        forward=tuple(one for _, work in by_phase[Phase.FORWARD] for one in work),
        again=again,
        backward=tuple(one for _, work in by_phase[Phase.BACKWARD] for one in work),
        **weights_of(layer)._asdict(),
        saved_bytes=0.0 if lost else float(kept),
        logits_bytes=float(kept) if lost else 0.0,
        working_bytes=float(whole - kept) if recompute is not Recompute.NONE else 0.0,
        output_bytes=float(layer.output_bytes.at(micro_batch)),
    )


def _phase(layer: Layer, phase: Phase, micro_batch: int) -> list[tuple[tuple[int, ...], tuple[Work, ...]]]:
    found = []
    for kernel in kernel_graph(layer, phase, micro_batch, _CYCLES).kernels:
        operators = [layer.operators[index] for index in kernel.operators]
        found.append((kernel.operators, tuple(_work(layer, kernel, operators, micro_batch))))
    return found


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
