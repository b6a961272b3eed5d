"""Which recorded models are decoders: one recogniser, by whose shape `cost.layers.decoder` lays out their kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hardplace.cost.layers.decoder import block, embedding, head
from hardplace.cost.layers.work import GemmWork, LayerWork
from hardplace.workload.decoder import DecoderShape, Degrees, Experts, Latent
from hardplace.workload.types import Layer, Operator, OperatorKind, Phase, Recompute, Workload
from hardplace.workload.weights import WeightSizes, shared_weights, weights_of

_SLACK = 1e-3  # share by which parameters may differ: biases and norms of variants
_BOTH = 2  # kinds of block: without experts, then with them
_OF_NORMS = (OperatorKind.NORMALISATION, OperatorKind.REDUCTION)  # as one operator, or the mean of squares in it


def decoder_of(workload: Workload) -> DecoderShape | None:
    """Return the shape of a recorded decoder, if its layers are exactly those of the shape; else None.

    Blocks are all dense, all mixtures of experts, or dense ones before mixtures; attention is plain or latent. The
    products of each block and of the head must be those of the shape, forward, and the parameters agree to 0.1 %. All
    are trained, and shared by none but embedding and head: their table.
    """
    order = workload.order
    if not all(_trained(weights_of(layer)) for layer in workload.layers):
        return None
    if len(order) < 3 or order[0] in order[1:] or order[-1] in order[:-1]:
        return None
    if any(edge.target != edge.source + 1 for edge in workload.edges):
        return None
    kinds = list(dict.fromkeys(order[1:-1]))
    dense = order[1:-1].count(kinds[0]) if len(kinds) == _BOTH else 0
    if len(kinds) > _BOTH or (dense and set(order[1 : 1 + dense]) != {kinds[0]}):
        return None
    inner = [workload.layers[index] for index in kinds]
    first, last = workload.layers[order[0]], workload.layers[order[-1]]
    shape = _shape(inner, first, last, dense, len(order) - 2)
    if shape is not None:
        shape, shared = replace(shape, tied=bool(workload.shared)), shared_weights(workload, workload.layers)
        table = shape.vocab * shape.hidden
        if any(one.layers != (0, len(order) - 1) or one.sizes.parameters != table for one in shared):
            return None
    return shape if shape is not None and _agrees(shape, inner, dense, first, last) else None


def _shape(inner: Sequence[Layer], first: Layer, last: Layer, dense: int, layers: int) -> DecoderShape | None:
    """Return the shape that the order of the products of the blocks says, not yet compared with them."""
    attention, heads = _forward(inner[-1], OperatorKind.ATTENTION), _sizes(last)
    if len(attention) != 1 or not attention[0].causal or len(heads) != 1:
        return None
    _, queries, kv_heads, length, keys, query_dim, value_dim = (size.at(1) for size in attention[0].dims)
    (rows, vocab, hidden), products = heads[0], _sizes(inner[-1])
    if (length, rows) != (keys, length) or not products:
        return None
    shape = DecoderShape(
        layers=layers,
        hidden=hidden,
        heads=queries,
        kv_heads=kv_heads,
        head_dim=query_dim,
        ffn=0,
        vocab=vocab,
        sequence=length,
        gated=True,
        positions=first.parameters > vocab * hidden,
        window=attention[0].window,
    )
    grouped = _forward(inner[-1], OperatorKind.GROUPED_MATMUL)
    if dense and (not grouped or _forward(inner[0], OperatorKind.GROUPED_MATMUL)):
        return None
    if query_dim != value_dim:
        latent = _latent(products, queries, query_dim, value_dim, hidden)
        if latent is None:
            return None
        shape = replace(shape, latent=latent)
    plain = _sizes(inner[0]) if dense or not grouped else []
    if plain:
        shape = replace(_with_mlp(shape, plain), normed=_is_normed(inner[0]))
    return _with_experts(shape, products, grouped, dense) if grouped else shape


def _with_mlp(shape: DecoderShape, products: Sequence[tuple[int, int, int]]) -> DecoderShape:
    ffn = products[-1][2]
    ups = sum(1 for _, outputs, inputs in products if outputs == ffn and inputs == shape.hidden)
    return replace(shape, ffn=ffn, gated=ups == 2)


def _is_normed(layer: Layer) -> bool:
    """Return whether a norm comes after the last product of a dense block, so that its backward pass needs the output
    of that product."""
    forward = [one for one in layer.operators if one.phase is Phase.FORWARD]
    last = max(place for place, one in enumerate(forward) if one.kind is OperatorKind.MATMUL)
    return any(one.kind in _OF_NORMS for one in forward[last:])


def _latent(
    products: Sequence[tuple[int, int, int]], heads: int, query_dim: int, value_dim: int, hidden: int
) -> Latent | None:
    """Return the ranks of latent attention: queries down and up (or at once), keys and values down, and up."""
    queries = [one for one, (_, outputs, _) in enumerate(products) if outputs == heads * query_dim]
    if not queries or queries[0] > 1 or len(products) < queries[0] + 3:
        return None
    query = products[queries[0]][2] if queries[0] else 0
    (_, down, inputs), (_, up, rank) = products[queries[0] + 1 : queries[0] + 3]
    rope, nope = down - rank, query_dim - (down - rank)
    if inputs != hidden or up != heads * (nope + value_dim):
        return None
    return Latent(query=query, key_value=rank, nope=nope, rope=rope, value=value_dim)


def _with_experts(
    shape: DecoderShape, products: Sequence[tuple[int, int, int]], grouped: Sequence[Operator], dense: int
) -> DecoderShape | None:
    """Return the shape with its mixture: the last grouped product is the experts' second, what comes after the router
    among the plain ones is the shared expert."""
    count, rows, outputs, ffn = (size.at(1) for size in grouped[-1].dims)
    routers = [index for index, (_, wide, inputs) in enumerate(products) if (wide, inputs) == (count, shape.hidden)]
    if outputs != shape.hidden or rows % shape.sequence or not routers:
        return None
    after = products[routers[-1] + 1 :]
    experts = Experts(
        count=count,
        chosen=rows // shape.sequence,
        ffn=ffn,
        shared_ffn=after[-1][2] if after else 0,
        dense_layers=dense,
    )
    return replace(shape, experts=experts)


def _agrees(shape: DecoderShape, inner: Sequence[Layer], dense: int, first: Layer, last: Layer) -> bool:
    """Return whether parameters and products of embedding, blocks and head are the shape's."""
    whole = Degrees()
    blocks = [block(shape, whole, Recompute.NONE, number) for number in ((0, dense) if dense else (0,))]
    made = (embedding(shape, whole), *blocks, head(shape, whole))
    pairs = list(zip(made, (first, *inner, last), strict=True))
    same = all(
        abs(one.parameters + one.expert_parameters - layer.parameters) <= _SLACK * layer.parameters
        for one, layer in pairs
    )
    return same and all(_flops(one) == _recorded_flops(layer) for one, layer in pairs[1:])


