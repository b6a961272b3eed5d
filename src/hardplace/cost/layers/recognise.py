"""Which decoder a recorded Workload is: sizes read off its graph, believed only if parameters and FLOPs agree."""

from __future__ import annotations

from dataclasses import replace

from hardplace.cost.layers.decoder import block, head, parameters
from hardplace.cost.layers.work import GemmWork
from hardplace.workload.decoder import DecoderShape, Degrees, Experts
from hardplace.workload.types import Gradient, Layer, Operator, OperatorKind, Phase, Recompute, Workload

_AGREE = 2e-3  # of parameters: biases of some projections are not in the shape


def shape_of_workload(workload: Workload) -> DecoderShape | None:
    """Return the decoder that a chain of embedding, equal blocks and head is; None if it is something else.

    The products' FLOPs of a block must be the shape's exactly, and its parameters within 0.2 %.
    """
    distinct = [workload.layers[index] for index in dict.fromkeys(workload.order)]
    if len(distinct) != 3 or not workload.training:
        return None
    attention = [one for one in distinct[1].operators if one.kind is OperatorKind.ATTENTION]
    if len(attention) != 2 or not attention[0].causal:
        return None
    guess = _read_off(workload, distinct[1], distinct[2], attention[0])
    if guess is None or not _same_products(guess, distinct[1], distinct[2]):
        return None
    for tied in (False, True):
        for positions in (guess.positions, False):
            shape = replace(guess, tied=tied, positions=positions)
            if abs(parameters(shape) / workload.parameters - 1.0) <= _AGREE:
                return shape
    return None


def _linears(layer: Layer, kind: OperatorKind) -> list[Operator]:
    """Return the forward products with weights, in order."""
    return [one for one in layer.operators if one.kind is kind and one.gradient is Gradient.FORWARD]


def _read_off(workload: Workload, layer: Layer, last: Layer, attention: Operator) -> DecoderShape | None:
    """Return the sizes as the order of products in a block has them: queries (and keys, values), projection, MLP."""
    _, heads, kv_heads, queries, keys, width, value = (size.at(1) for size in attention.dims)
    linears, grouped = _linears(layer, OperatorKind.MATMUL), _linears(layer, OperatorKind.GROUPED_MATMUL)
    logits = _linears(last, OperatorKind.MATMUL)
    if not linears or not logits or queries != keys or width != value:
        return None
    hidden = linears[0].dims[3].at(1)
    shape = DecoderShape(
        layers=len(workload.order) - 2,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=width,
        ffn=0,
        vocab=logits[-1].dims[2].at(1),
        sequence=queries,
        gated=True,
        window=attention.window,
    )
    if grouped:
        router = [one for one in linears if one.dims[3].at(1) == hidden][-1]
        count, rows = grouped[-1].dims[0].at(1), grouped[-1].dims[1].at(1)
        if router.dims[2].at(1) != count or rows % queries:
            return None
        chosen, wide = rows // queries, grouped[-1].dims[3].at(1)
        return replace(shape, experts=Experts(count=count, chosen=chosen, ffn=wide))
    after = [one for one in layer.operators[layer.operators.index(attention) :] if one in linears]
    ups, down = after[1:-1], after[-1]  # between the projection of attention and the MLP's last product
    wide = down.dims[3].at(1)
    gated = sum(one.dims[2].at(1) for one in ups) == 2 * wide
    return replace(shape, ffn=wide, gated=gated, positions=not gated)


def _same_products(shape: DecoderShape, layer: Layer, last: Layer) -> bool:
    """Return whether the products of block and head have the same FLOPs, forward and backward."""
    degrees = Degrees(micro_batch=1)
    for recorded, ours in ((layer, block(shape, degrees, Recompute.NONE)), (last, head(shape, degrees))):
        for phase in (Phase.FORWARD, Phase.BACKWARD):
            theirs = sum(_flops(one) for one in recorded.operators if one.phase is phase)
            if theirs != sum(work.flops for work in getattr(ours, phase.value) if isinstance(work, GemmWork)):
                return False
    return True


def _flops(operator: Operator) -> float:
    """Return the FLOPs of a product; 0 of anything else."""
    if operator.kind not in (OperatorKind.MATMUL, OperatorKind.GROUPED_MATMUL):
        return 0.0
    batch, m, n, k = (size.at(1) for size in operator.dims)
    return 2.0 * m * n * k * (batch if operator.kind is OperatorKind.MATMUL else 1)
