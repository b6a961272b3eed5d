"""From recorded operators to kernels: what runs as one, and the work and bytes that remain.

Rules and what they save: docs/model-cost.md, "Fusion". Tensors that live and die within a kernel cost no traffic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hardplace.cost.kernels.from_operators import kernels_of
from hardplace.cost.kernels.grouping import PRODUCTS, grouped
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


def _bytes(layer: Layer, storages: Sequence[int], micro_batch: int) -> int:
    return sum(layer.storages[one].bytes.at(micro_batch) for one in storages)


def readers(layer: Layer) -> dict[int, set[int]]:
    """Return the operators that read each storage, the optimizer's aside."""
    used: dict[int, set[int]] = {storage: set() for storage in range(len(layer.storages))}
    for index, operator in enumerate(layer.operators):
        if operator.phase is not Phase.OPTIMIZER:
            for storage in layer.storages_of(operator.reads):
                used[storage].add(index)
    return used


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedOperators:
    """Operators that run together, whatever the micro-batch: one kernel, or some (attention that is not fused).

    Attributes:
        number: Number of the group.
        before: Groups that it waits for.
        operators: Operators, by index in the layer.
        streamed: Storages that pass between kernel and memory, one for each way; those that a look-up writes count
            twice, since only the rows looked up are read.
        own: Of them those of the first operator, which the tiling of a product counts.
    """

    number: int
    before: tuple[int, ...]
    operators: tuple[int, ...]
    streamed: tuple[int, ...]
    own: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FusedPhase:
    """One phase of a layer as groups of operators, in topological order; their sizes follow from a micro-batch.

    Attributes:
        layer: The layer.
        phase: The phase.
        rules: Which operators run as one.
        groups: The groups.
    """

    layer: Layer
    phase: Phase
    rules: Fusion
    groups: tuple[FusedOperators, ...]

    def at(self, micro_batch: int, cycles: Mapping[str, int]) -> KernelGraph:
        """Return the kernels at a micro-batch size (samples), in topological order.

        Args:
            micro_batch: Samples.
            cycles: Vector lane-cycles an element by function name, with "other" for the rest.
        """
        layer = self.layer
        ends: dict[int, tuple[int, ...]] = {}  # the kernels of a group that nothing in it waits for
        kernels: list[Kernel] = []
        for group in self.groups:
            before = tuple(sorted(end for other in group.before for end in ends[other]))
            operators = [layer.operators[index] for index in group.operators]
            made = kernels_of(operators, cycles, micro_batch, flash=self.rules.flash)
            start = len(kernels)
            for kernel in made:
                inside = tuple(start + one for one in kernel.predecessors)
                moved = kernel.stream_bytes
                if len(made) == 1:
                    moved = _bytes(layer, group.streamed, micro_batch)
                    if kernel.tiled:  # a product's operands and result are its tiling's, not counted here
                        moved = max(0, moved - _bytes(layer, group.own, micro_batch))
                kernels.append(
                    replace(kernel, predecessors=inside or before, operators=group.operators, stream_bytes=moved)
                )
            read = {one for kernel in made for one in kernel.predecessors}
            ends[group.number] = tuple(start + one for one in range(len(made)) if one not in read)
        return KernelGraph(layer=layer.name, phase=self.phase, kernels=tuple(kernels))


Structure = tuple[object, ...]


def structure_of(layer: Layer) -> Structure:
    """Return all that fusion sees of a layer: kinds and phases of its operators, what they read and write, and roles of
    storages; no sizes. Layers of one structure are fused alike."""
    operators = tuple(
        [(one.kind, one.phase, layer.storages_of(one.reads), layer.storages_of(one.writes)) for one in layer.operators]
    )
    return operators, tuple([one.role for one in layer.storages])


def fused_phase(layer: Layer, phase: Phase, rules: Fusion = FUSED) -> FusedPhase:
    """Return which operators of a phase of a layer run together, and what passes through memory."""
    chosen = [index for index, operator in enumerate(layer.operators) if operator.phase is phase]
    used_later = readers(layer)
    groups = []
    for number, group in grouped(layer, chosen, rules):
        first = layer.operators[group.operators[0]]
        moved: Sequence[int] = ()
        own: Sequence[int] = ()
        if first.kind in LOOKUPS and first.phase is Phase.FORWARD:
            moved = 2 * layer.storages_of(first.writes)
        elif first.kind is not OperatorKind.COLLECTIVE:
            moved = streamed(layer, group.operators, used_later)
            own = streamed(layer, group.operators[:1], used_later) if first.kind in PRODUCTS else ()
        groups.append(
            FusedOperators(
                number=number,
                before=tuple(group.before),
                operators=tuple(group.operators),
                streamed=tuple(moved),
                own=tuple(own),
            )
        )
    return FusedPhase(layer=layer, phase=phase, rules=rules, groups=tuple(groups))


def kernel_graph(
    layer: Layer, phase: Phase, micro_batch: int, cycles: Mapping[str, int], rules: Fusion = FUSED
) -> KernelGraph:
    """Return the kernels of one phase of a layer at a micro-batch size (samples), in topological order.

    cycles: vector lane-cycles an element by function name, with "other" for the rest.
    """
    return fused_phase(layer, phase, rules).at(micro_batch, cycles)


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
