"""Chips that do not exist, one for each stage of a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hardplace.api.asking import asked_of
from hardplace.api.sources import load

if TYPE_CHECKING:
    import os

    from hardplace.answers import Infeasible
    from hardplace.branch_and_bound.types import Progress
    from hardplace.design.results import StagesResult
    from hardplace.workload.types import Workload


def stages(
    model: str | os.PathLike[str] | Workload,
    *,
    setting: str = "hbm3",
    node: str | None = None,
    space: str = "reticle",
    process: str | float | None = None,
    ideal: bool = False,
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
) -> StagesResult | Infeasible:
    """Search one kind of chip or two for the stages of a pipeline, with a bound for any chip on any stage.

    The best single chip is always a candidate. Pairs are tried of a few good chips; the bound holds for all.

    Args:
        model: As for `search`.
        setting: As for `search`.
        node: As for `search`.
        space: As for `search`; every chip is within the limits.
        process: As for `search`.
        ideal: As for `search`.
        limits: As for `search`, of every chip, without step.
        devices: As for `search`.
        batch: As for `search`.
        memory: As for `search`.
        micro_batch: As for `search`.
        tensor: As for `search`.
        recompute: As for `search`.
        gap: Relative gap, bound / score - 1, at which the search stops.
        seconds: Time limit in seconds. None: none.
        progress: As for `search`.

    Returns:
        The chips, the plan, which stage is on which chip, and what the best single chip reaches; or what is short.

    Raises:
        BadInput: For an argument that is wrong, which it names.
    """
    asked = asked_of(locals())
    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.design.question import question_of
    from hardplace.design.stage_chips.answer import check_asked, stage_chips

    question = question_of(
        (load(model),), setting=setting, node=node, space=space, process=process, ideal=ideal, devices=devices,
        batch=batch, limits=limits or {}, memory=memory, micro_batch=micro_batch, tensor=tensor, recompute=recompute,
    )  # fmt: skip
    check_asked(question)
    ends = StoppingRule(gap=gap, limit_s=seconds)
    return replace(stage_chips(question, ends, report=progress), question=asked)
