"""From recorded operators to kernels: what runs as one, and the work and bytes that remain (docs/model.md, "Fusion").

1. Vector operators joined by dataflow become one kernel as long as no path leaves the kernel and comes back.
2. A matmul takes such a kernel as its epilogue if that is element-wise only and all that reads its result.
Attention, embedding and collectives stand alone. Tensors that live and die within a kernel cost no memory traffic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hardplace.cost.types import Engine, Kernel, KernelGraph, Matmul, Reuse
from hardplace.hardware.types import Optimizer
from hardplace.workload.types import Layer, Operator, OperatorKind, Phase, TensorRole

_POINTWISE = {OperatorKind.ELEMENTWISE, OperatorKind.COPY}
_VECTOR = _POINTWISE | {
    OperatorKind.REDUCTION,
    OperatorKind.NORMALISATION,
    OperatorKind.SOFTMAX,
    OperatorKind.CROSS_ENTROPY,
}
_CAUSAL_BLOCK = 128  # rows of queries that skip the masked keys together (flash attention's tile)


@dataclass(slots=True)
class _Group:
    operators: list[int]
    before: set[int]  # direct predecessors, as group numbers


def _dependencies(layer: Layer, chosen: list[int]) -> dict[int, set[int]]:
    """Return the operators that each chosen one waits for: writers of what it reads, readers of what it overwrites."""
    writer: dict[int, int] = {}
    readers: dict[int, set[int]] = {}
    waits: dict[int, set[int]] = {}
    for index in chosen:
        operator = layer.operators[index]
        found = {writer[tensor] for tensor in operator.reads if tensor in writer}
        for tensor in operator.writes:
            found |= readers.get(tensor, set())
            if tensor in writer:
                found.add(writer[tensor])
        for tensor in operator.reads:
            readers.setdefault(tensor, set()).add(index)
        for tensor in operator.writes:
            writer[tensor], readers[tensor] = index, set()
        waits[index] = found - {index}
    return waits


def _ancestors(groups: Mapping[int, _Group], start: set[int]) -> set[int]:
    """Return all groups from which one of `start` can be reached, those included."""
    seen: set[int] = set()
    stack = list(start)
    while stack:
        group = stack.pop()
        if group not in seen:
            seen.add(group)
            stack.extend(groups[group].before)
    return seen


def _apart(groups: Mapping[int, _Group], one: int, other: int) -> bool:
    """Return whether a path joins two groups through a third, so that they cannot become one."""
    return one in _ancestors(groups, groups[other].before - {one}) or other in _ancestors(
        groups, groups[one].before - {other}
    )


def _absorb(groups: dict[int, _Group], into: int, number: int) -> None:
    """Merge group `number` into group `into`."""
    gone = groups.pop(number)
    groups[into].operators += gone.operators
    groups[into].before = (groups[into].before | gone.before) - {into, number}
    for group in groups.values():
        if number in group.before:
            group.before = (group.before - {number}) | {into}


def _vector_groups(layer: Layer, chosen: list[int]) -> dict[int, _Group]:
    """Return groups by number; a vector operator joins the vector groups that feed it, or one that reads the same."""
    groups: dict[int, _Group] = {}
    home: dict[int, int] = {}

    def is_vector(number: int) -> bool:
        return layer.operators[number].kind in _VECTOR

    for index, waits in _dependencies(layer, chosen).items():
        before = {home[other] for other in waits}
        groups[index] = _Group(operators=[index], before=before)
        home[index] = index
        if not is_vector(index):
            continue
        siblings = [number for number in groups if number != index and groups[number].before == before]
        for number in sorted(before, reverse=True):
            if number in groups and is_vector(number) and not _apart(groups, number, home[index]):
                _absorb(groups, number, home[index])
                for operator in groups[number].operators:
                    home[operator] = number
        if before and home[index] == index:
            for number in siblings:
                if is_vector(number) and _pointwise(layer, groups[number]) and not _apart(groups, number, index):
                    _absorb(groups, number, index)
                    home[index] = number
                    break
    return groups


def _pointwise(layer: Layer, group: _Group) -> bool:
    return all(layer.operators[index].kind in _POINTWISE for index in group.operators)


def _merge_epilogues(layer: Layer, groups: dict[int, _Group]) -> dict[int, _Group]:
    """Return groups with pointwise ones joined to the matmul whose result only they read."""
    matmuls = [number for number in groups if layer.operators[number].kind is OperatorKind.MATMUL]
    for number in sorted(matmuls):
        followers = [other for other, group in groups.items() if number in group.before]
        if len(followers) != 1:
            continue
        epilogue = groups[followers[0]]
        if not _pointwise(layer, epilogue) or number in _ancestors(groups, epilogue.before - {number}):
            continue
        _absorb(groups, number, followers[0])
    return groups


def _order(groups: Mapping[int, _Group]) -> list[int]:
    """Return group numbers so that each comes after those it waits for, else in recorded order."""
    done: list[int] = []
    placed: set[int] = set()
    pending = sorted(groups)
    while pending:
        number = next(number for number in pending if groups[number].before <= placed)
        pending.remove(number)
        done.append(number)
        placed.add(number)
    return done


def _stream_bytes(layer: Layer, members: list[int], used_later: Mapping[int, set[int]], micro_batch: int) -> int:
    """Return bytes that a kernel reads from and writes to memory, each storage once each way."""
    inside = set(members)
    reads: set[int] = set()
    writes: set[int] = set()
    for index in members:
        operator = layer.operators[index]
        reads |= set(operator.reads) - writes
        writes |= set(operator.writes)
    kept = {
        tensor
        for tensor in writes
        if layer.tensors[tensor].role is TensorRole.GRADIENT or not used_later[tensor] or used_later[tensor] - inside
    }
    return sum(layer.tensors[tensor].bytes.at(micro_batch) for tensor in list(reads) + list(kept))


def _lane_cycles(operators: list[Operator], cycles: Mapping[str, int], micro_batch: int) -> int:
    """Return vector lane-cycles: elements times the cycles of the function, by the operator's name."""
    total = 0
    for operator in operators:
        function = operator.name.split(".")[-1].removeprefix("_")
        total += operator.dims[0].at(micro_batch) * cycles.get(function, cycles["other"])
    return total


