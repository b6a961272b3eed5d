"""Brute force over the plans of docs/model-placement.md, "The space": nested loops and `estimate_plan`, without bounds,
caches of layers or programmes. Random small questions for it, seeded."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from hardplace.errors import BadInput
from hardplace.hardware.catalogue import device, node
from hardplace.hardware.device import Device, Node
from hardplace.plans.chain import LayerChain, of_workload
from hardplace.plans.estimate import PlanEstimate, estimate_plan
from hardplace.plans.fleet import Fleet, fleet_of
from hardplace.plans.placement.result import PlacementResult
from hardplace.plans.placement.search import PlanSearch
from hardplace.plans.placement.space import NUMERICS, WAYS, PlanFilter, PlanSpace
from hardplace.plans.plan import INSIDE_OUT, ContextExchange, Dimension, PipelineSchedule, Plan
from hardplace.plans.plan_problems import problems
from hardplace.plans.timing import Known
from hardplace.workload.affine import Affine
from hardplace.workload.load import load
from hardplace.workload.types import Edge, Holder, Layer, Operator, Phase, Recompute, StorageRole, Workload

TENSOR, CONTEXT, DATA, PIPELINE = INSIDE_OUT
KINDS = {"h100-sxm": "dgx-h100", "a100-80gb-sxm": "dgx-a100", "v100-sxm2": "dgx-v100", "tpu-v4": "tpu-v4-64"}
Inventory = list[tuple[Device, Node, int]]


def short_model(name: str, layers: int, first: int = 0) -> Workload:
    """Return a chain's workload with so many of its inner layers, from `first` on."""
    whole = load(name)
    last = len(whole.order) - 1
    kept = [0, *range(1, last)[first : first + layers], last]
    return replace(
        whole,
        order=tuple(whole.order[one] for one in kept),
        edges=tuple(Edge(place, 0, place + 1, 0) for place in range(len(kept) - 1)),
        shared=shared_among(whole, kept),
    )


def shared_among(whole: Workload, kept: list[int]) -> tuple[tuple[Holder, ...], ...]:
    """Return what layers share of which only some positions are kept."""
    found = []
    for holders in whole.shared:
        left = tuple(Holder(kept.index(one.position), one.storage) for one in holders if one.position in kept)
        if len(left) > 1:
            found.append(left)
    return tuple(found)


def with_shared(workload: Workload, rng: random.Random) -> Workload:
    """Return a chain in which some of the equal layers hold the same parameters, and some parameters are frozen."""
    layers = list(workload.layers)
    for index, layer in enumerate(layers):
        tied = {(workload.order[at], storage) for holders in workload.shared for at, storage in holders}
        weights = [
            one
            for one, storage in enumerate(layer.storages)
            if storage.role is StorageRole.PARAMETER and (index, one) not in tied
        ]
        if weights and rng.random() < 0.4:
            frozen = set(rng.sample(weights, rng.randint(1, len(weights))))
            layers[index] = replace(layer, operators=tuple(without(layer, one, frozen) for one in layer.operators))
    alike = rng.choice([one for one in workload.order if workload.order.count(one) > 1])
    places = [place for place, one in enumerate(workload.order) if one == alike]
    rng.shuffle(places)
    cut = rng.randint(2, len(places))
    weights = [one for one, storage in enumerate(layers[alike].storages) if storage.role is StorageRole.PARAMETER]
    shared = list(workload.shared)
    for group in (places[:cut], places[cut:]):
        for storage in rng.sample(weights, rng.randint(1, len(weights))):
            if len(group) > 1:
                shared.append(tuple(Holder(place, storage) for place in sorted(group)))
    return replace(workload, layers=tuple(layers), shared=tuple(sorted(shared)))


def without(layer: Layer, operator: Operator, frozen: set[int]) -> Operator:
    """Return an operator of the optimizer that leaves storages as they are; any other as it is."""
    if operator.phase is not Phase.OPTIMIZER:
        return operator
    written = tuple(one for one in operator.writes if layer.tensors[one].storage not in frozen)
    count = sum(layer.storages[layer.tensors[one].storage].parameters for one in written)
    return replace(operator, writes=written, dims=(Affine(count, 0),))


