"""Changes of a plan that a trainer can run after them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from hardplace.exports.limits.types import Changes, ModelFacts
from hardplace.plans.plan import ContextExchange, PipelineSchedule, Plan
from hardplace.workload.types import Recompute


def to(**changes: Any) -> Callable[[Plan, ModelFacts], Iterable[Changes]]:
    """Return what always gives these changes."""
    return lambda plan, facts: (changes,)


def moved(name: str, plan: Plan) -> Iterator[Changes]:
    """Yield a degree's devices given to data, tensor and context parallelism in every way that the batch allows."""
    degree = getattr(plan, name)
    gone: dict[str, Any] = {name: 1, "shard": 0}
    if name == "context" and plan.exchanges_heads:
        gone["context_exchange"] = ContextExchange.ALL_GATHER  # heads are exchanged between two ranks or more
    if name == "pipeline":
        gone |= {"virtual": 1, "stages": (), "assignment": (), "kinds": (), "schedule": PipelineSchedule.ONE_F_ONE_B}
    for data in (one for one in range(degree, 0, -1) if degree % one == 0):
        micro_batch = next(
            (one for one in (plan.micro_batch, 1) if plan.global_batch % (plan.data * data * one) == 0), None
        )
        if micro_batch is None:
            continue
        for tensor in (one for one in range(degree // data, 0, -1) if degree // data % one == 0):
            context = degree // data // tensor
            if name == "context" and context > 1:
                continue
            yield {
                **gone,
                "data": plan.data * data,
                "tensor": plan.tensor * tensor,
                "micro_batch": micro_batch,
                **({"context": plan.context * context} if name != "context" else {}),
            }


def no_pipeline(plan: Plan, facts: ModelFacts) -> Iterator[Changes]:
    """Yield what gives the devices of the pipeline to other degrees."""
    yield from moved("pipeline", plan)


def no_context(plan: Plan, facts: ModelFacts) -> Iterator[Changes]:
    """Yield what gives the devices of context parallelism to other degrees."""
    yield from moved("context", plan)


def exchanging(plan: Plan, facts: ModelFacts) -> Iterator[Changes]:
    """Yield what exchanges heads between context ranks, then what has none."""
    if plan.tensor == 1 and facts.kv_heads % plan.context == 0:
        yield {"context_exchange": ContextExchange.ALL_TO_ALL}
    yield from no_context(plan, facts)


def no_expert(plan: Plan, facts: ModelFacts) -> Iterator[Changes]:
    """Yield what keeps all experts on every rank."""
    yield {"expert": 1}


def whole_sequences(plan: Plan, facts: ModelFacts) -> Iterator[Changes]:
    """Yield what keeps whole sequences on every rank; experts need them divided beside tensor parallelism, so of them
    what gives its devices to data parallelism too."""
    yield {"sequence": False}
    data = plan.data * plan.tensor
    if facts.experts > 1 and plan.global_batch % data == 0:
        micro_batch = plan.micro_batch if plan.global_batch % (data * plan.micro_batch) == 0 else 1
        yield {"sequence": False, "tensor": 1, "data": data, "micro_batch": micro_batch, "shard": 0}


def even(plan: Plan, facts: ModelFacts) -> Iterator[Changes]:
    """Yield what cuts the layers evenly, then without virtual stages, then not at all."""
    if facts.layers >= plan.pipeline:
        yield {"stages": ()}
        yield {"stages": (), "virtual": 1}
    yield from no_pipeline(plan, facts)


def fewer_recomputed(plan: Plan, facts: ModelFacts) -> Iterator[Changes]:
    """Yield what recomputes all layers, then none."""
    yield {"recompute": Recompute.FULL, "recompute_layers": 0, "recompute_modules": ()}
    yield {"recompute": Recompute.NONE, "recompute_layers": 0, "recompute_modules": ()}


def by_operator(plan: Plan, facts: ModelFacts) -> Iterator[Changes]:
    """Yield what recomputes by operator, then all layers, then none."""
    yield {"recompute": Recompute.SELECTIVE, "recompute_layers": 0, "recompute_modules": ("op",)}
    yield from fewer_recomputed(plan, facts)


def to_zero(*values: int) -> Callable[[Plan, ModelFacts], Iterator[Changes]]:
    """Return what shards as these stages of ZeRO do, one after the other."""

    def found(plan: Plan, facts: ModelFacts) -> Iterator[Changes]:
        for value in values:
            yield {"zero": value, "shard": plan.shard if value else 0}

    return found


def smaller_tensor(plan: Plan, facts: ModelFacts) -> Iterator[Changes]:
    """Yield the largest smaller tensor degrees that divide the heads of keys, the rest given to data parallelism."""
    for tensor in range(plan.tensor - 1, 0, -1):
        if plan.tensor % tensor == 0 and facts.kv_heads % tensor == 0:
            data = plan.data * plan.tensor // tensor
            if plan.global_batch % (data * plan.micro_batch) == 0:
                yield {"tensor": tensor, "data": data, "sequence": plan.sequence and tensor > 1, "shard": 0}
                return
