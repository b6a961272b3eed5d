"""The shape of a model together with the chip that trains it: one search, one certificate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hardplace.api.asking import Named, asked_of, names_of
from hardplace.api.kernels import query_of
from hardplace.api.sources import load

if TYPE_CHECKING:
    import os

    from hardplace.answers import Infeasible
    from hardplace.branch_and_bound.types import Progress
    from hardplace.shaping.joint.types import ShapeDesignResult


def codesign(
    model: str | os.PathLike[str],
    *,
    within: float = 0.02,
    freeze: Named = (),
    ranges: Mapping[str, str | Sequence[int]] | None = None,
    raw: bool = False,
    setting: str = "hbm3",
    node: str | None = None,
    space: str = "reticle",
    process: str | float | None = None,
    limits: Mapping[str, str | float] | None = None,
    devices: int = 1024,
    batch: int = 4096,
    memory: str | float | Sequence[str | float] = (),
    micro_batch: int | Sequence[int] = (),
    tensor: int | Sequence[int] = (),
    recompute: bool | Sequence[bool] = (),
    gap: float = 0.01,
    seconds: float | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> ShapeDesignResult | Infeasible:
    """Search model shape, chip and plan together, with one certificate.

    Args:
        model: A name of `models()`, a Workload file or a config.json of a decoder.
        within: As for `shapes`.
        freeze: As for `shapes`.
        ranges: As for `shapes`.
        raw: Score by samples a second alone. False: times the shape's trained parameters over the model's own.
        setting: As for `search`.
        node: As for `search`.
        space: As for `search`.
        process: As for `search`.
        limits: As for `search`.
        devices: As for `search`.
        batch: As for `search`.
        memory: As for `search`.
        micro_batch: As for `search`.
        tensor: As for `search`.
        recompute: As for `search`.
        gap: As for `search`.
        seconds: As for `search`.
        progress: As for `search`.

    Returns:
        The best shape, chip and plan, beside the model's own shape on its best chip; or what is short.

    Raises:
        BadInput: For an argument that is wrong, which it names.
    """
    asked = asked_of(locals())
    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.design.question import question_of
    from hardplace.shaping.joint.answer import jointly
    from hardplace.shaping.sources import model_named

    question = question_of(
        (load(model),), setting=setting, node=node, space=space, process=process, devices=devices,
        batch=batch, limits=limits or {}, memory=memory, micro_batch=micro_batch, tensor=tensor, recompute=recompute,
        objectives=("throughput",),
    )  # fmt: skip
    query = query_of(within, names_of(freeze), ranges or {}, 10)
    ends = StoppingRule(gap=gap, limit_s=seconds)
    found = jointly(model_named(str(model), None), question, query, ends, raw=raw, report=progress)
    return replace(found, question=asked)