def short_branching(name: str, each: int) -> Workload:
    """Return a workload with `each` at most of the equal layers that follow each other (of an encoder, a decoder)."""
    whole = load(name)
    place: dict[int, int] = {}
    order: list[int] = []
    kept: list[int] = []
    run = 0
    for index, layer in enumerate(whole.order):
        run = run + 1 if index and whole.order[index - 1] == layer else 1
        if run <= each:
            order.append(layer)
            kept.append(index)
        place[index] = len(order) - 1
    edges = {
        Edge(place[edge.source], edge.output, place[edge.target], edge.input)
        for edge in whole.edges
        if edge.target in kept and place[edge.source] < place[edge.target]
    }
    ordered = sorted(edges, key=lambda one: (one.target, one.input, one.source))
    return replace(whole, order=tuple(order), edges=tuple(ordered), shared=shared_among(whole, kept))


@dataclass(frozen=True)
class Asked:
    """A question; fixed: as `--fix` has it, also for the brute force; headroom: share of memory kept free; within: the
    plans that are allowed, before their stages are cut."""

    workload: Workload
    inventory: Inventory
    batch: int
    fixed: dict[str, tuple[object, ...]]
    headroom: float = 0.0
    within: PlanFilter | None = None

    def bases(self) -> Iterator[dict[str, Any]]:
        """Yield what changes numerics, and how plans are run, in all the ways asked for."""
        names = [name for name in (*NUMERICS, *WAYS) if name in self.fixed]
        for chosen in itertools.product(*(self.fixed[name] for name in names)):
            yield dict(zip(names, chosen, strict=True))

    def allows(self, name: str, usual: tuple[object, ...]) -> tuple[object, ...]:
        """Return the values of a dimension."""
        return self.fixed.get(name, usual)


def divisors(number: int) -> list[int]:
    return [one for one in range(1, number + 1) if number % one == 0]


def compositions(total: int, parts: int, least: int = 0) -> Iterator[tuple[int, ...]]:
    if parts == 1:
        yield (total,)
        return
    for first in range(least, total + 1):
        for rest in compositions(total - first, parts - 1, least):
            yield (first, *rest)


def heads_of(workload: Workload) -> int:
    """Return what every attention's heads can be divided by; 0 without attention."""
    return math.gcd(
        *(one.dims[1].at(1) for layer in workload.layers for one in layer.operators if one.kind.value == "attention")
    )


def experts_of(workload: Workload) -> int:
    """Return the experts of a mixture; 1: none."""
    sizes = [
        one.dims[0].at(1) for layer in workload.layers for one in layer.operators if one.kind.value == "grouped_matmul"
    ]
    return max(sizes, default=1)


def cuts(asked: Asked, pipeline: int, virtual: int, *, folds: bool = False) -> Iterator[dict[str, tuple[int, ...]]]:
    """Yield every way to cut the layers into stages: sizes of a chain's, else the stage of every layer. folds: the
    schedule is V-shaped, the embedding and the head are both chunks of the first stage."""
    workload = asked.workload
    if pipeline == 1:
        yield {}
        return
    if any(edge.target != edge.source + 1 for edge in workload.edges):
        count = len(workload.order)
        for stages in itertools.product(range(pipeline), repeat=count):
            if len(set(stages)) == pipeline and all(stages[one.source] <= stages[one.target] for one in workload.edges):
                yield {"assignment": stages}
        return
    for sizes in compositions(len(workload.order) - 2, pipeline):
        ends = (
            (sizes[0] + 2, *sizes[1:]) if folds else (sizes[0] + 1, *sizes[1:-1], sizes[-1] + 1)
        )  # the embedding and the head are a chunk's layer too
        if all(one >= virtual for one in ends) and all(one >= 1 for one in sizes[1:-1]):
            yield {"stages": sizes}


