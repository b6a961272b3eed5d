"""Other search strategies on the space that the certified search covers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from hardplace.api.asking import Named, asked_of, names_of
from hardplace.api.sources import load
from hardplace.errors import unknown

if TYPE_CHECKING:
    import os

    from hardplace.answers import Infeasible
    from hardplace.design.strategies.types import Comparison
    from hardplace.workload.types import Workload

_OBJECTIVES = ("throughput", "throughput-per-watt")


def compare(
    model: str | os.PathLike[str] | Workload,
    strategies: Named = (),
    *,
    setting: str = "hbm3",
    objective: str = "throughput",
    limits: Mapping[str, str | float] | None = None,
    devices: int = 1024,
    batch: int = 4096,
    gap: float = 0.001,
    seconds: float | None = None,
    evaluations: int | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Comparison | Infeasible:
    """Compare other search strategies on the same space with the certified search.

    Args:
        model: A catalogue name, a Workload file, a config.json, or a Workload.
        strategies: Names among phaze, wham, bayesian, random. Empty: all.
        setting: As for `search`.
        objective: throughput, or throughput-per-watt: samples a second per watt of TDP.
        limits: As for `search`; they hold for every strategy.
        devices: As for `search`.
        batch: As for `search`.
        gap: Relative gap of the certified search, which runs to its proof.
        seconds: Time limit in seconds of each strategy. None with no `evaluations`: 30 s.
        evaluations: Limit on exact evaluations of each strategy. None: none.
        seed: Seed of the strategies that draw at random.
        progress: Called with the name of the strategy that begins.

    Returns:
        For each strategy its best, its evaluations and its improvements over time; or what is short.

    Raises:
        BadInput: For an unknown strategy or an argument that is wrong.
    """
    asked = asked_of(locals())
    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.design.question import question_of
    from hardplace.design.strategies.compare import STRATEGIES
    from hardplace.design.strategies.compare import compare as compared

    if objective not in _OBJECTIVES:
        raise unknown("objective", objective, _OBJECTIVES)
    names = names_of(strategies)
    for name in names:
        if name not in STRATEGIES:
            raise unknown("strategy", name, STRATEGIES)
    question = question_of(
        (load(model),), setting=setting, space="phaze", devices=devices, batch=batch, limits=limits or {},
        objectives=(objective,),
    )  # fmt: skip
    if seconds is None and evaluations is None:
        seconds = 30.0
    ends = StoppingRule(gap=gap, limit_s=seconds, evaluations=evaluations)
    found = compared(question, names or tuple(STRATEGIES), ends, seed=seed, report=progress)
    return replace(found, question=asked)
