"""Strategies on small spaces: within their budget, repeatable, never above the certified bound, and as published."""

import contextlib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.types import StoppingRule
from hardplace.design.question import Question
from hardplace.design.strategies import phaze, wham
from hardplace.design.strategies.compare import STRATEGIES, compare
from hardplace.design.strategies.oracle import Oracle, Spent
from hardplace.design.strategies.types import Comparison, End, Trial
from hardplace.files import read
from hardplace.report.compare import figure, page
from search_questions import ONE_PLAN, TINY, small

GAP = 0.01


def comparison(asked: Question, names: tuple[str, ...], evaluations: int, gap: float, seed: int) -> Comparison:
    found = compare(asked, names, StoppingRule(gap=gap, evaluations=evaluations), seed=seed)
    assert isinstance(found, Comparison)
    return found


@pytest.fixture(scope="module")
def compared() -> Comparison:
    pytest.importorskip("optuna")
    return comparison(small(), tuple(STRATEGIES), 12, GAP, 5)


def test_every_strategy_keeps_its_budget_and_the_certified_bound(compared: Comparison) -> None:
    bound = compared.certified.bound_samples_per_s
    assert compared.certified.samples_per_s <= bound <= compared.certified.samples_per_s * (1 + GAP)
    assert [trial.strategy for trial in compared.trials] == list(STRATEGIES)
    for trial in compared.trials:
        assert 0 < trial.evaluations <= 12
        assert trial.end in (End.EVALUATIONS, End.OWN)
        assert 0 < trial.samples_per_s <= bound * (1 + 1e-9)
        values = [point.samples_per_s for point in trial.way]
        assert values == sorted(values)
        assert values[-1] == trial.samples_per_s
        assert trial.way[-1].evaluations == trial.evaluations


def timeless(trial: Trial) -> tuple[object, ...]:
    return trial.strategy, trial.chip, trial.plan, trial.samples_per_s, trial.evaluations


def test_the_same_seed_gives_the_same_trials_and_another_seed_others(compared: Comparison) -> None:
    again = comparison(small(), ("bayesian", "random"), 12, GAP, 5)
    assert [timeless(one) for one in again.trials] == [timeless(one) for one in compared.trials[2:]]

    def first(seed: int) -> list[object]:
        oracle = Oracle(small(), StoppingRule(gap=GAP, evaluations=10))
        with pytest.raises(Spent):
            STRATEGIES["random"].search(oracle, seed)
        return list(oracle.seen)

    assert first(1) == first(1) != first(2)


@pytest.mark.parametrize("name", ["random", "bayesian"])
def test_a_strategy_that_sees_everything_finds_the_certified_optimum(name: str) -> None:
    pytest.importorskip("optuna")
    asked = small(chips=TINY, choices=ONE_PLAN)
    found = comparison(asked, (name,), 10_000, 0.0, 0)
    (trial,) = found.trials
    assert trial.end is End.OWN
    assert trial.samples_per_s == pytest.approx(found.certified.samples_per_s, rel=1e-9)


@pytest.mark.parametrize("limits", [{"area_mm2": 1.0}, {"step_s": 1e-6}])
def test_nothing_to_compare_is_said(limits: dict[str, float]) -> None:
    asked = small(choices=ONE_PLAN)
    short = compare(replace(asked, budget=replace(asked.budget, **limits)), ("random",), StoppingRule(gap=GAP))
    assert isinstance(short, Infeasible)
    assert short.needed > short.available == next(iter(limits.values()))


def test_phaze_walks_down_the_area_and_stops_after_five_buckets_that_do_not_rise() -> None:
    oracle = Oracle(small(choices=ONE_PLAN), StoppingRule(gap=GAP))
    phaze.search(oracle, 0)
    bucket = np.floor(oracle.chips.area_mm2 / 0.01)
    (family,) = oracle.families
    ranked = sorted(set(bucket.tolist()), reverse=True)
    seen = {chip for chip, _ in oracle.seen}
    maxima: list[float] = []
    for place, area in enumerate(ranked):
        chips = set(np.flatnonzero(bucket == area).tolist())
        if len(maxima) >= 5 and all(later <= earlier for earlier, later in pairwise(maxima[-5:])):
            assert not seen & {chip for chip in range(len(bucket)) if bucket[chip] <= area}
            return
        assert chips <= seen
        maxima.append(max(oracle.seen[chip, family] for chip in chips))
        assert place < len(ranked) - 1, "the walk ends of itself"


def test_wham_evaluates_only_chips_of_the_space_and_grows_them() -> None:
    oracle = Oracle(small(choices=ONE_PLAN), StoppingRule(gap=GAP, evaluations=6))
    with contextlib.suppress(Spent):
        wham.search(oracle, 0)
    assert 0 < len(oracle.seen) <= 6
    cores = [int(oracle.chips.tensor_cores[chip] * oracle.chips.vector_cores[chip]) for chip, _ in oracle.seen]
    assert max(cores) > 1


def test_the_page_shows_every_search(compared: Comparison, tmp_path: Path) -> None:
    from hardplace.files import write

    text = page(compared)
    for word in ("certified", *STRATEGIES, compared.certified.chip, "seed 5", "12 exact evaluations"):
        assert word in text
    (panel,) = figure(compared).panels
    names = [line.name for line in panel.series]
    assert names == ["certified", *STRATEGIES]
    write(tmp_path / "compare.json", compared)
    assert read(tmp_path / "compare.json", Comparison) == compared