def kinds_of(asked: Asked, width: int, pipeline: int) -> Iterator[tuple[str, ...]]:
    """Yield the device of each stage: each kind's stages side by side, in every order of the kinds."""
    if len(asked.inventory) == 1:
        yield ()
        return
    counts = {chip.name: divmod(count, width) for chip, _, count in asked.inventory}
    if any(rest for _, rest in counts.values()) or sum(each for each, _ in counts.values()) != pipeline:
        return
    for names in itertools.permutations(counts):
        yield tuple(name for name in names for _ in range(counts[name][0]))


def orders() -> list[tuple[Dimension, ...]]:
    return [(TENSOR, *rest) for rest in itertools.permutations((CONTEXT, DATA, PIPELINE))]


def divisions(asked: Asked) -> Iterator[Plan]:
    """Yield degrees, micro-batches, kinds and orders."""
    devices = sum(count for _, _, count in asked.inventory)
    inner = min(fleet_of(asked.inventory, Plan(global_batch=1)).sites[0].cluster.levels[0].devices, devices)
    for _, where, count in asked.inventory:
        inner = min(inner, where.levels[0].devices or count, count)
    branches = any(edge.target != edge.source + 1 for edge in asked.workload.edges)
    layers = max(1, len(asked.workload.order) - 2)
    once = (0,) * len(asked.workload.order) if branches else ()
    tensors = asked.allows("tensor", tuple(one for one in divisors(devices) if one <= inner))
    for base, tensor in itertools.product(asked.bases(), tensors):
        if heads_of(asked.workload) % tensor:
            continue
        for sequence, context, expert in itertools.product(
            asked.allows("sequence", (False, True) if tensor > 1 else (False,)),
            asked.allows("context", (1,)),
            asked.allows("expert", tuple(divisors(experts_of(asked.workload)))),
        ):
            if sequence and tensor == 1:
                continue
            exchanges = asked.allows("context_exchange", tuple(ContextExchange))
            for exchange in exchanges if context > 1 else (ContextExchange.ALL_GATHER,):
                for pipeline in asked.allows("pipeline", tuple(divisors(devices))):
                    data, left = divmod(devices, tensor * context * pipeline)
                    if left or data == 0 or asked.batch % data or pipeline > layers + 2:
                        continue
                    if tensor * context * data % expert or data not in asked.allows("data", (data,)):
                        continue
                    for micro, order, kinds in itertools.product(
                        asked.allows("micro_batch", (1, 2, 4, 8, 16)),
                        asked.allows("order", tuple(orders())),
                        list(kinds_of(asked, tensor * context * data, pipeline)),
                    ):
                        if asked.batch % (data * micro):
                            continue
                        plan = Plan(
                            global_batch=asked.batch, tensor=tensor, sequence=sequence, context=context, expert=expert,
                            context_exchange=exchange, pipeline=pipeline, data=data, micro_batch=micro, order=order,
                            kinds=kinds, assignment=once if pipeline == 1 else (), **base,
                        )  # fmt: skip
                        if not plan.order_problem():
                            yield replace(plan, assignment=())


def sharded(asked: Asked, plan: Plan) -> Iterator[Plan]:
    """Yield what ZeRO divides, over all replicas or those within the innermost level."""
    inner = min(where.levels[0].devices or count for _, where, count in asked.inventory)
    inner = min(inner, *(count for _, _, count in asked.inventory)) // min(plan.stride(CONTEXT), plan.stride(DATA))
    near = (0, inner) if 1 < inner < plan.replicas and plan.replicas % inner == 0 else (0,)
    for zero in asked.allows("zero", (0, 1, 2, 3) if plan.replicas > 1 else (0,)):
        if plan.pipeline > 1 and (zero == 3 or (zero == 2 and "zero" not in asked.fixed)):
            continue
        for shard in asked.allows("shard", near):
            if (zero or not shard) and (not shard or plan.replicas % shard == 0):
                yield replace(plan, zero=zero, shard=shard)


