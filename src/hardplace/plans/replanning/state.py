"""The state of a model that each rank of a plan holds, from the recorded layers (docs/model-replan.md, "State")."""

from __future__ import annotations

from collections import Counter

from hardplace.cost.layers.recognise import decoder_of
from hardplace.plans.estimate import PlanEstimate
from hardplace.plans.plan import Plan
from hardplace.plans.replanning.state_shares import StageMap, StateGroup
from hardplace.workload.sharding import shard
from hardplace.workload.types import Holder, Parallelism, Workload
from hardplace.workload.weights import WeightSizes, shared_weights, surplus, weights_of, weights_of_layer


class ModelState:
    """The weights and optimizer states of one model; layers are divided once for each tensor and expert degree."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self._sizes: dict[tuple[int, int], list[list[WeightSizes]]] = {}
        self._by_shape = decoder_of(workload) is not None

    def parts(self, old: Plan, new: Plan) -> tuple[StateGroup, ...]:
        """Return the groups of parameters that both plans divide alike, with their elements at each layer."""
        whole = self._sizes_of(1, 1)
        before, after = self._sizes_of(old.tensor, old.expert), self._sizes_of(new.tensor, new.expert)
        found: dict[tuple[int, int, int, tuple[int, ...]], Counter[int]] = {}
        for position, index in enumerate(self.workload.order):
            own = set()  # of a layer that uses a parameter twice
            for each, one, two, group in zip(
                whole[index], before[index], after[index], self._groups(position), strict=True
            ):
                kind = next((place for place, size in enumerate(each) if size), None)
                if kind is None or (group and group in own):
                    continue
                own |= {group} if group else set()
                holders = tuple(dict.fromkeys(holder.position for holder in group))
                key = round(each[kind] / one[kind]), round(each[kind] / two[kind]), kind, holders
                found.setdefault(key, Counter())[position] += each[kind]
        return tuple(
            StateGroup(
                elements=tuple(counts[position] for position in range(len(self.workload.order))),
                old_parts=key[0],
                new_parts=key[1],
                expert=key[2] % 2 == 1 and (self._by_shape or old.expert > 1),  # the new plan's degree is the same
                trained=key[2] < 2,
                packed=key[2] >= 4,
                shared=bool(key[3]),
            )
            for key, counts in found.items()
        )

    def total_bytes(self, weight_bytes: int, state_bytes: int) -> int:
        """Return the bytes of all weights and states, each once."""
        total = surplus(shared_weights(self.workload, self.workload.layers), range(len(self.workload.order)))
        total = WeightSizes().plus(total, -1)
        for index in self.workload.order:
            total = total.plus(weights_of(self.workload.layers[index]))
        return (weight_bytes + state_bytes) * sum(total[:2]) + weight_bytes * sum(total[2:4]) + sum(total[4:])

    def _groups(self, position: int) -> list[tuple[Holder, ...]]:
        """Return with whom each parameter of a layer is shared, () with none."""
        here = {holder: holders for holders in self.workload.shared for holder in holders}
        layer = self.workload.layers[self.workload.order[position]]
        return [here.get(Holder(position, storage), ()) for storage in weights_of_layer(layer)]

    def _sizes_of(self, tensor: int, expert: int) -> list[list[WeightSizes]]:
        """Return what a rank has of every parameter, by distinct layer."""
        if (tensor, expert) not in self._sizes:
            layers = self.workload.layers
            if (tensor, expert) != (1, 1):
                # as plans have them: never cut by tensor in a decoder by shape, else not where expert groups cut them
                whole = tensor > 1 and (expert > 1 or self._by_shape)
                degrees = Parallelism(tensor=tensor, expert=expert, whole_experts=whole)
                layers = shard(self.workload, degrees).layers
            self._sizes[tensor, expert] = [list(weights_of_layer(layer).values()) for layer in layers]
        return self._sizes[tensor, expert]


def spread_of(found: PlanEstimate, layers: int) -> StageMap:
    """Return the stage of every layer of an estimate (layers of the model, embedding and head too).

    Chunk c of stage s of p stages comes at place c p + s.
    """
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