def _attention(operator: Operator, cycles: Mapping[str, int], micro_batch: int) -> Kernel:
    """Return a fused attention kernel: two matmuls forward, five backward (Dao 2023), softmax on the vector cores."""
    batch, heads, kv_heads, queries, keys, width = (dim.at(micro_batch) for dim in operator.dims)
    seen = min(keys, (keys + _CAUSAL_BLOCK) // 2) if operator.causal else keys
    scores = Matmul(batch=batch * heads, m=queries, n=seen, k=width)
    values = Matmul(batch=batch * heads, m=queries, n=width, k=seen)
    backward = operator.phase is Phase.BACKWARD
    across = Matmul(batch=batch * heads, m=seen, n=width, k=queries)
    rows = 2 if backward else 1  # dK and dV stay beside K and V
    return Kernel(
        name=operator.module or operator.name,
        engine=Engine.BOTH,
        matmuls=(scores, scores, across, values, across) if backward else (scores, values),
        # Scale, maximum, difference, exp, sum forward; recomputed probabilities, dP - D, product, scale backward.
        lane_cycles=scores.batch * queries * seen * (cycles["exp"] + 4),
        reuse=Reuse(
            heads=batch * kv_heads,
            queries=queries,
            row_bytes=rows * width * 6 + 8,  # q (or q, dq) in bf16, sums in fp32, row statistics
            resident_bytes=rows * 2 * keys * width * 2,
        ),
    )


def _kernel(layer: Layer, members: list[int], cycles: Mapping[str, int], micro_batch: int) -> Kernel:
    """Return the kernel of one group but for its stream bytes and predecessors."""
    operators = [layer.operators[index] for index in members]
    first = operators[0]
    if first.kind is OperatorKind.ATTENTION:
        return _attention(first, cycles, micro_batch)
    if first.kind is OperatorKind.COLLECTIVE:
        return Kernel(name=first.name, engine=Engine.NETWORK, collective_bytes=first.dims[0].at(micro_batch))
    lane_cycles = _lane_cycles(
        [operator for operator in operators if operator.kind is not OperatorKind.MATMUL], cycles, micro_batch
    )
    if first.kind is not OperatorKind.MATMUL:
        return Kernel(name=_label(operators), engine=Engine.VECTOR, lane_cycles=lane_cycles)
    batch, m, n, k = (dim.at(micro_batch) for dim in first.dims)
    return Kernel(
        name=_label(operators),
        engine=Engine.BOTH if lane_cycles else Engine.TENSOR,
        matmuls=(Matmul(batch=batch, m=m, n=n, k=k),),
        tiled=True,
        lane_cycles=lane_cycles,
    )


def _label(operators: list[Operator]) -> str:
    """Return a short name: where the kernel comes from and what it is."""
    first = operators[0]
    what = first.gradient.value if first.kind is OperatorKind.MATMUL else first.name.split(".")[-1]
    more = f" +{len(operators) - 1}" if len(operators) > 1 else ""
    return f"{first.module or first.kind.value} {what}{more}"


def _memory(layer: Layer, members: list[int], used_later: Mapping[int, set[int]], micro_batch: int) -> int:
    """Return a kernel's stream bytes; a matmul's operands and one result are its tiling's, not counted here."""
    first = layer.operators[members[0]]
    if first.kind is OperatorKind.COLLECTIVE:
        return 0
    if first.kind is OperatorKind.EMBEDDING and first.phase is Phase.FORWARD:
        # Only the rows that are looked up are read, not the table.
        written = sum(layer.tensors[tensor].bytes.at(micro_batch) for tensor in first.writes)
        return 2 * written
    total = _stream_bytes(layer, members, used_later, micro_batch)
    if first.kind is not OperatorKind.MATMUL:
        return total
    return max(0, total - _stream_bytes(layer, members[:1], used_later, micro_batch))


def kernel_graph(layer: Layer, phase: Phase, micro_batch: int, cycles: Mapping[str, int]) -> KernelGraph:
    """Return the kernels of one phase of a layer at a micro-batch size (samples), in topological order.

    cycles: vector lane-cycles an element by function name, with "other" for the rest.
    """
    chosen = [index for index, operator in enumerate(layer.operators) if operator.phase is phase]
    used_later: dict[int, set[int]] = {tensor: set() for tensor in range(len(layer.tensors))}
    for index, operator in enumerate(layer.operators):
        if operator.phase is not Phase.OPTIMIZER:
            for tensor in operator.reads:
                used_later[tensor].add(index)
    groups = _merge_epilogues(layer, _vector_groups(layer, chosen))
    order = _order(groups)
    position = {number: place for place, number in enumerate(order)}
    kernels = []
    for number in order:
        members = groups[number].operators
        kernel = _kernel(layer, members, cycles, micro_batch)
        kernels.append(
            replace(
                kernel,
                stream_bytes=_memory(layer, members, used_later, micro_batch),
                predecessors=tuple(sorted(position[other] for other in groups[number].before)),
                operators=tuple(members),
            )
        )
    return KernelGraph(layer=layer.name, phase=phase, kernels=tuple(kernels))


def optimizer_kernel(layer: Layer, optimizer: Optimizer, cycles: Mapping[str, int]) -> Kernel:
    """Return the update of a layer's parameters as one vector kernel (unsharded states)."""
    step = sum(cycles.get(function, cycles["other"]) for function in optimizer.step_functions)
    return Kernel(
        name=f"{layer.name} {optimizer.name}",
        engine=Engine.VECTOR,
        lane_cycles=layer.parameters * step,
        stream_bytes=layer.parameters * optimizer.step_bytes,
    )