def every_plan(asked: Asked) -> Iterator[Plan]:
    """Yield every plan of the space and every way to cut it."""
    branches = any(edge.target != edge.source + 1 for edge in asked.workload.edges)
    layers = max(1, len(asked.workload.order) - 2)
    for division in divisions(asked):
        most = -(-layers // division.pipeline)
        usual = tuple(one for one in Recompute if one is not Recompute.SELECTIVE or not division.flash)
        for one in sharded(asked, division):
            ways = asked.allows("schedule", tuple(way for way in PipelineSchedule if not way.folds))
            alone = [way for way in ways if not way.folds][:1]  # of one stage
            for schedule in ways if one.pipeline > 1 else alone:
                chunked = schedule is PipelineSchedule.ONE_F_ONE_B and one.pipeline > 1 and not branches
                if one.micro_batches % one.pipeline:
                    chunked = False
                usual_chunks = tuple(divisors(most)) if chunked else (2 if schedule.folds else 1,)
                for virtual in asked.allows("virtual", usual_chunks):
                    if virtual > 1 and (branches or (virtual > most and not schedule.folds)):
                        continue
                    for recompute in asked.allows("recompute", usual):
                        chosen = recompute is Recompute.FULL and not branches and not one.offload_layers
                        some = range(most if chosen else 1)
                        for count, cut in itertools.product(
                            asked.allows("recompute_layers", tuple(some)),
                            cuts(asked, one.pipeline, virtual, folds=schedule.folds),
                        ):
                            plan = replace(
                                one, schedule=schedule, virtual=virtual, recompute=recompute, recompute_layers=count,
                                **cut,
                            )  # fmt: skip
                            whole = replace(plan, stages=(), assignment=())
                            if not any(problems(plan)) and (asked.within is None or asked.within.allows(whole)):
                                yield plan


class Estimates:
    """`estimate_plan` of many plans of one question; each way to run the layers is made once."""

    def __init__(self, workload: Workload, inventory: Inventory) -> None:
        self.workload, self.inventory = workload, inventory
        self._chains: dict[tuple[object, ...], LayerChain | None] = {}
        self._fleets: dict[tuple[object, ...], tuple[Fleet, Known]] = {}

    def of(self, plan: Plan) -> PlanEstimate | None:
        """Return what a plan costs; None where its degrees divide nothing of the model."""
        how = tuple(getattr(plan, name) for name in (*NUMERICS, *WAYS))
        key = (
            plan.tensor, plan.sequence, plan.context, plan.expert, plan.micro_batch, plan.recompute,
            plan.recompute_layers > 0, plan.offload_layers and plan.pipeline, plan.context_exchange, *how,
        )  # fmt: skip
        if key not in self._chains:
            try:
                self._chains[key] = of_workload(self.workload, plan)
            except BadInput:
                self._chains[key] = None
        chain = self._chains[key]
        if chain is None:
            return None
        if how not in self._fleets:
            self._fleets[how] = fleet_of(self.inventory, plan), {}
        return estimate_plan(chain, plan, *self._fleets[how])


@dataclass(frozen=True)
class Brute:
    """Every plan's name (as `place` counts them), seconds, and the bytes of each stage with its device."""

    names: list[Plan]
    steps_s: list[float]
    bytes_: list[list[tuple[str, float]]]

    def best(self, memory_bytes: dict[str, float]) -> list[float]:
        """Return the seconds of the best plan of every name that fits, rising."""
        found: dict[Plan, float] = {}
        for name, step_s, held in zip(self.names, self.steps_s, self.bytes_, strict=True):
            if all(size <= memory_bytes[kind] for kind, size in held):
                found[name] = min(step_s, found.get(name, math.inf))
        return sorted(found.values())


def brute(asked: Asked, most: int = 10**9) -> Brute | None:
    """Return every plan of a question; None if there are more than `most`."""
    plans = list(itertools.islice(every_plan(asked), most + 1))
    if len(plans) > most:
        return None
    estimates = Estimates(asked.workload, asked.inventory)
    names, steps_s, held = [], [], []
    only = asked.inventory[0][0].name
    for plan in plans:
        one = estimates.of(plan)
        if one is None:
            continue
        names.append(
            replace(plan, stages=(), assignment=(), recompute_layers=min(1, plan.recompute_layers), order=INSIDE_OUT)
        )
        steps_s.append(one.step_s)
        held.append(
            [
                (kind, room.total_bytes)
                for kind, room in zip(plan.kinds or (only,) * plan.pipeline, one.memory, strict=True)
            ]
        )
    return Brute(names, steps_s, held)


_MODELS = (
    ("llama2-7b", 2, 6), ("opt-350m", 2, 5), ("bert-base", 2, 5), ("mixtral-8x7b", 2, 3), ("deepseek-v3", 2, 4),
    ("inception-v3", 3, 5), ("t5-large", 1, 1), ("dlrm", 0, 0), ("u-net", 0, 0),
)  # fmt: skip


def random_question(rng: random.Random) -> Asked:
    """Return a small question: a model, one or two kinds of device in unequal numbers, some dimensions held."""
    name, low, high = rng.choice(_MODELS)
    if name in ("t5-large", "dlrm", "u-net"):
        workload = short_branching(name, max(1, low))
    else:
        first = {"deepseek-v3": rng.choice((0, 2)), "inception-v3": rng.randrange(8)}.get(name, 0)
        workload = short_model(name, rng.randint(low, high), first)
    names = rng.sample(sorted(KINDS), rng.choice((1, 1, 2)))
    if len(names) == 2 and "tpu-v4" in names:
        names = ["h100-sxm", "a100-80gb-sxm"]
    each = rng.choice((1, 2, 4, 8)) if len(names) == 1 else rng.choice((1, 2))
    counts = [each] if len(names) == 1 else rng.choice(([each, each], [each, 2 * each], [each, 3 * each]))
    inventory = []
    for one, count in zip(names, counts, strict=True):
        where = node(KINDS[one])
        if rng.random() < 0.6 and one != "tpu-v4" and count % 2 == 0 and count > 2:
            first_level = replace(where.levels[0], devices=rng.choice([size for size in (2, 4) if count % size == 0]))
            where = replace(where, levels=(first_level, *where.levels[1:]))
        inventory.append((device(one), where, count))
    devices = sum(counts)
    batch = rng.choice((1, 2, 3, 4, 6)) * devices
    fixed: dict[str, tuple[object, ...]] = {}
    branches = name in ("t5-large", "dlrm", "u-net")
    fixed["micro_batch"] = tuple(rng.sample((1, 2, 4), rng.choice((1, 1, 2))))
    if branches:
        fixed["pipeline"] = tuple(one for one in (1, 2, 3, 4) if one <= (2 if len(workload.order) > 8 else 3))
    if name == "deepseek-v3" or name == "mixtral-8x7b":
        fixed["expert"] = rng.choice(((1,), (1, 2), (2,), (1, 4), (2, 4)))
    if name == "llama2-7b" and rng.random() < 0.4:
        fixed["context"] = rng.choice(((2,), (1, 2)))
    if rng.random() < 0.15 and len(inventory) == 1:
        fixed["order"] = tuple(rng.sample(list(itertools.permutations(INSIDE_OUT)), 3))
    if rng.random() < 0.2:
        fixed["zero"] = rng.choice(((2,), (0, 1), (1, 2), (3,)))
    if rng.random() < 0.15:
        fixed["flash"] = (False,)
    if rng.random() < 0.15:
        fixed["shard"] = rng.choice(((0,), (2,), (0, 2)))
    if rng.random() < 0.2:
        fixed["virtual"] = rng.choice(((1,), (2,), (1, 2), (3,)))
    if rng.random() < 0.2 and not branches and len(workload.order) > 4:
        fixed["recompute_layers"] = rng.choice(((1,), (2, 1), (0, 2), (3, 0, 1)))
    if rng.random() < 0.15:
        fixed["offload_layers"] = rng.choice(((1,), (2,)))
    headroom = rng.choice((0.0, 0.0, 0.05, 0.3))
    return Asked(workload=workload, inventory=inventory, batch=batch, fixed=fixed, headroom=headroom)


@dataclass(frozen=True)
class Checked:
    """How many plans a question has, and what is wrong with the answer; "": nothing."""

    plans: int
    wrong: str


def checked(asked: Asked, rng: random.Random, most: int = 10**9) -> Checked | None:
    """Return what is wrong with the answer to a question, with memory for a random share of its plans; None if it has
    no plan or more than `most`."""
    try:
        every = brute(asked, most)
    except BadInput as contradicts:  # a value that a device cannot have: the question is refused
        return Checked(0, _refused(asked, str(contradicts)))
    if every is None or not every.names:
        return None
    largest = sorted(max(size for _, size in held) for held in every.bytes_)
    memory = {chip.name: largest[int(rng.random() ** 2 * (len(largest) - 1))] for chip, _, _ in asked.inventory}
    if rng.random() < 0.4:
        memory = dict.fromkeys(memory, largest[-1])
    # sums in another order are another last bit
    memory = {name: (size + 1e3) / (1.0 - asked.headroom) for name, size in memory.items()}
    expected = every.best({name: (1.0 - asked.headroom) * size for name, size in memory.items()})
    inventory = [
        (replace(chip, memory_bytes=memory[chip.name]), where, count) for chip, where, count in asked.inventory
    ]
    space = PlanSpace(global_batch=asked.batch, fixed=asked.fixed, headroom=asked.headroom, within=asked.within)
    search = PlanSearch(asked.workload, inventory, space)
    try:
        found = search.run()
    except BadInput as problem:
        return Checked(len(every.names), f"refused: {problem}")
    wrong = _wrong(found, expected)
    if found is not None and not wrong:
        priced, said = [one.step_s for one in search.best], [one.step_s for one in found.best]
        if any(abs(one - other) > 1e-9 * other for one, other in zip(priced, said, strict=True)):
            wrong = f"priced {priced}: expected what estimate_plan says, {said}"
    return Checked(len(every.names), wrong)


def _refused(asked: Asked, expected: str) -> str:
    """Return what is wrong with the answer to a question that is to be refused with a line; "": nothing."""
    space = PlanSpace(global_batch=asked.batch, fixed=asked.fixed, headroom=asked.headroom, within=asked.within)
    try:
        PlanSearch(asked.workload, asked.inventory, space).run()
    except BadInput as problem:
        return "" if str(problem) == expected else f"refused: {problem}: expected {expected}"
    return f"answered, expected: {expected}"


def _wrong(found: PlacementResult | None, expected: list[float]) -> str:
    if found is None or not expected:
        return "" if found is None and not expected else f"found {found and found.best[0]}, expected {expected[:1]}"
    steps = [one.step_s for one in found.best]
    near = 1.0 + 1e-9
    if found.bound_s > expected[0] * near or steps[0] < expected[0] / near:
        return f"bound {found.bound_s:.9g} s and best {steps[0]:.9g} s: expected {expected[0]:.9g} s between them"
    sure = found.proven_plans
    if any(abs(one - other) > 1e-9 * other for one, other in zip(steps[:sure], expected, strict=False)):
        return f"best {steps}, {sure} of them proven: expected {expected[:10]}"
    if sure == len(steps) and len(steps) != min(10, len(expected)):
        return f"{len(steps)} plans, all proven: expected {min(10, len(expected))}"
    if any(one < min(said, found.list_bound_s) / near for said, one in zip(steps, expected, strict=False)):
        return f"best {steps}, others at least {found.list_bound_s}: expected {expected[:10]}"
    if found.gap > 1e-9 or sure < len(steps):
        return f"gap {found.gap}, {sure} plans proven: expected 0, all"
    if not all(one.fits for one in found.best):
        return "a plan that does not fit"
    if min(found.short, found.bounded, found.priced) < 0:
        return f"{found.considered} considered, {found.short} short, {found.bounded} bounded, {found.priced} priced"
    return ""
