"""Shards: what one rank of a parallel version computes, each process group analysed by itself."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from hardplace.workload.affine import total
from hardplace.workload.sharding.analysis import analyse
from hardplace.workload.sharding.rank_layer import RankLayer
from hardplace.workload.sharding.rank_sizes import RankSizes
from hardplace.workload.sharding.steps import Analysis
from hardplace.workload.types import Gradient, Group, Layer, Parallelism, Shard, Workload
from hardplace.workload.weights import experts_of


class _GroupDegree(NamedTuple):
    group: Group
    parts: int
    sequence: bool = False
    whole_experts: bool = False


class RankShards:
    """Shards of one workload at many degrees; what degrees have in common is derived once.

    A process group is analysed by itself, and an expert group does nothing to a layer without experts.

    Args:
        workload: The recorded model.
    """

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self._rank_sizes = [RankSizes(layer) for layer in workload.layers]
        self._routed = [bool(experts_of(layer)) for layer in workload.layers]
        self._known: dict[Parallelism, Shard] = {}
        self._cut: dict[Parallelism, bool] = {}
        self._sizes: list[tuple[int, int]] = []  # of the recorded layers
        self._analyses: dict[tuple[int, _GroupDegree], Analysis] = {}
        self._layers: dict[tuple[int, tuple[_GroupDegree, ...]], Layer] = {}

    def at(self, parallelism: Parallelism) -> Shard:
        """Return what one rank computes at these degrees."""
        if parallelism not in self._known:
            layers, whole = [], []
            for number, layer in enumerate(self.workload.layers):
                groups = _groups(parallelism, self._routed[number])
                analyses = tuple(self._analysis(number, group) for group in groups)
                if (number, groups) not in self._layers:
                    self._layers[number, groups] = RankLayer(self._rank_sizes[number], analyses).layer()
                layers.append(self._layers[number, groups])
                for one in analyses:
                    if one.group is Group.TENSOR:
                        whole += [f"{layer.name}: {name}" for name in _modules(layer, one)]
            self._known[parallelism] = Shard(parallelism=parallelism, layers=tuple(layers), whole=tuple(whole))
        return self._known[parallelism]

    def cuts(self, parallelism: Parallelism) -> bool:
        """Return whether layers of a rank have less of the model than recorded.

        Of a tensor-parallel rank the layers that count are those with most FLOPs and with most parameters over the
        model: a vocabulary is padded to any degree, so that head and embedding are always cut.
        """
        if parallelism not in self._cut:
            if not self._sizes:
                self._sizes = [_size(layer) for layer in self.workload.layers]
            layers, times, sizes = self.at(parallelism).layers, Counter(self.workload.order), self._sizes
            chosen = set(times)
            if parallelism.tensor > 1:
                parts = ([(times[one] * sizes[one][part], -one) for one in times] for part in (0, 1))
                chosen = {-max(each)[1] for each in parts}
            self._cut[parallelism] = any(_size(layers[one]) != sizes[one] for one in chosen)
        return self._cut[parallelism]

    def _analysis(self, number: int, one: _GroupDegree) -> Analysis:
        if (number, one) not in self._analyses:
            layer = self.workload.layers[number]
            found = analyse(layer, one.group, one.parts, sequence=one.sequence, whole_experts=one.whole_experts)
            self._analyses[number, one] = found
        return self._analyses[number, one]


def shard(workload: Workload, parallelism: Parallelism) -> Shard:
    """Return what one rank computes at these degrees.

    Args:
        workload: The recorded model.
        parallelism: Tensor, sequence, context and expert parallelism, and whether tensor ranks hold whole experts.

    Source: docs/model-workload.md, section 4.
    """
    return RankShards(workload).at(parallelism)


def tensor_parallel(workload: Workload, degree: int) -> Shard:
    """Return what one rank of a tensor-parallel group computes.

    Args:
        workload: The recorded model.
        degree: Ranks of the group.
    """
    return shard(workload, Parallelism(tensor=degree))


def _groups(parallelism: Parallelism, routed: bool) -> tuple[_GroupDegree, ...]:
    """Return the process groups that divide a layer; routed: whether it has experts."""
    whole = parallelism.whole_experts and routed
    found = []
    if parallelism.tensor > 1:
        found.append(_GroupDegree(Group.TENSOR, parallelism.tensor, parallelism.sequence, whole))
    if parallelism.context > 1:
        found.append(_GroupDegree(Group.CONTEXT, parallelism.context))
    if parallelism.expert > 1 and (routed or not found):
        found.append(_GroupDegree(Group.EXPERT, parallelism.expert))
    return tuple(found)


def _modules(layer: Layer, analysis: Analysis) -> list[str]:
    """Return the modules whose parameters stay whole although a matrix product uses them."""
    found = dict.fromkeys(
        operator.module
        for operator in layer.operators
        if operator.gradient is Gradient.FORWARD and not analysis.whole.isdisjoint(layer.storages_of(operator.reads))
    )
    return list(found)


def _size(layer: Layer) -> tuple[int, int]:
    """Return parameters and FLOPs a sample."""
    return layer.parameters, total(operator.flops for operator in layer.operators).factor
