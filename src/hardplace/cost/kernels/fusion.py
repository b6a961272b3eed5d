"""From recorded operators to kernels: what runs as one, and the work and bytes that remain.

Rules and what they save: docs/model-cost.md, "Fusion". Tensors that live and die within a kernel cost no traffic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hardplace.cost.kernels.from_operators import kernels_of
from hardplace.cost.kernels.grouping import grouped
from hardplace.cost.types import Engine, Fusion, Kernel, KernelGraph
from hardplace.hardware.types import Optimizer
from hardplace.workload.types import Layer, OperatorKind, Phase, StorageRole
from hardplace.workload.weights import weights_of

FUSED = Fusion(name="fused", chains=True, epilogues=True, flash=True)
UNFUSED = Fusion(name="unfused", chains=False, epilogues=False, flash=False)
PHAZE = Fusion(name="phaze", chains=False, epilogues=False, flash=False, only_successor=True)
LOOKUPS = {OperatorKind.EMBEDDING, OperatorKind.GATHER}


def streamed(layer: Layer, members: Sequence[int], used_later: Mapping[int, set[int]]) -> list[int]:
    """Return the storages that a kernel of these operators reads from or writes to memory, one for each way.

    used_later: by storage, the operators that read it (`readers`).
    """
    inside = set(members)
    reads: set[int] = set()
    writes: set[int] = set()
    for index in members:
        operator = layer.operators[index]
        reads |= set(layer.storages_of(operator.reads)) - writes
        writes |= set(layer.storages_of(operator.writes))
    kept = {
        storage
        for storage in writes
        if layer.storages[storage].role is StorageRole.GRADIENT
        or not used_later[storage]
        or used_later[storage] - inside
    }
    return list(reads) + list(kept)


def _stream_bytes(layer: Layer, members: list[int], used_later: Mapping[int, set[int]], micro_batch: int) -> int:
    """Return bytes that a kernel reads from and writes to memory, each storage once each way."""
    return sum(layer.storages[one].bytes.at(micro_batch) for one in streamed(layer, members, used_later))


def _memory(
    layer: Layer, members: list[int], used_later: Mapping[int, set[int]], micro_batch: int, *, tiled: bool
) -> int:
    """Return a kernel's stream bytes; tiled: a product's operands and result are its tiling's, not counted here."""
    first = layer.operators[members[0]]
    if first.kind is OperatorKind.COLLECTIVE:
        return 0
    if first.kind in LOOKUPS and first.phase is Phase.FORWARD:
        # Only the rows that are looked up are read, not the table.
        written = sum(layer.storages[one].bytes.at(micro_batch) for one in layer.storages_of(first.writes))
        return 2 * written
    total = _stream_bytes(layer, members, used_later, micro_batch)
    if not tiled:
        return total
    return max(0, total - _stream_bytes(layer, members[:1], used_later, micro_batch))


def readers(layer: Layer) -> dict[int, set[int]]:
    """Return the operators that read each storage, the optimizer's aside."""
    used: dict[int, set[int]] = {storage: set() for storage in range(len(layer.storages))}
    for index, operator in enumerate(layer.operators):
        if operator.phase is not Phase.OPTIMIZER:
            for storage in layer.storages_of(operator.reads):
                used[storage].add(index)
    return used


def kernel_graph(
    layer: Layer, phase: Phase, micro_batch: int, cycles: Mapping[str, int], rules: Fusion = FUSED
) -> KernelGraph:
    """Return the kernels of one phase of a layer at a micro-batch size (samples), in topological order.

    cycles: vector lane-cycles an element by function name, with "other" for the rest.
    """
    chosen = [index for index, operator in enumerate(layer.operators) if operator.phase is phase]
    used_later = readers(layer)
    ends: dict[int, tuple[int, ...]] = {}  # the kernels of a group that nothing in it waits for
    kernels: list[Kernel] = []
    for number, group in grouped(layer, chosen, rules):
        before = tuple(sorted(end for other in group.before for end in ends[other]))
        operators = [layer.operators[index] for index in group.operators]
        made = kernels_of(operators, cycles, micro_batch, flash=rules.flash)
        start = len(kernels)
        for kernel in made:
            inside = tuple(start + one for one in kernel.predecessors)
            kernels.append(replace(kernel, predecessors=inside or before, operators=tuple(group.operators)))
        if len(made) == 1:
            streamed = _memory(layer, group.operators, used_later, micro_batch, tiled=made[0].tiled)
            kernels[start] = replace(kernels[start], stream_bytes=streamed)
        read = {one for kernel in made for one in kernel.predecessors}
        ends[number] = tuple(start + one for one in range(len(made)) if one not in read)
    return KernelGraph(layer=layer.name, phase=phase, kernels=tuple(kernels))


def optimizer_kernel(layer: Layer, optimizer: Optimizer, cycles: Mapping[str, int]) -> Kernel:
    """Return the update of a layer's trained parameters as one vector kernel (unsharded states)."""
    trained = sum(weights_of(layer)[:2])
    step = sum(cycles.get(function, cycles["other"]) for function in optimizer.step_functions)
    return Kernel(
        name=f"{layer.name} {optimizer.name}",
        engine=Engine.VECTOR,
        lane_cycles=trained * step,
        stream_bytes=trained * optimizer.step_bytes,
    )
