"""The pieces that layers of a decoder are made of, each with its backward pass and what it keeps for it.

Linear layers, norms, chains as one kernel, and where tensor-parallel ranks meet, as Megatron-LM has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hardplace.cost.layers.eager import EagerKernels, rms_norm
from hardplace.cost.layers.low_precision import Cast
from hardplace.cost.layers.types import Layout, Stream
from hardplace.cost.layers.work import CollectiveWork, GemmWork, StreamWork, Work
from hardplace.cost.types import Collective
from hardplace.workload.decoder import DecoderShape, Degrees
from hardplace.workload.types import Group


def _linear(
    t: int, outputs: int, inputs: int, degrees: Degrees, *, experts: int = 0, ragged: bool = False, low: bool = True
) -> list[GemmWork]:
    """Return the forward, input-gradient and weight-gradient products of a linear layer of t rows; experts: of each of
    so many."""
    written = 2.0 * degrees.gradient_bytes if degrees.gradient_bytes == 4 else float(degrees.gradient_bytes)
    one = GemmWork(m=t, n=outputs, k=inputs, batch=max(1, experts), low=low, grouped=experts > 0, ragged=ragged)
    return [
        one,
        replace(one, n=inputs, k=outputs, layout=Layout.NN),
        replace(one, m=outputs, n=inputs, k=t, layout=Layout.NT, output_bytes=written),
    ]


# What attention over blocks of keys moves beside attention and exchange, forward and backward, in passes over 16-bit
# tensors. Ring: each step after the first, over the rank's keys, values and attention output; gathered: over keys and
# values of the whole sequence. The sum of both passes is that of Transformer Engine's benchmark over 2 and 4 H100
# (validation/attention), the fifth of it that is forward is judged. docs/model-training.md, section 2.
RING_PASSES = (3.7, 14.9)
GATHERED_PASSES = (6.6, 26.6)
_BLOCK_LAUNCHES = (8, 12)  # kernels of a block beside attention's own (C, counted in its source)


class Builder:
    """Collects the work of a layer, forward in order and backward in reverse order.

    tokens: of a micro-batch on one rank; local: those outside products, which sequence parallelism divides.
    saved_bytes: kept for the backward pass; widest_bytes: the most that one linear layer's holds for a moment.
    """

    def __init__(self, shape: DecoderShape, degrees: Degrees) -> None:
        self.shape, self.degrees = shape, degrees
        self.forward: list[Work] = []
        self.exchanged: list[Work] = []  # of `forward`, what exchanges tokens for heads and back
        self.norms: list[Work] = []  # of `forward`, the norms
        self.blocks: list[Work] = []  # of `forward`, what attention over blocks of keys adds
        self.backward: list[list[Work]] = []
        self.parameters = self.expert_parameters = self.tensors = 0
        self.saved_bytes = self.widest_bytes = self.exchange_saved_bytes = 0.0
        self.tokens = degrees.micro_batch * shape.sequence // degrees.context
        cast = degrees.low > 0.0 and not degrees.autograd
        self.kept_share = degrees.low / 2.0 if cast else 1.0  # of the bytes of a linear layer's input
        self.local = self.tokens // (degrees.tensor if degrees.sequence else 1)
        self.unfused = degrees.eager and shape.gated  # RMS norms, rotations and gated MLPs a kernel an operator
        matrices = 2 if shape.gated else 1
        self.residual_moves = 3.0 if self.unfused else 2.0  # times the residual, backward
        # Times an activation's input, forward and backward: fused, or SiLU and product with the other branch apart.
        self.activation_moves = (5.0, 9.0) if self.unfused else (matrices + 1.0, 2.0 * matrices + 1.0)

    def add(self, forward: list[Work], backward: list[Work], saved_bytes: float = 0.0) -> None:
        """Add work, its backward, and what it keeps."""
        self.forward += forward
        self.backward.append(backward)
        self.saved_bytes += saved_bytes

    @property
    def twice(self) -> float:
        """How often attention's output is kept: as it is, and in 8 bits as the projection's input."""
        return 1.0 + self.kept_share if self.kept_share < 1.0 else 1.0

    def entering_bytes(self, *, mixture: bool) -> float:
        """Return what the first products of attention and MLP keep, the norms' outputs: the rank's part, gathered again
        in the backward pass, or (autograd) what was gathered; a mixture routes the rank's part."""
        one = self.kept_share * self.degrees.activation_bytes * self.shape.hidden
        rows = self.tokens if self.degrees.autograd else self.local
        return one * (rows + (self.local if mixture else rows))

    @property
    def backward_pass(self) -> tuple[Work, ...]:
        """The work of the backward pass, last pieces first."""
        return tuple(one for piece in reversed(self.backward) for one in piece)

    def linear(
        self,
        rows: int,
        outputs: int,
        inputs: int,
        *,
        low: bool = True,
        bias: bool = False,
        matrices: int = 1,
        cast: Cast = Cast.ALONE,
        enters: bool = False,
        leaves: bool = False,
    ) -> None:
        """Add a linear layer of the rank's own size; its backward pass holds a 16-bit weight gradient, before it is
        added up, and the gradients of its input and output.

        Args:
            rows: Tokens.
            outputs: Features that the rank gives.
            inputs: Features that it takes.
            low: Whether a plan's low precision applies.
            bias: Whether it has a bias.
            matrices: Matrices side by side.
            cast: Who casts the input in low precision.
            enters: It stands behind `enter`, whose gather sends the cast input.
            leaves: It stands before `leave`, whose gather of the gradient sends it cast.
        """
        one, input_gradient, weight_gradient = _linear(rows, outputs, inputs, self.degrees, low=low)
        ranks = self.degrees.tensor if self.degrees.sequence else 1
        one = replace(one, cast=cast, gathered=ranks if enters else 1)
        input_gradient = replace(input_gradient, gathered=ranks if leaves else 1)
        self.add([one], [input_gradient, weight_gradient])
        self.parameters += outputs * inputs + (outputs if bias else 0)
        self.tensors += matrices * (2 if bias else 1)
        self._hold(2.0 * outputs * inputs + self.degrees.activation_bytes * float(rows) * (outputs + inputs))

    def expert_linear(self, copies: int, outputs: int, inputs: int, held: int, useful: float = 1.0) -> None:
        """Add a linear layer of each of the rank's `held` experts for so many copies of tokens, of which a share is
        useful; its inputs are kept, in `spare` times their rows."""
        rows, size = max(1, copies // held), self.degrees.activation_bytes
        ragged = self.shape.experts is not None and not self.shape.experts.capacity
        one, input_gradient, weight_gradient = (
            replace(product, cast=Cast.PRODUCT if self.degrees.fused_experts else Cast.ALONE, useful=useful)
            for product in _linear(rows, outputs, inputs, self.degrees, experts=held, ragged=ragged)
        )
        self.add([one], [input_gradient, weight_gradient], self.spare * self.kept_share * size * copies * inputs)
        self.expert_parameters += held * outputs * inputs
        self.tensors += held
        most = copies * (self.spare if self.degrees.worst_gradients else 1.0)
        self._hold(2.0 * held * outputs * inputs + size * most * (outputs + inputs))

    @property
    def spare(self) -> float:
        """Rows of the buffers that a mixture's exchange receives into over those of even routing: 1 where sizes go by
        what is sent, or none is; else the most that a rank could get, each of its experts' choices by every token."""
        degrees, moe = self.degrees, self.shape.experts
        if moe is None or not degrees.worst_rows or degrees.expert == 1 or moe.capacity:
            return 1.0
        return degrees.expert * min(moe.count // degrees.expert, moe.chosen) / moe.chosen

    def _hold(self, size_bytes: float) -> None:
        """Take note of bytes that a backward pass holds for a moment."""
        self.widest_bytes = np.maximum(self.widest_bytes, size_bytes)

    def moved(
        self,
        kind: Stream,
        forward_bytes: float,
        backward_bytes: float,
        row: int = 0,
        saved_bytes: float = 0.0,
        launches: int = 1,
    ) -> None:
        """Add a kernel that moves so many bytes forward and backward; row: elements of one reduction; launches: kernels
        that it stands for in each pass."""
        forward, backward = (
            StreamWork(kind=kind, bytes=one, row=row, launches=launches) for one in (forward_bytes, backward_bytes)
        )
        self.add([forward], [backward], saved_bytes)

    def norm(self) -> None:
        """Add a norm of the hidden state. Input is kept; of eager modules an fp32 copy of it (in fp32 itself), and what
        the norm gives before its weight."""
        width = self.shape.hidden
        size = self.degrees.activation_bytes * self.local * width
        copied = (size if self.degrees.wide else 4.0 * self.local * width) if self.unfused else 0.0
        self.normalised(self.local, width, size + copied)
        self.parameters += width * (1 if self.shape.gated else 2)
        self.tensors += 1 if self.shape.gated else 2

    def normalised(self, rows: int, width: int, saved_bytes: float) -> None:
        """Add the kernels of a norm: one that reads and writes, backward reads both and writes one; of eager modules
        one an operator."""
        size, before = 1.0 * self.degrees.activation_bytes * rows * width, len(self.forward)
        if self.unfused:
            self.chain(rms_norm(self.degrees.activation_bytes, wide=self.degrees.wide), 1.0 * rows * width, saved_bytes)
        else:
            self.moved(Stream.NORM, 2.0 * size, 3.0 * size, width, saved_bytes)
        self.norms += self.forward[before:]

    def chain(self, kernels: EagerKernels, elements: float, saved_bytes: float = 0.0, tensors: int = 1) -> None:
        """Add an eager module on so many elements, of so many tensors that it runs on one after the other."""
        forward, backward = (
            StreamWork(kind=Stream.ELEMENTWISE, bytes=elements * each, launches=tensors * launches)
            for each, launches in (
                (kernels.forward_bytes, kernels.forward_launches),
                (kernels.backward_bytes, kernels.backward_launches),
            )
        )
        self.add([forward], [backward], saved_bytes)

    def activation(self, one: float, saved_bytes: float, *, fused: bool = False) -> None:
        """Add an activation of `one` bytes, in a gated layer times the other branch; fused: in the product before."""
        forward, backward = (0.0 if fused else moves * one for moves in self.activation_moves)
        ahead, behind = (2, 3) if self.unfused else (1, 1)
        self.add(
            [StreamWork(kind=Stream.ELEMENTWISE, bytes=forward, launches=ahead)],
            [StreamWork(kind=Stream.ELEMENTWISE, bytes=backward, launches=behind)],
            saved_bytes,
        )

    def branches(self, rows: int, count: int) -> None:
        """Add what stands before `count` products of one input: eager modules add up its gradients, two at a time."""
        if self.unfused and count > 1:
            size = 3.0 * self.degrees.activation_bytes * rows * self.shape.hidden
            self.add([], [StreamWork(kind=Stream.ELEMENTWISE, bytes=(count - 1) * size, launches=count - 1)])

    def enter(self, *, low: bool = True) -> None:
        """Add what stands before products cut by output features: a gather with sequence parallelism, else the
        all-reduce of the input's gradient; low: whether a plan's low precision applies to them."""
        if self.degrees.tensor == 1:
            return
        size = 1.0 * self.degrees.activation_bytes * self.tokens * self.shape.hidden
        gather = CollectiveWork(collective=Collective.ALL_GATHER, bytes=size, group=Group.TENSOR, directions=int(low))
        scatter = CollectiveWork(collective=Collective.REDUCE_SCATTER, bytes=size, group=Group.TENSOR)
        reduce = CollectiveWork(collective=Collective.ALL_REDUCE, bytes=size, group=Group.TENSOR)
        if self.degrees.sequence:
            self.add([gather], [gather, scatter])  # backward gathers the input again for the weight gradient
        else:
            self.add([], [reduce])

    def exchange_heads(self, widths: Sequence[float], kept: float = 0.0) -> None:
        """Add the all-to-alls by which context ranks exchange tokens for heads, or heads for tokens, and those of the
        gradients in the backward pass.

        Each tensor is laid out anew before it is sent and after it has come, two kernels that read and write it; at the
        fullest it is there four times (Transformer Engine's flash_attn_a2a_communicate).

        Args:
            widths: Elements a token of each tensor.
            kept: Elements a token that are kept for the backward pass beside what attention keeps without an exchange.
        """
        size = 1.0 * self.degrees.activation_bytes * self.tokens
        for width in widths:
            moved = StreamWork(kind=Stream.ELEMENTWISE, bytes=4.0 * size * width, launches=2)
            sent = CollectiveWork(collective=Collective.ALL_TO_ALL, bytes=size * width, group=Group.CONTEXT)
            self.exchanged += [moved, sent]
            self.add([moved, sent], [moved, sent])
        self._hold(4.0 * size * sum(widths))
        self.exchange_saved_bytes += size * kept
        self.saved_bytes += size * kept

    def over_blocks(self, kv_width: int, out_width: int) -> None:
        """Add what context ranks that pass keys in a ring, or gather them, move beside attention and the exchange.

        Args:
            kv_width: Elements a token of keys and values.
            out_width: Elements a token of attention's output.
        """
        if not self.degrees.blocks_of_keys:
            return
        size, ranks = 1.0 * self.degrees.activation_bytes * self.tokens, self.degrees.context
        if self.degrees.whole_keys:
            blocks, each, passes = 2, ranks * size * kv_width / 2.0, GATHERED_PASSES
        else:
            blocks, each, passes = ranks - 1, size * (kv_width + out_width), RING_PASSES
        forward, backward = (
            StreamWork(kind=Stream.ELEMENTWISE, bytes=blocks * each * times, launches=blocks * launches)
            for times, launches in zip(passes, _BLOCK_LAUNCHES, strict=True)
        )
        self.blocks = [forward]
        self.add([forward], [backward])

    def leave(self) -> None:
        """Add what stands after products cut by input features: the sum, and bias, dropout and residual as a kernel;
        of eager modules the residual alone, whose gradient is added to the branch's."""
        size = 1.0 * self.degrees.activation_bytes * self.tokens * self.shape.hidden
        if self.degrees.tensor > 1:
            kinds = (Collective.REDUCE_SCATTER, Collective.ALL_GATHER)
            if self.degrees.sequence:
                one, back = (CollectiveWork(collective=kind, bytes=size, group=Group.TENSOR) for kind in kinds)
                self.add([one], [replace(back, directions=2)])  # its input's gradient reads rows, its weights' columns
            else:
                self.add([CollectiveWork(collective=Collective.ALL_REDUCE, bytes=size, group=Group.TENSOR)], [])
        own = size * self.local / self.tokens
        self.moved(Stream.ELEMENTWISE, 3.0 * own, self.residual_moves * own)
