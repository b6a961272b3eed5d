"""Layout of a model for a space: plan families, kernels, work and what fits a memory, before any chip is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import InitVar, dataclass, field, replace

import numpy as np

from hardplace.answers import Infeasible
from hardplace.design.exact.layer_kernels import LayerKernels, LayerTimes, kernels_of
from hardplace.design.exact.partition_problem import families, placement_problem, replications
from hardplace.design.partition.memory_needs import MemoryNeeds, feasible_shapes, memory_needs, shortage
from hardplace.design.partition.types import PartitionProblem, Replication
from hardplace.design.search.bound_inputs import BoundInputs, FeasiblePlans, chain, shapes
from hardplace.design.search.kernel_work import KernelWork, network_s, work
from hardplace.design.search.sections import Section
from hardplace.design.search.whole_layers import WholeLayers, weights_of_layers
from hardplace.design.types import PlanChoices, PlanFamily
from hardplace.hardware.space import ChipSpace
from hardplace.hardware.types import Setting
from hardplace.ndtypes import Floats
from hardplace.workload.sharding import tensor_parallel
from hardplace.workload.types import Shard, Workload

Group = tuple[int, int]  # micro-batch, tensor-parallel degree


def group_of(family: PlanFamily) -> Group:
    """Return what a family's kernels depend on: micro-batch and tensor-parallel degree."""
    return family.micro_batch, family.tensor_parallel


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInSection:
    """A model in one section of the space.

    Attributes:
        families: Families that fit, with the section's largest memory.
        shapes: Plans that fit the memory, for each family.
        replications: Data-parallel degrees with their costs, by group of families.
        chains: Inputs of the bounds, by group.
        collectives_s: Seconds of each kernel that is a collective, by group.
        members: Indices of the families of each group.
    """

    families: tuple[PlanFamily, ...]
    shapes: tuple[FeasiblePlans, ...]
    replications: dict[Group, tuple[Replication, ...]]
    chains: dict[Group, BoundInputs]
    collectives_s: dict[Group, Floats]
    members: dict[Group, tuple[int, ...]]  # places in families


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the stages of a family hold, whatever the memory of a device.

    Attributes:
        problem: The partition problem; its memory and the times of its layers are of no use.
        needs: Least memory of the fullest stage.
    """

    problem: PartitionProblem
    needs: tuple[MemoryNeeds, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fitting:
    """What fits the memory of a family: (replicas, stages), and what the fullest stage of each holds at least."""

    pairs: tuple[tuple[int, int], ...]
    whole: WholeLayers


@dataclass
class ModelLayout:
    """One model, laid out for a space of chips.

    Attributes:
        workload: The model.
        setting: What all chips share.
        choices: The choices of a plan.
        space: The chips.
        alike: Layout of the same model with the same choices on other chips, whose kernels and stages are these.
        kernels: Kernels of the distinct layers, by group of families.
        work: Work of every kernel, by group.
        held: What stages hold, by family without its memory.
        chains: Inputs of the bounds, by group, bandwidth and latency of the links between stages.
        shortages: What is short, of the families that fit nowhere.
    """

    workload: Workload
    setting: Setting
    choices: PlanChoices
    space: ChipSpace
    alike: InitVar[ModelLayout | None] = None
    kernels: dict[Group, LayerKernels] = field(default_factory=dict)
    work: dict[Group, KernelWork] = field(default_factory=dict)
    held: dict[PlanFamily, Held] = field(default_factory=dict)
    chains: dict[tuple[Group, float, float], BoundInputs] = field(default_factory=dict)
    shortages: list[Infeasible] = field(default_factory=list)
    _fits: dict[PlanFamily, _Fitting] = field(default_factory=dict, init=False)

    def __post_init__(self, alike: ModelLayout | None) -> None:
        """Lay out kernels; nothing depends on the chips yet."""
        shares: dict[Group, Floats] = {}
        if alike is not None:
            self.kernels |= alike.kernels
            self.held |= alike.held
            self.chains |= alike.chains
            shares = {group: done.share_bytes for group, done in alike.work.items()}
        shards: dict[int, Shard] = {}
        for family in families(self.choices, self.setting.batch_samples):
            group, width = group_of(family), family.tensor_parallel
            if group not in self.kernels:
                if width not in shards:
                    shards[width] = tensor_parallel(self.workload, width)
                self.kernels[group] = kernels_of(shards[width], family.micro_batch, self.setting)
            if group not in self.work:
                self.work[group] = work(self.kernels[group], self.space, shares.get(group))

    @property
    def batch(self) -> int:
        """Return the samples of a global batch."""
        return self.setting.batch_samples

    def on(self, section: Section, check: Callable[[], None]) -> ModelInSection:
        """Return the model in a section; `check` is called now and then, and may raise to end it."""
        degrees: dict[Group, tuple[Replication, ...]] = {}
        chains: dict[Group, BoundInputs] = {}
        collectives: dict[Group, Floats] = {}
        members: dict[Group, tuple[int, ...]] = {}
        for group, kernels in self.kernels.items():
            micro_batch, width = group
            degrees[group] = replications(section.setting, width, self.batch // micro_batch)
            chains[group] = self._chain(group, section.setting)
            collectives[group] = network_s(kernels, section.setting)
            members[group] = ()
        kept: list[PlanFamily] = []
        found: list[FeasiblePlans] = []
        for family in families(self.choices_in(section), self.batch):
            check()
            group = group_of(family)
            fitting = self._fitting(family, section, degrees[group])
            if fitting.pairs:
                by_degree = {one.data_parallel: one for one in degrees[group]}
                pairs = [(by_degree[degree], stages) for degree, stages in fitting.pairs]
                members[group] = (*members[group], len(kept))
                kept.append(family)
                found.append(shapes(pairs, self.batch // family.micro_batch, fitting.whole))
        return ModelInSection(
            families=tuple(kept), shapes=tuple(found), replications=degrees, chains=chains,
            collectives_s=collectives, members=members,
        )  # fmt: skip

    def _chain(self, group: Group, setting: Setting) -> BoundInputs:
        outer = setting.cluster.levels[-1]
        key = (group, outer.bandwidth_bytes_per_s, outer.latency_s)
        if key not in self.chains:
            self.chains[key] = chain(self.workload, self.kernels[group].shard, setting, group[0])
        return self.chains[key]

    def choices_in(self, section: Section) -> PlanChoices:
        """Return the choices of a plan with the largest memory of a section."""
        return PlanChoices(
            memory_bytes=(section.capacity_bytes,),
            micro_batches=self.choices.micro_batches,
            recompute=self.choices.recompute,
            tensor_parallel=self.choices.tensor_parallel,
        )

    def _fitting(self, family: PlanFamily, section: Section, degrees: tuple[Replication, ...]) -> _Fitting:
        """Return the degrees and stages of which some partition fits; links do not matter for that."""
        if family not in self._fits:
            held = self._held(family, section, degrees)
            problem = replace(held.problem, memory_bytes=family.memory_bytes)
            pairs = tuple((one.data_parallel, stages) for one, stages in feasible_shapes(problem, held.needs))
            if not pairs:
                self.shortages.append(shortage(problem, held.needs))
            order = self.workload.order
            sinks = set(range(len(order))) - {edge.source for edge in self.workload.edges}
            last = order[min(sinks)] if len(sinks) == 1 else None
            weights = weights_of_layers(order, last, family.recompute)
            self._fits[family] = _Fitting(
                pairs=pairs, whole=WholeLayers(problem=problem, order=tuple(order), weights=weights)
            )
        return self._fits[family]

    def _held(self, family: PlanFamily, section: Section, degrees: tuple[Replication, ...]) -> Held:
        any_memory = replace(family, memory_bytes=0.0)
        if any_memory not in self.held:
            nothing = np.zeros((len(self.kernels[group_of(family)].shard.layers), 1))
            idle = LayerTimes(forward_s=nothing, backward_s=nothing, optimizer_s=nothing)
            problem = self.problem(any_memory, section.setting, idle, degrees)
            self.held[any_memory] = Held(problem=problem, needs=memory_needs(problem))
        return self.held[any_memory]

    def problem(
        self, family: PlanFamily, setting: Setting, seconds: LayerTimes, degrees: tuple[Replication, ...]
    ) -> PartitionProblem:
        """Return the partition problem of a family on one chip.

        Args:
            family: The family of plans.
            setting: The setting, with what the chip brings.
            seconds: Seconds of the layers, one column.
            degrees: Data-parallel degrees with their costs.
        """
        shard = self.kernels[group_of(family)].shard
        return placement_problem(self.workload, shard, setting, family, seconds, degrees)
