"""Other search strategies on the space that the certified search covers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hardplace.api.asking import Named, asked_of, names_of, plain
from hardplace.api.sources import load
from hardplace.errors import unknown

if TYPE_CHECKING:
    import os

    from hardplace.answers import Infeasible
    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.design.exact.evaluator import ChipEvaluator
    from hardplace.design.question import Question
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
    evaluator: ChipEvaluator | None = None,
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
        evaluator: As for `search`, of the certified search and of the strategies, each of which is one piece of work.
        progress: Called with the name of the strategy that is waited for.

    Returns:
        For each strategy its best, its evaluations and its improvements over time; or what is short.

    Raises:
        BadInput: For an unknown strategy or an argument that is wrong.
    """
    asked = asked_of(locals())
    trials = asked_trials(
        model, strategies, setting=setting, objective=objective, limits=limits, devices=devices, batch=batch, gap=gap,
        seconds=seconds, evaluations=evaluations, seed=seed,
    )  # fmt: skip
    return compared(trials, asked, evaluator=evaluator, progress=progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedTrials:
    """What `compare` asks: the question, the strategies by name, the limits of each, and a seed."""

    question: Question
    strategies: tuple[str, ...]
    ends: StoppingRule
    seed: int


def asked_trials(
    model: str | os.PathLike[str] | Workload,
    strategies: Named,
    *,
    setting: str,
    objective: str,
    limits: Mapping[str, str | float] | None,
    devices: int,
    batch: int,
    gap: float,
    seconds: float | None,
    evaluations: int | None,
    seed: int,
) -> AskedTrials:
    """Return what `compare` asks; arguments and errors as there."""
    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.design.question import question_of
    from hardplace.design.strategies.compare import STRATEGIES

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
    return AskedTrials(question=question, strategies=names or tuple(STRATEGIES), ends=ends, seed=seed)


def compared(
    trials: AskedTrials,
    asked: Mapping[str, Any],
    *,
    evaluator: ChipEvaluator | None = None,
    progress: Callable[[str], None] | None = None,
) -> Comparison | Infeasible:
    """Compare strategies; for callers that keep a journal of the certified search.

    Args:
        trials: Question, strategies, their limits and seed.
        asked: The question as plain values, which the answer carries.
        evaluator: As for `compare`.
        progress: As for `compare`.

    Returns:
        As `compare`.
    """
    from hardplace.design.strategies.compare import compare as run

    found = run(trials.question, trials.strategies, trials.ends, seed=trials.seed, evaluator=evaluator, report=progress)
    return replace(found, question=plain(asked))
