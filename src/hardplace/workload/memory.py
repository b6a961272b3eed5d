"""What a layer keeps from forward to backward, and what its backward pass computes again for it."""

from __future__ import annotations

from hardplace.workload.affine import Affine, total
from hardplace.workload.types import Layer, Operator, OperatorKind, Phase, Recompute, StorageRole, Workload


def saved_storages(layer: Layer, recompute: Recompute) -> tuple[int, ...]:
    """Return the storages kept for the backward pass.

    SELECTIVE (Korthikanti et al. 2022, arXiv 2205.05198, section 5) drops what is made between the score product and
    the value product of an attention that is not fused; a fused one keeps nothing there anyway. FULL keeps what
    the layer takes in; a layer without a backward pass, all frozen and before all that is trained, keeps nothing.
    """
    if recompute is Recompute.FULL and _goes_back(layer):
        return layer.inputs
    if recompute is not Recompute.SELECTIVE:
        return layer.saved
    dropped = {
        storage for index in _between_products(layer) for storage in layer.storages_of(layer.operators[index].writes)
    }
    return tuple(storage for storage in layer.saved if storage not in dropped)


def saved_bytes(layer: Layer, recompute: Recompute) -> Affine:
    """Return the bytes kept for the backward pass, by micro-batch."""
    return total(layer.storages[index].bytes for index in saved_storages(layer, recompute))


def recomputed(layer: Layer, recompute: Recompute) -> tuple[int, ...]:
    """Return the operators (indices) of the forward pass that the backward pass runs again."""
    if recompute is Recompute.NONE or not _goes_back(layer):
        return ()
    if recompute is Recompute.SELECTIVE:
        return _between_products(layer)
    return tuple(index for index, operator in enumerate(layer.operators) if operator.phase is Phase.FORWARD)


def _goes_back(layer: Layer) -> bool:
    """Return whether a layer has a backward pass."""
    return any(operator.phase is Phase.BACKWARD for operator in layer.operators)


def _between_products(layer: Layer) -> tuple[int, ...]:
    """Return the forward operators from a product of two activations to the next one that needs it, without that."""
    forward = [
        (index, operator)
        for index, operator in enumerate(layer.operators)
        if operator.phase is Phase.FORWARD and operator.kind is not OperatorKind.VIEW
    ]
    weights = {number for number, one in enumerate(layer.storages) if one.role is StorageRole.PARAMETER}
    products = [index for index, operator in forward if _of_activations(layer, operator, weights)]
    found: set[int] = set()
    for score in products:
        after = _after(layer, forward, score)
        for value in products:
            if value in after:
                found |= {score} | (after & _before(layer, forward, value))
                break
    return tuple(sorted(found - set(_last_products(layer, forward, products))))


def _last_products(layer: Layer, forward: list[tuple[int, Operator]], products: list[int]) -> list[int]:
    """Return the products that no other one follows: those with the values."""
    return [one for one in products if not _after(layer, forward, one) & set(products)]


def _of_activations(layer: Layer, operator: Operator, weights: set[int]) -> bool:
    """Return whether an operator is a product of two activations; notes casts of weights among the weights."""
    reads = set(layer.storages_of(operator.reads))
    if operator.name == "_to_copy" and reads <= weights:
        weights |= set(layer.storages_of(operator.writes))
    return operator.kind is OperatorKind.MATMUL and not reads & weights


def _after(layer: Layer, forward: list[tuple[int, Operator]], start: int) -> set[int]:
    """Return the operators that need the result of one, directly or not."""
    reached = set(layer.storages_of(layer.operators[start].writes))
    found = set()
    for index, operator in forward:
        if index > start and reached & set(layer.storages_of(operator.reads)):
            found.add(index)
            reached |= set(layer.storages_of(operator.writes))
    return found


def _before(layer: Layer, forward: list[tuple[int, Operator]], end: int) -> set[int]:
    """Return the operators whose results one needs, directly or not."""
    wanted = set(layer.storages_of(layer.operators[end].reads))
    found = set()
    for index, operator in reversed(forward):
        if index < end and wanted & set(layer.storages_of(operator.writes)):
            found.add(index)
            wanted |= set(layer.storages_of(operator.reads))
    return found


def unfused_attention(workload: Workload) -> tuple[int, float]:
    """Return the positions whose attention is products and softmax, and the share of kept bytes between those."""
    between = kept = positions = 0
    for number in workload.order:
        layer = workload.layers[number]
        alone = saved_bytes(layer, Recompute.NONE).at(1)
        dropped = alone - saved_bytes(layer, Recompute.SELECTIVE).at(1) if recomputed(layer, Recompute.SELECTIVE) else 0
        positions += dropped > 0
        between, kept = between + dropped, kept + alone
    return positions, between / kept if kept else 0.0
