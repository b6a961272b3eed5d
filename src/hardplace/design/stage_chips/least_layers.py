"""Least seconds of each layer over all chips of a space with one memory, as proven bounds (docs/model-search.md,
"A chip for each stage").
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from hardplace.branch_and_bound.loop import Deadline, TimeUp
from hardplace.branch_and_bound.types import Progress, Stop, StoppingRule
from hardplace.design.exact.layer_kernels import LayerTimes, kernels_of
from hardplace.design.question import Question
from hardplace.design.search.candidates import Reached
from hardplace.design.search.ceilings import ceilings
from hardplace.design.search.explore import DesignSearch
from hardplace.design.search.layout import Group
from hardplace.design.search.least_work import least_seconds, part_seconds, rates
from hardplace.design.search.sections import Excluded, Section, tightened
from hardplace.design.types import PlanChoices
from hardplace.hardware.space import corners
from hardplace.hardware.types import Optimizer
from hardplace.workload.sharding import tensor_parallel
from hardplace.workload.types import Phase, Workload

# A search of one layer ends after so many refinements, by count and not by the clock: its bound holds at any moment.
_MOST_STEPS = 400
_NEVER = 1e4  # cost of what no chip of a memory can run: finite, since sums of layers are differences of sums
_NO_UPDATE = Optimizer(
    name="none",
    weight_bytes=0,
    gradient_bytes=0,
    state_bytes=0,
    sharded=False,
    reduction_bytes=0,
    step_bytes=0,
    step_functions=(),
)


@dataclass(frozen=True, slots=True)
class LayerOn:
    """What a least time is of: a layer at a micro-batch and tensor-parallel degree, on chips with one memory.

    Attributes:
        group: Micro-batch, tensor-parallel degree.
        memory: Index of the memory.
        layer: Index of the distinct layer.
        forward: Whether it is of the forward pass alone.
    """

    group: Group
    memory: int
    layer: int
    forward: bool


@dataclass
class LeastLayers:
    """Proven least costs of layers over all chips within the limits, one memory and one micro-batch at a time.

    A cost is seconds of a micro-batch.

    Attributes:
        search: The search of one kind of chip, laid out.
        within: When no other layer is searched.
    """

    search: DesignSearch
    within: Deadline
    reached: dict[LayerOn, Reached] = field(default_factory=dict)
    _known: dict[LayerOn, float] = field(default_factory=dict, init=False)
    _seconds: dict[tuple[Group, int], LayerTimes] = field(default_factory=dict, init=False)
    _tried: set[LayerOn] = field(default_factory=set, init=False)
    _done: set[LayerOn] = field(default_factory=set, init=False)

    @property
    def question(self) -> Question:
        """Return the question of one kind of chip."""
        return self.search.question

    @property
    def memories(self) -> tuple[float, ...]:
        """Return the capacities of the sections' memories, each once, in bytes."""
        return tuple(sorted({one.capacity_bytes for one in self.search.scoring.sections}))

    def of_memory(self, memory: int) -> list[Section]:
        """Return the sections with a memory."""
        size = self.memories[memory]
        return [one for one in self.search.scoring.sections if one.capacity_bytes == size]

    def costs(self, group: Group, memory: int) -> LayerTimes:
        """Return lower bounds on the costs of the layers, (layers, 1): forward and backward together bound every chip;
        the forward pass alone is in it what it takes at least. The optimizer step is in seconds.
        """
        corner = self._corner(group, memory)
        layers = range(len(corner.forward_s))
        both, ahead = (
            np.array([[self.cost(LayerOn(group, memory, layer, forward))] for layer in layers])
            for forward in (False, True)
        )
        both = np.minimum(both, _NEVER)
        ahead = np.minimum(ahead, both)
        update_s = np.minimum(corner.optimizer_s, _NEVER)
        return LayerTimes(forward_s=ahead, backward_s=both - ahead, optimizer_s=update_s)

    def cost(self, one: LayerOn) -> float:
        """Return the lower bound of one of them."""
        if one not in self._known:
            corner = self._corner(one.group, one.memory)
            seconds = float(corner.forward_s[one.layer, 0])
            if not one.forward:
                seconds += float(corner.backward_s[one.layer, 0])
            self._known[one] = seconds
        return self._known[one]

    def _corner(self, group: Group, memory: int) -> LayerTimes:
        """Return lower bounds from the best corner of the whole space within the limits, (layers, 1) each."""
        key = group, memory
        if key not in self._seconds:
            scoring = self.search.scoring
            layout, limits = scoring.models[0], replace(scoring.limits, excluded=Excluded())
            rows = []
            for place, section in enumerate(scoring.sections):
                if section.capacity_bytes != self.memories[memory]:
                    continue
                kept = tightened(limits, section, [(scoring.space.whole, None)])
                if not kept:
                    continue
                low, high = corners([box for box, _ in kept])
                on = rates(scoring.space, low, high, section.setting, ceilings(limits, section, low, high))
                work, links_s = layout.work[group], scoring.there[place][0].collectives_s[group]
                taken = part_seconds(work, on, links_s, section.setting)
                rows.append(least_seconds(work, on, taken, section.setting))
            nothing = np.full((len(layout.kernels[group].shard.layers), 1), np.inf)
            self._seconds[key] = LayerTimes(
                **{
                    name: np.min([getattr(one, name) for one in rows], axis=0) if rows else nothing
                    for name in ("forward_s", "backward_s", "optimizer_s")
                }
            )
        return self._seconds[key]

    # -- searches ------------------------------------------------------------------------------------------------

    def open(self, one: LayerOn) -> bool:
        """Return whether a search of this layer may still say more."""
        return one not in self._done and bool(np.isfinite(self.cost(one)))

    def refine(self, one: LayerOn, gap: float, enough: float) -> bool:
        """Search the best chip for a layer alone, as far as it matters; return whether that ended before the deadline.

        Args:
            one: The layer.
            gap: Relative gap at which its search stops.
            enough: Cost from which on its bound need not be any better; the second time it is searched to its end.
        """
        again = one in self._tried
        self._tried.add(one)
        workload = self._alone(one)
        question = self._asked(one, workload)
        if not self._alike(one, question):
            self._done.add(one)  # it runs otherwise when it stands alone: its first bound is kept
            return True
        samples, launch_s = float(one.group[0]), question.setting.kernels.launch_s

        def cost_of(score: float) -> float:
            """Return the least cost by an upper bound of the score, without the launch of the update."""
            return samples / score - launch_s if score > 0.0 else math.inf

        steps = 0

        def told(now: Progress) -> None:
            nonlocal steps
            steps += 1
            self._known[one] = max(self.cost(one), cost_of(now.bound))
            if steps > _MOST_STEPS or (self._known[one] >= enough and not again):
                raise TimeUp

        try:
            self.within.check()
            search = DesignSearch(question=question, ends=StoppingRule(gap=gap), report=told, within=self.within)
            found = search.run()
        except TimeUp:
            return False
        if found.stop is Stop.INTERRUPTED:
            raise KeyboardInterrupt
        if again or self._known[one] < enough:
            self._done.add(one)
        if found.reached:
            self._keep(one, search, found.reached[0])
        return not self.within.over

    def _keep(self, one: LayerOn, search: DesignSearch, found: Reached) -> None:
        """Keep the chip that was reached, by the sections of the whole search."""
        own = search.scoring.sections[found.section]
        for place, section in enumerate(self.search.scoring.sections):
            if section.capacity_bytes == own.capacity_bytes and section.bandwidths == own.bandwidths:
                self.reached[one] = replace(found, section=place)

    def _alike(self, one: LayerOn, question: Question) -> bool:
        """Return whether a layer that stands alone has the kernels that it has in the model, with no more bytes: what
        a forward pass writes for the backward pass alone is not read where there is none.
        """
        alone = kernels_of(tensor_parallel(question.workloads[0], one.group[1]), one.group[0], question.setting)
        pairs = zip(alone.graphs[0], self.search.scoring.models[0].kernels[one.group].graphs[one.layer], strict=True)
        phases = [(own.kernels, whole.kernels) for own, whole in pairs][: 1 if one.forward else 2]
        return all(
            len(own) == len(whole)
            and all(
                mine.stream_bytes <= its.stream_bytes and replace(mine, stream_bytes=its.stream_bytes) == its
                for mine, its in zip(own, whole, strict=True)
            )
            for own, whole in phases
        )

    def _alone(self, one: LayerOn) -> Workload:
        """Return a model of one layer, or of its forward pass."""
        layer = self.question.workloads[0].layers[one.layer]
        if one.forward:
            kept = tuple(operator for operator in layer.operators if operator.phase is Phase.FORWARD)
            layer = replace(layer, operators=kept)
        return replace(self.question.workloads[0], order=(0,), edges=(), shared=(), layers=(layer,))

    def _asked(self, one: LayerOn, workload: Workload) -> Question:
        """Return the question which chip runs one micro-batch of a layer at the least cost."""
        asked, size = self.question, self.memories[one.memory]
        samples, width = one.group
        cluster = replace(asked.setting.cluster, devices=width)
        setting = replace(asked.setting, batch_samples=samples, optimizer=_NO_UPDATE, cluster=cluster)
        memories = tuple(choice for choice in asked.space.memories if choice.bytes == size)
        choices = PlanChoices(
            memory_bytes=(size,), micro_batches=(samples,), recompute=(False,), tensor_parallel=(width,)
        )
        return replace(
            asked,
            workloads=(workload,),
            setting=setting,
            space=replace(asked.space, memories=memories),
            choices=choices,
            goal=replace(asked.goal, devices=width),
        )
