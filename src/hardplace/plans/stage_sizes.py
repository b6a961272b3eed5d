"""Layers of each stage of a plan, and of each chunk of a stage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

from hardplace.errors import BadInput
from hardplace.plans.plan import Plan


def _short_first(layers: int, chunks: int, each: int) -> Iterator[int]:
    """Yield the layers of chunks of at most `each`, the first ones short of what is not there."""
    short = chunks * each - layers
    for _ in range(chunks):
        less = min(short, each)
        short -= less
        yield each - less


def stage_layers(layers: int, plan: Plan, predicted: int = 0) -> tuple[int, ...]:
    """Return the number of layers of each pipeline stage: the plan's own, else even.

    Where the layers do not divide evenly, but with embedding and head counted as a layer each they do, first and last
    stage have one less (Megatron-LM's account_for_embedding_in_pipeline_split); else the middle stages have one more.
    In a V the first has both, and the last stages one more.

    Args:
        layers: Layers of the model that are cut into stages.
        plan: The plan.
        predicted: Layers of multi-token prediction, on the last stage with the head. Then these and the head count as a
            layer each of the last chunk, and chunks are full from the second on, ceil((layers + predicted + 1) /
            chunks) (Megatron-Bridge's layouts of DeepSeek-V3: 16, 16, 16, 13 over four stages; 1 and 30 of 2 over 32
            chunks, the last without).

    Raises:
        BadInput: Where the plan's stages do not sum to the layers, or there are fewer layers than stages.
    """
    check_recomputed(layers, plan)
    if plan.stages:
        if sum(plan.stages) != layers or min(plan.stages) < 0:
            raise BadInput(f"stages: {list(plan.stages)}: expected numbers that sum to the model's {layers} layers")
        if 0 in plan.stages[1:-1]:
            raise BadInput(f"stages: {list(plan.stages)}: expected a layer or more between the first and last stage")
        return plan.stages
    count = plan.pipeline
    if layers < count:
        raise BadInput(f"pipeline: {count}: expected at most the model's {layers} layers")
    if plan.schedule.folds:
        return _folded_sizes(layers, count)
    if predicted and count > 1:
        chunks = count * plan.virtual
        each = -(-(layers + predicted + 1) // chunks)
        last = max(0, layers - (chunks - 1) * each)
        sizes = [*_short_first(layers - last, chunks - 1, each), last]
        return tuple(sum(sizes[stage::count]) for stage in range(count))
    if layers % count and (layers + 2) % count == 0:
        each = (layers + 2) // count
        return (each - 1, *(each,) * (count - 2), each - 1)
    each, more = divmod(layers, count)
    first = (count - more) // 2
    return tuple(each + (1 if first <= index < first + more else 0) for index in range(count))


def check_recomputed(layers: int, plan: Plan) -> None:
    """Raise BadInput where a plan recomputes more layers of a stage than the model has."""
    if plan.recompute_layers > layers:
        raise BadInput(f"recompute_layers: {plan.recompute_layers}: expected at most the model's {layers} layers")


def _folded_sizes(layers: int, count: int) -> tuple[int, ...]:
    """Return even stages of a V, where embedding and head count as a layer each of the first one if that is even."""
    each, more = divmod(layers, count)
    if layers < 2 * (count - 1):
        raise BadInput("pipeline", count, f"two of the model's {layers} layers for each stage but the first")
    if layers < 2 * count or (more and (layers + 2) % count == 0):
        each = max(2, (layers + 2) // count)
        return (layers - (count - 1) * each, *(each,) * (count - 1))
    return tuple(each + (index >= count - more) for index in range(count))


def chunk_layers(layers: int, stage: int, plan: Plan) -> tuple[int, ...]:
    """Return how many of a stage's layers each of its chunks (virtual stages) has.

    Chunks that layers do not fill evenly are short where embedding and head are: the first ones of a stage, of the last
    stage the last ones (Megatron-LM's account_for_embedding_in_pipeline_split and account_for_loss_in_...).

    Args:
        layers: Layers of the stage that are cut.
        stage: Index of the stage, from 0 at the input.
        plan: The plan.
    """
    more = plan.virtual - 1 if stage == plan.pipeline - 1 else 0
    cuts = [0, *((layers * chunk + more) // plan.virtual for chunk in range(1, plan.virtual)), layers]
    return tuple(high - low for low, high in pairwise(cuts))


def folded_layers(sizes: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return how many of each stage's layers are in the first and the second chunk of a V-shaped schedule.

    From the first stage on, layers are taken from the front and from the end of the model by turns, the front first.

    >>> folded_layers((3, 4, 3))
    ((2, 1), (2, 2), (1, 2))
    """
    ends = [-(-one // 2) for one in accumulate(sizes, initial=0)]
    return tuple((b - a, size - (b - a)) for (a, b), size in zip(pairwise(ends), sizes, strict=True))
