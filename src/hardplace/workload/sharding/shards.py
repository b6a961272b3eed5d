"""Shards: what one rank of a parallel version computes, each process group analysed by itself."""

from __future__ import annotations

from hardplace.workload.sharding.analysis import analyse
from hardplace.workload.sharding.rank_layer import RankLayer
from hardplace.workload.sharding.steps import Analysis
from hardplace.workload.types import Gradient, Group, Layer, Parallelism, Shard, Workload


def shard(workload: Workload, parallelism: Parallelism) -> Shard:
    """Return what one rank computes at these degrees.

    Args:
        workload: The recorded model.
        parallelism: Tensor, sequence, context and expert parallelism, and whether tensor ranks hold whole experts.

    Source: docs/model-workload.md, section 4.
    """
    layers, whole = [], []
    for layer in workload.layers:
        analyses = _analyses(layer, parallelism)
        layers.append(RankLayer(layer, analyses).layer())
        for one in analyses:
            if one.group is Group.TENSOR:
                whole += [f"{layer.name}: {name}" for name in _modules(layer, one)]
    return Shard(parallelism=parallelism, layers=tuple(layers), whole=tuple(whole))


def tensor_parallel(workload: Workload, degree: int) -> Shard:
    """Return what one rank of a tensor-parallel group computes.

    Args:
        workload: The recorded model.
        degree: Ranks of the group.
    """
    return shard(workload, Parallelism(tensor=degree))


def _analyses(layer: Layer, parallelism: Parallelism) -> tuple[Analysis, ...]:
    found = []
    if parallelism.tensor > 1:
        sequence, whole = parallelism.sequence, parallelism.whole_experts
        found.append(analyse(layer, Group.TENSOR, parallelism.tensor, sequence=sequence, whole_experts=whole))
    if parallelism.context > 1:
        found.append(analyse(layer, Group.CONTEXT, parallelism.context))
    if parallelism.expert > 1:
        found.append(analyse(layer, Group.EXPERT, parallelism.expert))
    return tuple(found)


def _modules(layer: Layer, analysis: Analysis) -> list[str]:
    """Return the modules whose parameters stay whole although a matrix product uses them."""
    found = dict.fromkeys(
        operator.module
        for operator in layer.operators
        if operator.gradient is Gradient.FORWARD and not analysis.whole.isdisjoint(layer.storages_of(operator.reads))
    )
    return list(found)
