"""Strategies on small spaces: within their budget, repeatable, never above the certified bound, and as published."""

import contextlib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.processes import Processes
from hardplace.branch_and_bound.types import StoppingRule
from hardplace.design.exact.evaluator import in_process
from hardplace.design.fingerprint import asked as fingerprint
from hardplace.design.goals import Objective
from hardplace.design.journal import Journalled, journal
from hardplace.design.question import Question
from hardplace.design.search.regions import chips_of_section
from hardplace.design.strategies import phaze, wham
from hardplace.design.strategies.compare import STRATEGIES, compare
from hardplace.design.strategies.oracle import Oracle, Spent
from hardplace.design.strategies.types import Certified, Comparison, End, Trial
from hardplace.design.types import PlanChoices
from hardplace.files import read
from hardplace.report.compare import figure, page
from hardplace.units import GIB
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
    bound = compared.certified.bound_score
    assert compared.certified.score == compared.certified.samples_per_s <= bound
    assert bound <= compared.certified.samples_per_s * (1 + GAP)
    assert [trial.strategy for trial in compared.trials] == list(STRATEGIES)
    for trial in compared.trials:
        assert 0 < trial.evaluations <= 12
        assert trial.end in (End.EVALUATIONS, End.OWN)
        assert 0 < trial.samples_per_s <= bound * (1 + 1e-9)
        values = [point.score for point in trial.way]
        assert values == sorted(values)
        assert values[-1] == trial.samples_per_s
        assert trial.way[-1].evaluations == trial.evaluations


def timeless(trial: Trial) -> tuple[object, ...]:
    return trial.strategy, trial.chip, trial.plan, trial.samples_per_s, trial.evaluations


def test_the_same_seed_gives_the_same_trials_and_another_seed_others(compared: Comparison) -> None:
    def oracle(name: str, seed: int) -> Oracle:
        made = Oracle(small(), StoppingRule(gap=GAP, evaluations=12))
        with pytest.raises(Spent):
            STRATEGIES[name].search(made, seed)
        return made

    for trial in compared.trials[2:]:
        again = oracle(trial.strategy, 5)
        assert (again.best_score, len(again.seen)) == (trial.score, trial.evaluations)
    first, other = oracle("random", 1), oracle("random", 2)
    assert first.seen == oracle("random", 1).seen
    assert list(first.seen) != list(other.seen)


def test_processes_give_the_same_certified_search_and_trials(tmp_path: Path) -> None:
    asked, ends = small(chips=TINY, choices=ONE_PLAN), StoppingRule(gap=0.0, evaluations=3)
    here = compare(asked, ("phaze", "random"), ends, seed=1)
    with Processes(2) as pool, journal(tmp_path / "compare.sqlite", fingerprint(asked, gap=0.0), "", "") as kept:
        there = compare(
            asked, ("phaze", "random"), ends, seed=1, evaluator=Journalled(kept, in_process(asked, 0.0), pool)
        )
        assert kept._connection.execute("SELECT count(*) FROM evaluations").fetchone() > (0,)
    assert isinstance(here, Comparison)
    assert isinstance(there, Comparison)
    assert [timeless(one) for one in there.trials] == [timeless(one) for one in here.trials]
    assert timeless_search(there) == timeless_search(here)


def timeless_search(found: Comparison) -> Certified:
    return replace(found.certified, seconds=0.0, way=tuple(replace(one, seconds=0.0) for one in found.certified.way))


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


def per_watt(tdp_w: float | None, choices: PlanChoices) -> Question:
    asked = small(chips=TINY, choices=choices)
    goal = replace(asked.goal, objectives=(Objective.PER_WATT,))
    return replace(asked, goal=goal, budget=replace(asked.budget, tdp_w=tdp_w))


MEMORIES = replace(ONE_PLAN, memory_bytes=(64.0 * GIB, 80.0 * GIB))


def test_throughput_per_tdp_of_every_strategy_is_within_the_limits_and_the_bound() -> None:
    free = comparison(per_watt(None, MEMORIES), ("random",), 10_000, 0.0, 0)
    assert free.certified.tdp_w is not None
    limit_w = 0.5 * (free.certified.tdp_w + min(tdps(per_watt(None, MEMORIES))))
    asked = per_watt(limit_w, MEMORIES)
    pytest.importorskip("optuna")
    found = comparison(asked, tuple(STRATEGIES), 10_000, 0.0, 0)
    assert found.certified.score < free.certified.score
    for trial in found.trials:
        assert trial.tdp_w is not None
        assert trial.tdp_w <= limit_w
        assert trial.score == pytest.approx(trial.samples_per_s / (found_devices(asked) * trial.tdp_w), rel=1e-12)
        assert trial.score <= found.certified.bound_score * (1 + 1e-9)
    assert found.trials[-1].score == pytest.approx(found.certified.score, rel=1e-9)
    text = page(found)
    assert "samples/s/W" in text
    assert "TDP, W" in text
    assert "TDP, price, carbon and energy are those of the parts" in text


def found_devices(asked: Question) -> int:
    return asked.setting.cluster.devices


def tdps(asked: Question) -> list[float]:
    scoring = Oracle(asked, StoppingRule(gap=GAP)).search.scoring
    chips, _ = chips_of_section(scoring, 0)
    return list(scoring.limits.costs(scoring.sections[0], chips)[0].tdp_w)


def test_wham_grows_within_a_limit_on_tdp_and_keeps_what_is_best_by_its_metric() -> None:
    oracle = Oracle(per_watt(None, ONE_PLAN), StoppingRule(gap=GAP))
    wham.search(oracle, 0)
    best = max(oracle.seen.values())
    assert best == oracle.best_score > 0.0
    tdp_w = tdps(per_watt(None, ONE_PLAN))
    assert oracle.best_tdp_w == pytest.approx(tdp_w[max(oracle.seen, key=lambda pair: oracle.seen[pair])[0]])
    limit_w = 0.5 * (oracle.best_tdp_w + min(tdp_w))
    limited = Oracle(per_watt(limit_w, ONE_PLAN), StoppingRule(gap=GAP))
    wham.search(limited, 0)
    assert 0.0 < limited.best_score < oracle.best_score
    assert limited.best_tdp_w <= limit_w


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
