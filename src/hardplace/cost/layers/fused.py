"""Which recorded models are dense decoders that the fused kernels of `cost.layers.decoder` run as they are."""

from __future__ import annotations

from hardplace.cost.layers.decoder import block, embedding, head
from hardplace.cost.layers.work import GemmWork
from hardplace.workload.decoder import DecoderShape, Degrees
from hardplace.workload.types import Layer, Operator, OperatorKind, Phase, Recompute, Workload
from hardplace.workload.weights import shared_weights, weights_of

_SLACK = 1e-3  # share by which parameters may differ: biases and norms of variants


def decoder_of(workload: Workload) -> DecoderShape | None:
    """Return the shape of a recorded dense decoder, if its layers are exactly those of the shape; else None.

    The products of a block and of the head must be those of the shape, forward, and the parameters agree to 0.1 %.
    All are trained, and shared by none but embedding and head: their table.
    """
    order = workload.order
    if any(sum(weights_of(layer)) != weights_of(layer).parameters for layer in workload.layers):
        return None
    if len(order) < 3 or len(set(order[1:-1])) != 1 or order[0] == order[1] or order[-1] == order[1]:
        return None
    if any(edge.target != edge.source + 1 for edge in workload.edges):
        return None
    first, inner, last = (workload.layers[index] for index in (order[0], order[1], order[-1]))
    attention = _forward(inner, OperatorKind.ATTENTION)
    products, heads = _sizes(inner), _sizes(last)
    if len(attention) != 1 or not attention[0].causal or len(products) < 4 or len(heads) != 1:
        return None
    _, queries, kv_heads, length, keys, query_dim, value_dim = (size.at(1) for size in attention[0].dims)
    (rows, vocab, hidden), (_, ffn_in, ffn) = heads[0], products[-1]
    if (length, ffn_in, query_dim, rows) != (keys, hidden, value_dim, length):
        return None
    shape = DecoderShape(
        layers=len(order) - 2,
        hidden=hidden,
        heads=queries,
        kv_heads=kv_heads,
        head_dim=query_dim,
        ffn=ffn,
        vocab=vocab,
        sequence=length,
        gated=sum(1 for _, outputs, inputs in products if outputs == ffn and inputs == hidden) == 2,
        positions=first.parameters > vocab * hidden,
        window=attention[0].window,
        tied=bool(workload.shared),
    )
    shared = shared_weights(workload, workload.layers)
    if any(one.layers != (0, len(order) - 1) or one.sizes.parameters != vocab * hidden for one in shared):
        return None
    made = (embedding(shape, Degrees()), block(shape, Degrees(), Recompute.NONE), head(shape, Degrees()))
    same = all(
        abs(one.parameters - layer.parameters) <= _SLACK * layer.parameters
        for one, layer in zip(made, (first, inner, last), strict=True)
    )
    flops = [sum(one.flops for one in layer.forward if isinstance(one, GemmWork)) for layer in made[1:]]
    recorded = [sum(2.0 * m * n * k for m, n, k in sizes) for sizes in (products, heads)]
    return shape if same and flops == recorded else None


def _forward(layer: Layer, kind: OperatorKind) -> list[Operator]:
    return [one for one in layer.operators if one.phase is Phase.FORWARD and one.kind is kind]


def _sizes(layer: Layer) -> list[tuple[int, int, int]]:
    """Return (rows, outputs, inputs) of the forward products of one sample; [] if one is batched."""
    found = [tuple(size.at(1) for size in one.dims) for one in _forward(layer, OperatorKind.MATMUL)]
    return [(m, n, k) for _, m, n, k in found] if all(size[0] == 1 for size in found) else []
