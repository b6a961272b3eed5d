"""What one group of operators costs: its matmuls, lane-cycles and bytes, by kind (docs/model-cost.md, "Kernels")."""

from __future__ import annotations

import math
from collections.abc import Mapping

from hardplace.cost.kernels.attention import flash_attention, plain_attention
from hardplace.cost.kernels.grouping import PRODUCTS
from hardplace.cost.types import Collective, Engine, Kernel, Matmul
from hardplace.workload.linear_scan import scan_products
from hardplace.workload.operators import TRANSPOSED
from hardplace.workload.types import Gradient, Operator, OperatorKind, Phase

_REDUCING = {
    OperatorKind.REDUCTION: 1,
    OperatorKind.NORMALISATION: 2,  # mean and variance
    OperatorKind.SOFTMAX: 2,  # maximum and sum
    OperatorKind.CROSS_ENTROPY: 1,
}


def _lane_cycles(operators: list[Operator], cycles: Mapping[str, int], micro_batch: int) -> int:
    """Return vector lane-cycles: elements times the cycles of the function, by the operator's name."""
    total = 0
    for operator in operators:
        function = operator.name.split(".")[-1].removeprefix("_")
        total += operator.dims[0].at(micro_batch) * cycles.get(function, cycles["other"])
    return total


def _convolution(operator: Operator, micro_batch: int) -> tuple[Matmul, ...]:
    """Return the implicit matmuls of a convolution, a batch of them over its groups.

    Forward: positions of the output x output channels x (input channels x kernel). To the input: positions of the
    input x input channels x (output channels x those kernel points that meet an output, by the stride). To the
    weights: (input channels x kernel) x output channels x positions of the output. A backward operator that says
    neither has both. A transposed one is the gradient to the input of a plain one whose input is its output: forward
    the kernel points that meet an input, to the input all of them. The unfolded operand is not in memory: its distinct
    words are.
    """
    batch, inputs, outputs, groups, *sizes = (dim.at(micro_batch) for dim in operator.dims)
    axes = len(sizes) // 3
    image, result, kernel = (math.prod(sizes[axes * part : axes * (part + 1)]) for part in range(3))
    wide_in, wide_out = inputs // groups, outputs // groups
    image_words, result_words = batch * image * wide_in, batch * result * wide_out

    def product(m: int, n: int, k: int, words: int) -> Matmul:
        return Matmul(batch=groups, m=m, n=n, k=k, left_words=min(words, m * k))

    if operator.name.startswith(TRANSPOSED):
        forward = product(batch * result, wide_out, math.ceil(wide_in * kernel * image / result), image_words)
        to_input = product(batch * image, wide_in, wide_out * kernel, result_words)
        to_weights = product(wide_out * kernel, wide_in, batch * image, result_words)
    else:
        forward = product(batch * result, wide_out, wide_in * kernel, image_words)
        to_input = product(batch * image, wide_in, math.ceil(wide_out * kernel * result / image), result_words)
        to_weights = product(wide_in * kernel, wide_out, batch * result, image_words)
    if operator.phase is Phase.FORWARD:
        return (forward,)
    if operator.gradient is Gradient.WGRAD:
        return (to_weights,)
    return (to_input,) if operator.gradient is Gradient.DGRAD else (to_input, to_weights)


def _products(operator: Operator, micro_batch: int) -> tuple[Matmul, ...]:
    """Return the matmuls of a product; groups of a grouped one are taken as equally large."""
    if operator.kind is OperatorKind.CONVOLUTION:
        return _convolution(operator, micro_batch)
    batch, m, n, k = (dim.at(micro_batch) for dim in operator.dims)
    if operator.kind is OperatorKind.GROUPED_MATMUL:
        # The rows of all groups are m; in the gradient to the weights they are what is summed over.
        if operator.gradient is Gradient.WGRAD:
            return (Matmul(batch=batch, m=m, n=n, k=math.ceil(k / batch)),)
        return (Matmul(batch=batch, m=math.ceil(m / batch), n=n, k=k),)
    return (Matmul(batch=batch, m=m, n=n, k=k),)


