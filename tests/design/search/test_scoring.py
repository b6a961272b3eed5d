"""What candidates are judged by, by hand."""

import numpy as np
import pytest

from hardplace.branch_and_bound.types import StoppingRule
from hardplace.design.goals import Goal, Objective
from hardplace.design.search.explore import DesignSearch
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
