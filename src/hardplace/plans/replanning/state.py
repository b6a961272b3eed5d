"""What of a model's state each rank of a plan holds, from the recorded layers (docs/model-replan.md, "State")."""

from __future__ import annotations

from collections import Counter

from hardplace.plans.estimate import PlanEstimate
from hardplace.plans.plan import Plan
from hardplace.plans.replanning.state_shares import StageMap, StateGroup
from hardplace.workload.sharding import shard
from hardplace.workload.types import Layer, OperatorKind, Parallelism, StorageRole, Workload


class ModelState:
    """The state of one model; layers are divided once for each tensor and expert degree."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self._sizes: dict[tuple[int, int], list[list[int]]] = {}

    def parts(self, old: Plan, new: Plan) -> tuple[StateGroup, ...]:
        """Return the parameters that both plans divide alike, with their elements at each layer."""
        whole = self._elements(1, 1)
        before, after = self._elements(old.tensor, old.expert), self._elements(new.tensor, new.expert)
        found: dict[tuple[int, int, bool], list[Counter[int]]] = {}
        for index, layer in enumerate(self.workload.layers):
            for each, one, two, expert in zip(whole[index], before[index], after[index], _experts(layer), strict=True):
                key = round(each / one), round(each / two), expert
                found.setdefault(key, [Counter()])[0][index] += each
        return tuple(
            StateGroup(
                elements=tuple(counts[0][index] for index in self.workload.order),
                old_parts=key[0],
                new_parts=key[1],
                expert=key[2],
            )
            for key, counts in found.items()
        )

    def _elements(self, tensor: int, expert: int) -> list[list[int]]:
        """Return the elements on a rank of every parameter, by distinct layer."""
        if (tensor, expert) not in self._sizes:
            layers = self.workload.layers
            if (tensor, expert) != (1, 1):
                layers = shard(self.workload, Parallelism(tensor=tensor, expert=expert)).layers
            self._sizes[tensor, expert] = [[size for size, _ in _parameters(layer)] for layer in layers]
        return self._sizes[tensor, expert]


def _parameters(layer: Layer) -> list[tuple[int, int]]:
    """Return (elements, storage) of a layer's parameters, in the order in which they were recorded."""
    return [
        (storage.parameters, index)
        for index, storage in enumerate(layer.storages)
        if storage.role is StorageRole.PARAMETER and storage.parameters
    ]


def _experts(layer: Layer) -> list[bool]:
    """Return which of a layer's parameters are those of experts: grouped products read them."""
    read = {
        layer.tensors[index].storage
        for operator in layer.operators
        if operator.kind is OperatorKind.GROUPED_MATMUL
        for index in operator.reads
    }
    return [index in read for _, index in _parameters(layer)]


def spread_of(found: PlanEstimate, layers: int) -> StageMap:
    """Return the stage of every layer (layers: of the model, embedding and head too); chunk c of stage s of p stages
    comes at place c p + s."""
    plan = found.plan
    if plan.assignment or plan.pipeline == 1:
        return StageMap(plan=plan, places=plan.assignment or (0,) * layers)
    places = [0]
    for chunk in range(plan.virtual):
        for stage, size in enumerate(found.stage_layers):
            more = plan.virtual - 1 if stage == plan.pipeline - 1 else 0  # short chunks are the last stage's last ones
            before, after = ((size * one + more) // plan.virtual for one in (chunk, chunk + 1))
            places += [stage] * (after - before)
    return StageMap(plan=plan, places=(*places, plan.pipeline - 1))