def _scan(operator: Operator, cycles: Mapping[str, int], micro_batch: int) -> Kernel:
    """Return a state-space scan: chunks as matmuls (Dao and Gu 2024, section 6), or element by element if chunk is 1.

    A chunk of q steps: scores C B^T a group (q x q x state), masked scores times inputs (q x q x head), the chunk's
    state B^T x (state x q x head), and the carried state's part C h (q x state x head), all a head. On the lanes:
    the decays of the mask (exp, product) and the recurrence over chunks. Backward: the forward again and two
    products for each one. Linear attention and the delta rule: the products of hardplace.workload.linear_scan.
    """
    batch, length, heads, head, groups, state, chunk = (dim.at(micro_batch) for dim in operator.dims)
    times = 3 if operator.phase is Phase.BACKWARD else 1
    if chunk <= 1:
        # h = exp(dt A) h + dt B x; y = C h: exp, three products, two sums for each state of each channel.
        lane_cycles = times * batch * length * heads * head * state * (cycles.get("exp", cycles["other"]) + 5)
        return Kernel(name=operator.module or operator.name, engine=Engine.VECTOR, lane_cycles=lane_cycles)
    chunks = batch * math.ceil(length / chunk)
    mask = chunks * heads * chunk * chunk * (cycles.get("exp", cycles["other"]) + 2)
    lane_cycles = times * (mask + chunks * heads * head * state * 2)
    products = scan_products(operator.name, (batch, length, heads, head, groups, state, chunk), backward=times == 3)
    if products:
        matmuls = tuple(Matmul(batch=one.batch, m=one.m, n=one.n, k=one.k) for one in products)
        name = operator.module or operator.name
        return Kernel(name=name, engine=Engine.BOTH, matmuls=matmuls, lane_cycles=lane_cycles)
    forward = (
        Matmul(batch=chunks * groups, m=chunk, n=chunk, k=state),
        Matmul(batch=chunks * heads, m=chunk, n=head, k=chunk),
        Matmul(batch=chunks * heads, m=state, n=head, k=chunk),
        Matmul(batch=chunks * heads, m=chunk, n=head, k=state),
    )
    return Kernel(
        name=operator.module or operator.name, engine=Engine.BOTH, matmuls=forward * times, lane_cycles=lane_cycles
    )


def _collective(operator: Operator, micro_batch: int) -> Kernel:
    """Return a collective's kernel by the operator's name; what is none of the known ones counts as an all-reduce."""
    name = operator.name.split(".")[-1]
    known = next((one for one in Collective if one.value in name), Collective.ALL_REDUCE)
    volume = operator.dims[0].at(micro_batch)
    return Kernel(name=operator.name, engine=Engine.NETWORK, collective=known, collective_bytes=volume)


def _label(operators: list[Operator]) -> str:
    """Return a short name: where the kernel comes from and what it is."""
    first = operators[0]
    what = first.gradient.value if first.kind is OperatorKind.MATMUL else first.name.split(".")[-1]
    more = f" +{len(operators) - 1}" if len(operators) > 1 else ""
    return f"{first.module or first.kind.value} {what}{more}"


def kernels_of(
    operators: list[Operator], cycles: Mapping[str, int], micro_batch: int, *, flash: bool
) -> tuple[Kernel, ...]:
    """Return the kernels of one group, predecessors among themselves; a single one is still without stream bytes."""
    first = operators[0]
    if first.kind is OperatorKind.ATTENTION:
        return flash_attention(first, cycles, micro_batch) if flash else plain_attention(first, cycles, micro_batch)
    if first.kind is OperatorKind.COLLECTIVE:
        return (_collective(first, micro_batch),)
    if first.kind is OperatorKind.SCAN:
        return (_scan(first, cycles, micro_batch),)
    vector = [operator for operator in operators if operator.kind not in PRODUCTS]
    lane_cycles = _lane_cycles(vector, cycles, micro_batch)
    reductions = sum(_REDUCING.get(operator.kind, 0) for operator in vector)
    matmuls = _products(first, micro_batch) if first.kind in PRODUCTS else ()
    if first.depth_wise:
        lane_cycles, matmuls = lane_cycles + sum(one.macs for one in matmuls), ()
    alone = Engine.TENSOR if matmuls and not lane_cycles else Engine.VECTOR
    return (
        Kernel(
            name=_label(operators),
            engine=Engine.BOTH if matmuls and lane_cycles else alone,
            matmuls=matmuls,
            tiled=bool(matmuls),
            lane_cycles=lane_cycles,
            reductions=reductions,
        ),
    )
