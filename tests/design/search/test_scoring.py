"""What candidates are judged by, by hand."""

import numpy as np
import pytest

from hardplace.branch_and_bound.types import StoppingRule
from hardplace.design.goals import Goal, Objective
from hardplace.design.search.explore import DesignSearch
from hardplace.design.search.layout import ModelLayout
from hardplace.design.search.scoring import Scoring
from search_questions import question


@pytest.fixture(scope="module")
def scoring() -> Scoring:
    asked = question("opt-350m", budget={"step_s": 0.5}, micro_batches=(1,), recompute=(False,), tensor_parallel=(1,))
    return DesignSearch(question=asked, ends=StoppingRule(gap=0.01)).scoring


def test_a_speed_whose_step_is_longer_than_the_limit_is_none_and_the_shortest_such_step_is_said(
    scoring: Scoring,
) -> None:
    layout = scoring.models[0]
    most = layout.batch / 0.5  # samples a second at the limit
    found = scoring.in_time(layout, most * np.array([0.0, 0.5, 0.8, 1.0, 2.0]))
    assert (found / most).tolist() == [0.0, 0.0, 0.0, 1.0, 2.0]
    assert scoring.limits.excluded.step_s == pytest.approx(0.5 / 0.8)
    scoring.in_time(layout, most * np.array([0.25, 0.9]))
    assert scoring.limits.excluded.step_s == pytest.approx(0.5 / 0.9)
    scoring.in_time(layout, most * np.array([0.0, 0.7]))  # a longer one leaves it
    assert scoring.limits.excluded.step_s == pytest.approx(0.5 / 0.9)


def test_energy_is_bounded_where_an_objective_needs_it() -> None:
    """Above 0 on every chip, and of a box at most what its lowest chip takes; nothing reads it for other objectives."""
    for objective, is_needed in ((Objective.ENERGY, True), (Objective.THROUGHPUT, False)):
        asked = question(
            "opt-350m", goal=Goal(objectives=(objective,)), micro_batches=(1,), recompute=(False,), tensor_parallel=(1,)
        )
        found = DesignSearch(question=asked, ends=StoppingRule(gap=0.01)).scoring
        low, high = (np.array([[one] for one in ends]) for ends in (asked.space.whole.low, asked.space.whole.high))
        chip, box = found.known(0, low, low).joules[0], found.known(0, low, high - 1).joules[0]
        assert (chip > 0.0).all() == (box > 0.0).all() == is_needed
        assert (box <= chip * (1 + 1e-9)).all()


def test_the_best_family_of_a_box_is_bounded_alone_as_with_all_others() -> None:
    asked = question("llama2-7b", micro_batches=(1, 4), recompute=(False, True), tensor_parallel=(1, 2))
    found = DesignSearch(question=asked, ends=StoppingRule(gap=0.01)).scoring
    random = np.random.default_rng(0)
    sizes = np.array(asked.space.whole.high)[:, None]
    low = random.integers(0, sizes, (len(sizes), 30))
    high = np.minimum(low + random.integers(0, 3, low.shape), sizes - 1)
    every = found.known(0, low, high).samples_per_s[0]
    best = found.known(0, low, high, best=True).samples_per_s[0]
    assert best.max(axis=0).tolist() == every.max(axis=0).tolist()
    assert (best >= every).all()
    assert (best > every).any(), "all families are bounded as well as the best one"


def test_a_layout_like_another_has_the_same_plans_and_fullest_stages_as_one_of_its_own() -> None:
    asked = question("opt-350m", micro_batches=(1, 8), recompute=(False, True), tensor_parallel=(1, 4))
    search = DesignSearch(question=asked, ends=StoppingRule(gap=0.01))
    section = search.scoring.sections[0]
    own, like = (
        ModelLayout(
            workload=asked.workloads[0], setting=asked.setting, choices=asked.choices, space=asked.space, alike=given
        ).on(section, lambda: None)
        for given in (None, search.scoring.models[0])
    )
    assert own.families == like.families
    for one, other in zip(own.shapes, like.shapes, strict=True):
        for name in ("stages", "rounds", "reduction_s_per_byte", "latency_s", "shards"):
            assert getattr(one, name).tolist() == getattr(other, name).tolist()
        if one.fullest is None or other.fullest is None:
            assert one.fullest is other.fullest
        else:
            assert one.fullest.least.tolist() == other.fullest.least.tolist()
