"""What a stage of a plan consists of: its chunks (virtual stages), and what its layers hold on one rank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import TypeVar

import numpy as np

from hardplace.cost.layers.low_precision import CastBytes
from hardplace.cost.layers.work import LayerWork
from hardplace.errors import BadInput
from hardplace.ndtypes import Floats
from hardplace.plans.chain import LayerChain, stages_of
from hardplace.plans.memory import StageContents
from hardplace.plans.plan import Plan
from hardplace.plans.stage_sizes import chunk_layers
from hardplace.workload.kept import kept_twice
from hardplace.workload.weights import WeightSizes

_T = TypeVar("_T")  # a layer, or its position


def chunks_of(stage: Sequence[_T], index: int, chain: LayerChain, plan: Plan) -> list[Sequence[_T]]:
    """Return the layers of a stage by chunk (virtual stage), themselves or their positions.

    What always stands first is in the first chunk, what always stands last in the last one.

    Args:
        stage: Layers of the stage.
        index: Index of the stage, from 0 at the input.
        chain: The model's layers.
        plan: The plan.

    Raises:
        BadInput: For more chunks than layers; what is always first, or last, counts as one.
    """
    if plan.virtual == 1:
        return [stage]
    if plan.schedule.folds:
        places = [layer for layer, at in enumerate(stages_of(chain, plan)) if at == index]
        sides = list(zip(stage, places, strict=True))
        return [[one for one, place in sides if chain.second[place] == second] for second in (False, True)]
    before = len(chain.before) if index == 0 else 0
    after = len(chain.after) if index == plan.pipeline - 1 else 0
    most = len(stage) - before - after + min(1, before) + min(1, after)
    if plan.virtual > most:
        raise BadInput("virtual", plan.virtual, f"at most the {most} layers of stage {index}, one a chunk")
    sizes = chunk_layers(len(stage) - before - after, index, plan)
    cuts = [before + sum(sizes[:chunk]) for chunk in range(1, plan.virtual)]
    return [stage[start:end] for start, end in zip((0, *cuts), (*cuts, len(stage)), strict=True)]


def kept_again(chain: LayerChain, plan: Plan, index: int, layers: Collection[int]) -> float:
    """Return the bytes of a micro-batch that the layers of one stage count although another of its chunk does.

    Args:
        chain: The model's layers.
        plan: The plan.
        index: Index of the stage, from 0 at the input.
        layers: Its layers (positions).
    """
    if not chain.kept:
        return 0.0
    places = sorted(layers)
    cut = [one for one in places if chain.inner.start <= one < chain.inner.stop]
    plain = set(cut[plan.recompute_layers :]) if plan.recompute_layers else set()
    return sum(
        kept_twice(chain.kept, set(chunk) - plain, plain & set(chunk))
        for chunk in chunks_of(places, index, chain, plan)
    )


def second_bytes(stage: Sequence[LayerWork], index: int, chain: LayerChain, plan: Plan) -> tuple[float, float]:
    """Return what the second chunk of a stage keeps of a micro-batch in a V-shaped schedule, and what of what recompute
    makes its weight gradients wait for; 0 in others.

    Args:
        stage: Layers of the stage.
        index: Index of the stage, from 0 at the input.
        chain: The model's layers, folded for it.
        plan: The plan.
    """
    if not plan.schedule.folds:
        return 0.0, 0.0
    places = [layer for layer, at in enumerate(stages_of(chain, plan)) if at == index and chain.second[layer]]
    layers = chunks_of(stage, index, chain, plan)[1]
    saved = sum(one.saved_bytes for one in layers) - kept_twice(chain.kept, set(places), set())
    return saved, sum(one.late_bytes for one in layers)


def held(
    stage: Sequence[LayerWork],
    twice: WeightSizes,
    again_bytes: float,
    second: tuple[float, float] = (0.0, 0.0),
    casts: CastBytes | None = None,
) -> StageContents:
    """Return what the layers of a stage hold on one rank.

    Args:
        stage: Layers of the stage.
        twice: Weights that they count more than once (`workload.weights.surplus`).
        again_bytes: Bytes of a micro-batch's activations that they count more than once (`kept_again`).
        second: What of it is of its second chunk, in a V-shaped schedule (`second_bytes`).
        casts: What casts to low precision there are; None: 16 bit.
    """
    total = WeightSizes().plus(twice, -1)
    counts = Counter(stage)
    weights = {one: one.weights for one in counts}
    for one, times in counts.items():
        total = total.plus(weights[one], times)
    return StageContents(
        **total._asdict(),
        saved_bytes=sum(one.saved_bytes for one in stage) - again_bytes,
        logits_bytes=sum(one.logits_bytes for one in stage),
        working_bytes=float(max(one.working_bytes for one in weights)),
        passing_bytes=sum(one.passing_bytes for one in stage),
        lingering_bytes=sum(one.lingering_bytes for one in stage),
        late_bytes=sum(one.late_bytes for one in stage),
        late_working_bytes=float(max(one.working_bytes for one in weights) - max(one.brief_bytes for one in weights)),
        logits_gradient_bytes=sum(one.logits_gradient_bytes for one in stage),
        largest_parameters=max(sum(sizes[:4]) for sizes in weights.values()),
        largest_trained_parameters=max(sum(sizes[:2]) for sizes in weights.values()),
        largest_packed_bytes=max(sum(sizes[4:]) for sizes in weights.values()),
        boundary_bytes=stage[0].output_bytes,
        second_saved_bytes=second[0],
        second_late_bytes=second[1],
        cast_bytes=float(
            kept_casts_bytes(sum(one.cast_weights * times for one, times in counts.items()), total, casts)
        ),
    )


def kept_casts_bytes(read: float | Floats, sizes: WeightSizes, casts: CastBytes | None) -> Floats:
    """Return the bytes of cast weights that a stage keeps beside 16-bit copies, or (below 0) instead: of each once,
    however many of its products read it.

    Args:
        read: Elements that its products in low precision read, also of several stages, (stages,).
        sizes: Its weights.
        casts: What casts there are; None: 16 bit.
    """
    each = 0.0 if casts is None else casts.kept_bytes
    return np.asarray(each * np.minimum(read, sizes.elements))
