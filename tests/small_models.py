"""Random models of a few layers, twice: as a Workload for the package, and as kernels by hand for an oracle.

Layers are one product with an activation, or two with one between, with a norm before or what comes in added behind;
one may read two layers, one may share its first weight with another. What each kernel does is written from
docs/model-cost.md ("Kernels", "Fusion") and, for tensor parallelism, docs/model-workload.md ("Parallel versions").
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from hardplace.workload.affine import Affine
from hardplace.workload.types import (
    Edge,
    Gradient,
    Holder,
    Layer,
    Operator,
    OperatorKind,
    Phase,
    Storage,
    StorageRole,
    Tensor,
    Workload,
)
from oracles_chip import Work

# Lane-cycles an element of the setting hbm3, forward and backward.
ACTIVATIONS = {
    "relu": (1, "threshold_backward", 1),
    "gelu": (30, "gelu_backward", 44),
    "silu": (13, "silu_backward", 17),
}
NORM = (6, 10)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A layer of width `hidden`: inner 0 has one product. added: what comes in is added to what leaves; joins: a second
    tensor is added to what comes in."""

    hidden: int
    inner: int = 0
    activation: str = ""
    norm: bool = False
    added: bool = False
    joins: bool = False

    @property
    def weights(self) -> int:
        return 2 * self.hidden * self.inner if self.inner else self.hidden**2

    @property
    def parameters(self) -> int:
        return self.weights + (2 * self.hidden if self.norm else 0)

    def held(self, tensor: int) -> int:
        """Return the parameters of one rank: products are cut, a norm is whole."""
        return self.weights // tensor + (2 * self.hidden if self.norm else 0)

    def saved_bytes(self, rows: int, tensor: int) -> int:
        """Return what backward reads of forward: what comes in (or its norm too), the activation's input and result."""
        wide = 2 * rows * self.hidden
        total = wide if not self.joins or self.norm else 0
        total += wide if self.joins else 0
        if self.norm:
            total += wide + 2 * 2 * rows
        if self.inner:
            total += 2 * (2 * rows * self.inner // tensor)
        elif self.activation:
            total += wide
        return total - (wide if self.joins and self.norm else 0)

    def forward(self, rows: int, tensor: int) -> tuple[Work, ...]:
        wide, inner = 2 * rows * self.hidden, self.inner // tensor
        found: list[Work] = []

        def add(**fields: object) -> None:
            found.append(Work(after=(len(found) - 1,) if found else (), **fields))  # type: ignore[arg-type]

        if self.joins and self.norm:  # one chain of lanes: the sum is kept for the way back
            cycles = rows * self.hidden * (1 + NORM[0])
            add(lane_cycles=cycles, reductions=2, stream_bytes=4 * wide + 2 * 2 * rows + 2 * 2 * self.hidden)
        elif self.joins:
            add(lane_cycles=rows * self.hidden, stream_bytes=3 * wide)
        elif self.norm:
            cycles = rows * self.hidden * NORM[0]
            add(lane_cycles=cycles, reductions=2, stream_bytes=2 * wide + 2 * 2 * rows + 2 * 2 * self.hidden)
        if self.inner:
            cycles = rows * inner * ACTIVATIONS[self.activation][0]
            add(product=(rows, inner, self.hidden), lane_cycles=cycles, stream_bytes=2 * rows * inner)
            more = {"lane_cycles": rows * self.hidden, "stream_bytes": wide} if self.added else {}
            add(product=(rows, self.hidden, inner), **more)
            if tensor > 1:
                add(reduced_bytes=wide)
        else:
            cycles, extra = 0, 0
            if self.activation:
                cycles, extra = rows * self.hidden * ACTIVATIONS[self.activation][0], wide
            if self.added:  # what came in is the product's operand too, unless a norm is between
                cycles, extra = cycles + rows * self.hidden, extra + (wide if self.norm else 0)
            add(product=(rows, self.hidden, self.hidden), lane_cycles=cycles, stream_bytes=extra)
        return tuple(found)

    def backward(self, rows: int, tensor: int) -> tuple[Work, ...]:
        wide, inner = 2 * rows * self.hidden, self.inner // tensor
        into = self.added and not self.norm  # the sum of both ways back is the last product's epilogue
        found: list[Work] = []
        if self.inner:
            cycles = rows * inner * ACTIVATIONS[self.activation][2]
            found.append(Work(product=(rows, inner, self.hidden), lane_cycles=cycles, stream_bytes=2 * rows * inner))
            found.append(Work(product=(self.hidden, inner, rows)))
            ready: tuple[int, ...] = (0,)
            found.append(Work(product=(inner, self.hidden, rows), after=ready))
        else:
            ready = ()
            if self.activation:
                cycles = rows * self.hidden * ACTIVATIONS[self.activation][2]
                found.append(Work(lane_cycles=cycles, stream_bytes=3 * wide))
                ready = (0,)
            found.append(Work(product=(self.hidden, self.hidden, rows), after=ready))
        depth = inner or self.hidden
        operand = not self.inner and not self.activation  # the gradient that arrived is the product's operand too
        more = {"lane_cycles": rows * self.hidden, "stream_bytes": 0 if operand else wide} if into else {}
        found.append(Work(product=(rows, self.hidden, depth), after=ready, **more))  # type: ignore[arg-type]
        last = len(found) - 1
        if tensor > 1:
            found.append(Work(reduced_bytes=wide, after=(last,)))
            last += 1
        if self.norm:
            cycles = rows * self.hidden * NORM[1]
            streamed = 3 * wide + 2 * 2 * rows + 3 * 2 * self.hidden
            if self.added:
                cycles, streamed = cycles + rows * self.hidden, streamed + wide
            found.append(Work(lane_cycles=cycles, reductions=2, stream_bytes=streamed, after=(last,)))
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model by hand. handed: (source, target) of the tensors between positions, each read by the next one.

    tied: positions that share their first weight.
    """

    workload: Workload
    blocks: tuple[Block, ...]
    order: tuple[int, ...]
    tokens: int
    handed: tuple[tuple[int, int], ...]
    tied: tuple[int, ...]


class _Recorder:
    """Writes a layer down operator by operator, as a recording has it."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.storages: list[Storage] = []
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self.saved: set[int] = set()

    def tensor(self, role: StorageRole, *shape: Affine) -> int:
        rows, *rest = shape
        count = Affine(rows.constant, rows.factor)
        for size in rest:
            count = Affine(count.constant * size.constant, count.factor * size.constant)
        parameters = count.constant if role is StorageRole.PARAMETER else 0
        self.storages.append(Storage(role=role, bytes=Affine(2 * count[0], 2 * count[1]), parameters=parameters))
        self.tensors.append(Tensor(storage=len(self.storages) - 1, shape=shape, dtype="bfloat16"))
        return len(self.tensors) - 1

    def made(self, *shape: Affine) -> int:
        return self.tensor(StorageRole.ACTIVATION, *shape)

    def turned(self, tensor: int, phase: Phase, module: str) -> int:
        old = self.tensors[tensor]
        self.tensors.append(Tensor(storage=old.storage, shape=old.shape[::-1], dtype=old.dtype))
        self.run("permute", OperatorKind.VIEW, phase, (), [tensor], [len(self.tensors) - 1], module, axes=(1, 0))
        return len(self.tensors) - 1

    def run(
        self, name: str, kind: OperatorKind, phase: Phase, dims: tuple[Affine, ...], reads: list[int],
        writes: list[int], module: str = "", **fields: object,
    ) -> None:  # fmt: skip
        if phase is Phase.BACKWARD:
            forward = {one for done in self.operators if done.phase is Phase.FORWARD for one in done.writes}
            forward |= {
                number
                for number, one in enumerate(self.tensors)
                if self.storages[one.storage].role is StorageRole.INPUT and number in self.inputs
            }
            self.saved |= {
                self.tensors[one].storage
                for one in reads
                if one in forward and self.storages[self.tensors[one].storage].role is not StorageRole.PARAMETER
            }
        flops = fields.pop("flops", Affine(0, 0))
        self.operators.append(
            Operator(
                name=name,
                module=module,
                kind=kind,
                phase=phase,
                dims=dims,
                flops=flops,  # type: ignore[arg-type]
                reads=tuple(reads),
                writes=tuple(writes),
                **fields,  # type: ignore[arg-type]
            )
        )

    inputs: tuple[int, ...] = ()

    def product(self, left: int, right: int, phase: Phase, module: str, gradient: Gradient) -> int:
        (m, k), (_, n) = self.tensors[left].shape, self.tensors[right].shape
        role = StorageRole.GRADIENT if gradient is Gradient.WGRAD else StorageRole.ACTIVATION
        result = self.tensor(role, m, n)
        layout = {Gradient.FORWARD: "TN", Gradient.DGRAD: "NN", Gradient.WGRAD: "NT"}[gradient]
        once, each = [one.constant for one in (m, n, k) if one.constant], [one.factor for one in (m, n, k)]
        flops = Affine(0, 2 * max(each) * once[0] * once[1])
        self.run("mm", OperatorKind.MATMUL, phase, (Affine(1, 0), m, n, k), [left, right], [result], module,
                 gradient=gradient, layout=layout, flops=flops)  # fmt: skip
        return result


def recorded(block: Block, tokens: int) -> tuple[Layer, int]:
    """Return a block as a recording, and the storage of its first weight."""
    on = _Recorder(tokens)
    rows, hidden = Affine(0, tokens), Affine(block.hidden, 0)
    elements = Affine(0, tokens * block.hidden)
    forward, backward = Phase.FORWARD, Phase.BACKWARD
    taken = [on.tensor(StorageRole.INPUT, rows, hidden) for _ in range(1 + block.joins)]
    on.inputs = tuple(taken)
    start = taken[0]
    if block.joins:
        start = on.made(rows, hidden)
        on.run("add", OperatorKind.ELEMENTWISE, forward, (elements,), taken, [start])
    x = start
    parameters: list[int] = []
    scale: list[int] = []
    marks: list[int] = []
    if block.norm:
        scale = [on.tensor(StorageRole.PARAMETER, hidden) for _ in range(2)]
        x = on.made(rows, hidden)
        marks = [on.made(rows, Affine(1, 0)) for _ in range(2)]
        on.run("native_layer_norm", OperatorKind.NORMALISATION, forward, (elements,), [start, *scale], [x, *marks],
               "norm", axes=(1,))  # fmt: skip
    sizes = [Affine(block.inner, 0), hidden] if block.inner else [hidden]
    ways: list[tuple[int, int]] = []  # what goes into each product, and its weight
    between = (-1, -1)  # what the activation reads, and its result
    value = x
    for number, out in enumerate(sizes):
        weight = on.tensor(StorageRole.PARAMETER, out, on.tensors[value].shape[1])
        parameters.append(weight)
        ways.append((value, weight))
        module = f"fc{number}"
        turned = on.turned(weight, forward, module)
        value = on.product(value, turned, forward, module, Gradient.FORWARD)
        if block.activation and number == 0:
            shape = on.tensors[value].shape
            result = on.made(*shape)
            count = Affine(0, shape[0].factor * shape[1].constant)
            on.run(block.activation, OperatorKind.ELEMENTWISE, forward, (count,), [value], [result], "act")
            between = (value, result)
            value = result
    if block.added:
        result = on.made(rows, hidden)
        on.run("add", OperatorKind.ELEMENTWISE, forward, (elements,), [start, value], [result])
        value = result
    left = on.tensors[value].storage
    gradient = arrived = on.tensor(StorageRole.INPUT, rows, hidden)
    gradients: list[int] = []
    for number in reversed(range(len(sizes))):
        if number == 0 and between[0] >= 0:
            shape = on.tensors[between[0]].shape
            result = on.made(*shape)
            count = Affine(0, shape[0].factor * shape[1].constant)
            name = ACTIVATIONS[block.activation][1]
            on.run(name, OperatorKind.ELEMENTWISE, backward, (count,), [gradient, between[0]], [result], "act")
            gradient = result
        read, weight = ways[number]
        module = f"fc{number}"
        turned = on.turned(gradient, backward, module)
        gradients.append(on.product(turned, read, backward, module, Gradient.WGRAD))
        gradient = on.product(gradient, weight, backward, module, Gradient.DGRAD)
    if block.norm:
        result = on.made(rows, hidden)
        of_scale = [on.tensor(StorageRole.GRADIENT, hidden) for _ in range(2)]
        on.run("native_layer_norm_backward", OperatorKind.NORMALISATION, backward, (elements,),
               [gradient, start, *marks, scale[0]], [result, *of_scale], "norm", axes=(1,))  # fmt: skip
        gradients += of_scale
        gradient = result
    if block.added:
        result = on.made(rows, hidden)
        on.run("add", OperatorKind.ELEMENTWISE, backward, (elements,), [arrived, gradient], [result])
    trained = [*parameters, *scale]
    on.run("adamw", OperatorKind.OPTIMIZER, Phase.OPTIMIZER, (Affine(block.parameters, 0),), [*trained, *gradients],
           trained, "optimizer")  # fmt: skip
    layer = Layer(
        name=f"block {block.hidden} {block.inner}", storages=tuple(on.storages), tensors=tuple(on.tensors),
        operators=tuple(on.operators), saved=tuple(sorted(on.saved)),
        inputs=tuple(on.tensors[one].storage for one in taken), outputs=(left,),
    )  # fmt: skip
    return layer, on.tensors[parameters[0]].storage


def random_model(rng: random.Random, name: str, *, wide: bool) -> Model:
    """Return a model of one to five layers of up to three kinds. wide: one that two ranks can share."""
    hidden, tokens = rng.choice((32, 64, 96)), rng.choice((16, 32, 64))
    pick: Callable[..., int] = rng.choice

    def block(*, joins: bool) -> Block:
        inner = pick((64, 128, 192)) if wide or rng.random() < 0.6 else 0
        activation = rng.choice(list(ACTIVATIONS)) if inner or rng.random() < 0.5 else ""
        return Block(hidden=hidden, inner=inner, activation=activation, norm=rng.random() < 0.3, joins=joins,
                     added=not wide and rng.random() < 0.3)  # fmt: skip

    length = rng.randint(1, 5)
    joined = rng.randrange(2, length) if length > 2 and rng.random() < 0.4 else -1
    blocks = [block(joins=False) for _ in range(rng.randint(1, 2))]
    order = [rng.randrange(len(blocks)) for _ in range(length)]
    if joined >= 0:
        blocks.append(block(joins=True))
        order[joined] = len(blocks) - 1
    used = sorted(set(order))
    blocks, order = [blocks[one] for one in used], [used.index(one) for one in order]
    layers = [recorded(one, tokens) for one in blocks]
    edges = [Edge(at, 0, at + 1, 0) for at in range(length - 1)]
    handed = [(at, at + 1) for at in range(length - 1)]
    if joined >= 0:
        source = rng.randrange(joined - 1)
        edges.append(Edge(source, 0, joined, 1))
        handed.append((source + 1, joined))  # from the reader before it on
    alike = [at for at in range(length) if order[at] == order[0]]
    tied = tuple(sorted(rng.sample(alike, 2))) if len(alike) > 1 and rng.random() < 0.3 else ()
    shared = (tuple(Holder(at, layers[order[at]][1]) for at in tied),) if tied else ()
    first = blocks[order[0]].hidden * (blocks[order[0]].inner or blocks[order[0]].hidden)
    parameters = sum(blocks[one].parameters for one in order) - (first if tied else 0)
    workload = Workload(
        name=name, source="", command="", sequence_length=tokens, dtype="bfloat16", training=True,
        parameters=parameters, order=tuple(order), edges=tuple(sorted(edges)),
        layers=tuple(layer for layer, _ in layers), shared=shared,
    )  # fmt: skip
    return Model(
        workload=workload, blocks=tuple(blocks), order=tuple(order), tokens=tokens, handed=tuple(handed), tied=tied
    )
