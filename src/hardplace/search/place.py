"""The best plans of a model on so many GPUs that exist: every plan of a stated space, priced.

Exact within the space and the model: nothing is pruned but what does not fit. The space (docs/model-placement.md,
section 6): tensor within a node x pipeline x data x virtual stages x ZeRO x micro-batch x recompute; context and expert
degrees, precision and optimizer as asked for; stages as even as they go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from hardplace.errors import BadInput
from hardplace.hardware.device import Device, Node
from hardplace.placement.plan import Plan, Update, problems
from hardplace.search.chain import Chain, of_workload
from hardplace.search.clusters import even_cluster, fleet_of
from hardplace.search.estimate import PlanEstimate, estimate_plan
from hardplace.search.timing import Known
from hardplace.workload.types import Recompute, Workload

_MICRO_BATCHES = (1, 2, 4, 8, 16)
_VIRTUAL = (1, 2, 4, 8)
BEST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """A change that makes the model fit, and the step it then takes."""

    what: str
    step_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Short:
    """No plan fits: the plan that is nearest, its stage that is short, by how many bytes, and what would mend it."""

    nearest: Plan
    stage: int
    short_bytes: float
    tried: int
    remedies: tuple[Remedy, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The best plans, fastest first; tried: all that were priced; fitting: of them."""

    best: tuple[PlanEstimate, ...]
    tried: int
    fitting: int


class Places:
    """The plans of one model on one kind of GPU; layers are divided and priced once for each way to cut them."""

    def __init__(self, workload: Workload, chip: Device, node: Node) -> None:
        self.workload, self.chip, self.node = workload, chip, node
        self._chains: dict[tuple[object, ...], Chain | None] = {}

    def best(self, asked: Plan, devices: int) -> Placed | Short:
        """Return the best plans, or what is short. asked: context, expert, precision, optimizer, gradient and batch."""
        fitting, tried, nearest = [], 0, None
        fleet = fleet_of([(self.chip, self.node, devices)], asked)
        known: Known = {}
        for plan in self.plans(asked, devices):
            chain = self._chain(plan)
            if chain is None or len(chain.layers) < plan.pipeline * plan.virtual:
                continue
            tried += 1
            found = estimate_plan(chain, plan, fleet, known)
            if found.fits:
                fitting.append(found)
            elif nearest is None or _fullest(found) < _fullest(nearest):
                nearest = found
        if fitting:
            fitting.sort(key=lambda one: one.step_s)
            return Placed(best=tuple(fitting[:BEST]), tried=tried, fitting=len(fitting))
        if nearest is None:
            raise BadInput(
                f"--batch {asked.global_batch}: no data-parallel degree of {devices} devices divides it: expected a "
                f"multiple of devices / (tensor x pipeline)"
            )
        stage = max(range(len(nearest.memory)), key=lambda one: nearest.memory[one].total_bytes)
        short = nearest.memory[stage].total_bytes - self.chip.memory_bytes
        return Short(nearest=nearest.plan, stage=stage, short_bytes=short, tried=tried, remedies=())

    def with_remedies(self, asked: Plan, devices: int) -> Placed | Short:
        """Return the best plans, or what is short and the first three remedies that work, cheapest first.

        Free ones (gradients in bf16, 8-bit optimizer states, both) before context parallelism and more devices.
        """
        found = self.best(asked, devices)
        if isinstance(found, Placed):
            return found
        light = replace(asked, gradient="bf16")
        eight = replace(asked, optimizer=Update.ADAMW_8BIT)
        changes: list[tuple[str, Plan, int]] = [
            ("gradients in bf16", light, devices),
            ("8-bit optimizer states", eight, devices),
            ("both: gradients in bf16, 8-bit optimizer states", replace(eight, gradient="bf16"), devices),
            *((f"context {by * asked.context}", replace(asked, context=by * asked.context), devices) for by in (2, 4)),
            *((f"{by * devices} devices", asked, by * devices) for by in (2, 4, 8, 16)),
        ]
        remedies: list[Remedy] = []
        for what, plan, count in changes:
            if len(remedies) == 3:
                break
            answer = self._try(plan, count)
            if isinstance(answer, Placed):
                remedies.append(Remedy(what=what, step_s=answer.best[0].step_s))
        return replace(found, remedies=tuple(remedies))

    def _try(self, asked: Plan, devices: int) -> Placed | Short | None:
        try:
            return self.best(asked, devices)
        except BadInput:
            return None

    def plans(self, asked: Plan, devices: int) -> Iterator[Plan]:
        """Yield the plans of the space whose degrees multiply to the devices."""
        inner = even_cluster(self.node, devices).levels[0].devices
        for tensor in _divisors(min(inner, devices)):
            for pipeline in _divisors(devices // tensor):
                rest = devices // tensor // pipeline
                if rest % asked.context or pipeline > len(self.workload.order):
                    continue
                degrees = replace(
                    asked, tensor=tensor, sequence=tensor > 1, pipeline=pipeline, data=rest // asked.context
                )
                yield from (plan for plan in _choices(degrees) if not any(problems(plan)))

    def _chain(self, plan: Plan) -> Chain | None:
        key = (plan.tensor, plan.context, plan.expert, plan.micro_batch, plan.recompute, plan.pipeline > 1)
        if key not in self._chains:
            self._chains[key] = _unless_bad(lambda: of_workload(self.workload, plan))
        return self._chains[key]


def _unless_bad(make: Callable[[], Chain]) -> Chain | None:
    """Return a chain, None where a degree divides nothing of the model."""
    try:
        return make()
    except BadInput:
        return None


def _choices(degrees: Plan) -> Iterator[Plan]:
    """Yield virtual stages, ZeRO, micro-batch and recompute for the degrees."""
    for micro_batch in _MICRO_BATCHES:
        for virtual in _VIRTUAL if degrees.pipeline > 1 else (1,):
            for zero in (0, 1, 3) if degrees.data * degrees.context > 1 else (0,):
                for recompute in (Recompute.NONE, Recompute.FULL) if degrees.flash else Recompute:
                    yield replace(degrees, micro_batch=micro_batch, virtual=virtual, zero=zero, recompute=recompute)


def _divisors(number: int) -> list[int]:
    return [one for one in range(1, number + 1) if number % one == 0]


def _fullest(found: PlanEstimate) -> float:
    return max(one.total_bytes for one in found.memory)