def _trained(sizes: WeightSizes) -> bool:
    """Return whether all but a router's bias (a number an expert, updated by rule) has a gradient."""
    whole = sizes.parameters + sizes.expert_parameters
    return sum(sizes) - whole <= _SLACK * 1e-3 * whole


def _flops(layer: LayerWork) -> float:
    return sum(one.flops for one in layer.forward if isinstance(one, GemmWork))


def _recorded_flops(layer: Layer) -> float:
    """Return the FLOPs of a recorded layer's forward products; -1 where a plain one is batched."""
    plain = _forward(layer, OperatorKind.MATMUL)
    if any(one.dims[0].at(1) != 1 for one in plain):
        return -1.0
    sizes = [tuple(size.at(1) for size in one.dims) for one in plain]
    grouped = [tuple(size.at(1) for size in one.dims) for one in _forward(layer, OperatorKind.GROUPED_MATMUL)]
    return sum(2.0 * m * n * k for _, m, n, k in (*sizes, *grouped))


def _forward(layer: Layer, kind: OperatorKind) -> list[Operator]:
    return [one for one in layer.operators if one.phase is Phase.FORWARD and one.kind is kind]


def _sizes(layer: Layer) -> list[tuple[int, int, int]]:
    """Return (rows, outputs, inputs) of the plain forward products of one sample; [] if one is batched."""
    found = [tuple(size.at(1) for size in one.dims) for one in _forward(layer, OperatorKind.MATMUL)]
    return [(m, n, k) for _, m, n, k in found] if all(size[0] == 1 for size in found) else []
