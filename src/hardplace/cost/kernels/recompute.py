"""The recomputed forward pass of a layer joined to its backward pass as one graph."""

from __future__ import annotations

from dataclasses import replace

from hardplace.cost.types import Kernel, KernelGraph
from hardplace.workload.types import Layer


def joined(layer: Layer, forward: KernelGraph, backward: KernelGraph) -> KernelGraph:
    """Return the kernels of both passes as one graph: a backward kernel waits for those whose results it reads.

    forward, backward: the two passes of the layer from kernel_graph. All of the forward pass is recomputed, and
    a backward kernel that reads nothing of it need not wait. A kernel that overwrites what the forward pass
    reads or writes waits for that too. In topological order, forward kernels first.
    """
    touched = [_storages(layer, kernel) for kernel in forward.kernels]
    kernels = list(forward.kernels)
    shift = len(kernels)
    for kernel in backward.kernels:
        reads, writes = _storages(layer, kernel)
        needs = {place for place, (read, wrote) in enumerate(touched) if wrote & (reads | writes) or read & writes}
        before = sorted(needs | {other + shift for other in kernel.predecessors})
        kernels.append(replace(kernel, predecessors=tuple(before)))
    return KernelGraph(layer=layer.name, phase=backward.phase, kernels=tuple(kernels))


def _storages(layer: Layer, kernel: Kernel) -> tuple[set[int], set[int]]:
    """Return the storages that a kernel reads and writes."""
    operators = [layer.operators[index] for index in kernel.operators]
    reads = {storage for operator in operators for storage in layer.storages_of(operator.reads)}
    return reads, {storage for operator in operators for storage in layer.storages_of(operator.writes)}
