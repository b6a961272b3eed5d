"""Certificates that were false once: fleets, limits of a step, spaces that share a name, what an answer contradicts."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.front import Front
from hardplace.branch_and_bound.loop import Deadline, Loop
from hardplace.branch_and_bound.problem import Refined
from hardplace.branch_and_bound.steps import Here
from hardplace.branch_and_bound.types import Stop, StoppingRule
from hardplace.certificate import at_most, gap_of, percent_at_most
from hardplace.design.answer import answer, explored
from hardplace.design.chip_set import best_chip_set
from hardplace.design.exact.evaluator import InProcess
from hardplace.design.goals import Combine, Goal, Objective
from hardplace.design.question import Question
from hardplace.design.results import DesignResult, SharedResult
from hardplace.design.search.blocks import scheduled
from hardplace.design.search.candidates import ChipBlock
from hardplace.design.search.explore import DesignSearch
from hardplace.design.several_models import together
from hardplace.hardware.settings import HBM3, PHAZE, with_devices
from hardplace.hardware.space import AXES, MemoryChoice
from hardplace.units import GIB
from search_questions import OPEN, exhaustive, question, small_space

GAP = 0.002
# Two memories, of which opt-6.7b fits the larger alone on four devices.
TWO = tuple(
    MemoryChoice(kind="HBM3", stacks=stacks, bytes=16 * stacks * GIB, bandwidth_bytes_per_s=670e9 * stacks)
    for stacks in (1, 5)
)


def fleet_question(models: tuple[str, ...], fleet: int, combine: Combine = Combine.GEOMETRIC) -> Question:
    space = small_space(**{**OPEN, "memories": TWO, "links_bytes_per_s": (), "clock_hz": (), "vector_lanes": (64,)})
    goal = Goal(
        objectives=(Objective.PER_DOLLAR,), weights=(1.0,) * len(models), norms=(1.0,) * len(models), fleet=fleet,
        combine=combine,
    )  # fmt: skip
    setting = replace(with_devices(HBM3, 4), batch_samples=8)
    return question(
        *models, setting=setting, space=space, goal=goal, micro_batches=(1,), recompute=(False,), tensor_parallel=(1,)
    )


def test_a_fleet_has_chips_on_which_not_every_model_fits() -> None:
    asked = fleet_question(("bert-base", "opt-6.7b"), 2)
    both = together(asked, StoppingRule(gap=GAP))
    assert isinstance(both, SharedResult)
    assert both.score == pytest.approx(1.0)
    assert both.bound >= 1.0
    memories = [run.evaluation.chip.memory_bytes for run in both.runs]
    assert memories == [16 * GIB, 80 * GIB]
    one = together(replace(asked, goal=replace(asked.goal, fleet=1)), StoppingRule(gap=GAP))
    assert isinstance(one, SharedResult)
    assert one.bound < 1.0


def test_a_fleet_equals_every_choice_of_chips_where_models_do_not_fit_all() -> None:
    asked = fleet_question(("bert-base", "opt-6.7b", "gpt2-xl"), 2)
    asked = replace(asked, goal=replace(asked.goal, norms=(3e7, 4e5, 8e5)))
    found = explored(DesignSearch(question=asked, ends=StoppingRule(gap=GAP)))
    assert not isinstance(found, Infeasible)
    score, _ = best_chip_set(asked.goal, np.array(found.scores))
    values = np.array([reached for reached, _ in exhaustive(asked, GAP)])
    assert (values == 0.0).any()
    best = max(
        float(np.exp(np.log(np.maximum(np.maximum(one, other), 1e-300)).mean()))
        for one, other in product(values, values)
    )
    assert best / (1 + GAP) * (1 - 1e-9) <= score <= best * (1 + GAP)
    assert score * (1 + found.excess) >= best * (1 - 1e-9)


def test_a_fleet_too_small_for_its_models_is_short_of_chips() -> None:
    front: Front[None] = Front([((1.0, 0.0), None)])
    assert front.excess((0.0, 1.0)) == np.inf
    assert front.excess((1.0, 0.0)) == 0.0
    assert front.excesses(np.array([[0.5, 1.0], [0.0, 0.1]])).tolist() == [-0.5, np.inf]
    goal = Goal(weights=(1.0, 1.0), norms=(1.0, 1.0), fleet=1)
    assert best_chip_set(goal, np.eye(2))[0] == 0.0


@pytest.mark.parametrize("combine", list(Combine))
def test_fleets_of_more_than_709_samples_a_second_have_a_score(combine: Combine) -> None:
    goal = Goal(combine=combine, weights=(1.0, 2.0), norms=(5000.0, 900.0), fleet=2)
    score, _ = best_chip_set(goal, np.array([[1.0, 0.5], [0.0, 1.0]]))
    assert score == pytest.approx((5000.0 + 900.0) / 2 if combine is Combine.ARITHMETIC else 1.0)


class Numbers:
    """A problem of numbers: each is known by a bound, and is reached at another value, or never (0)."""

    def __init__(self, numbers: dict[float, float]) -> None:
        self.numbers, self.front, self.left = numbers, Front[float](), list[float]()

    def roots(self) -> list[tuple[tuple[float, ...], float]]:
        return [((bound,), bound) for bound in self.numbers]

    def job(self, candidate: float) -> None:
        return None

    def refine(self, candidate: float, outcome: object, front: Front[float]) -> Refined[float]:
        if self.numbers[candidate]:
            front.offer((self.numbers[candidate],), candidate)
        return Refined(left=(((candidate,), None),), offers=front.offered, tally=None)

    def discard(self, candidate: float) -> None:
        self.left.append(candidate)

    def add(self, tally: None) -> None:
        pass


@pytest.mark.parametrize("numbers", [{3.0: 0.0, 2.0: 1.9}, {3.0: 0.0, 2.5: 0.0}, {3.0: 2.9}, {}])
def test_the_loop_goes_on_until_something_is_reached_or_nothing_is_left(numbers: dict[float, float]) -> None:
    problem = Numbers(numbers)
    steps: Here[float] = Here(problem, InProcess(tasks={}, gap=0.0))
    ended = Loop(problem, problem.front, steps, StoppingRule(gap=0.01), Deadline()).run()
    best = max(numbers.values(), default=0.0)
    assert problem.front.best == best
    assert not problem.left
    assert ended.excess == pytest.approx(max(numbers) / best - 1.0 if best else np.inf if numbers else 0.0)
    assert ended.stop is (Stop.SCHEDULES if numbers else Stop.OPTIMAL)


def test_a_space_is_known_by_its_chips_not_by_its_name() -> None:
    """The chip to compare with is faster than all of this space and not in it."""
    space = small_space(tensor_cores=(1, 2), array_rows=(64,), array_columns=(64,), vector_cores=(1, 2))
    assert space.name == "phaze"
    setting = replace(with_devices(PHAZE, 64), batch_samples=512)
    choices = {"micro_batches": (1,), "recompute": (False,), "tensor_parallel": (1,)}
    found = answer(question("opt-350m", setting=setting, space=space, **choices))
    assert isinstance(found, DesignResult)
    assert found.best.chip.tensor_cores in (1, 2)
    assert found.best.chip.array_rows == 64
    assert found.baselines[0].evaluation is not None
    assert found.baselines[0].evaluation.samples_per_s > found.bound


@given(st.floats(1e-6, 1e9), st.floats(1.0, 20.0))
def test_gaps_and_bounds_are_printed_as_what_stays_true(score: float, times: float) -> None:
    gap = gap_of(score, score * times)
    printed = float(percent_at_most(gap).removesuffix("\u00a0%").replace(",", ""))
    assert printed >= 100 * gap * (1 - 1e-9) - 1e-9
    assert printed <= 100 * gap + 0.01 + 1e-9
    assert float(at_most(score).replace(",", "")) == pytest.approx(
        score, rel=1e-3 if score < 1000 else 1 / score + 1e-9
    )
    assert float(at_most(score).replace(",", "")) >= score * (1 - 1e-9)


def test_a_bound_of_twice_the_rate_is_a_hundred_percent() -> None:
    assert gap_of(1 / 2.0, 1 / 1.0) == 1.0
    assert percent_at_most(0.00500001) == "0.51\u00a0%"


@pytest.mark.parametrize(("beyond", "priced"), [(0.5, False), (1.5, True)])
def test_chips_beyond_the_gap_are_priced_and_those_within_it_are_not(beyond: float, priced: bool) -> None:
    gap = 0.1
    asked = question("opt-350m", micro_batches=(1,), recompute=(False,), tensor_parallel=(1,))
    search = DesignSearch(question=asked, ends=StoppingRule(gap=gap))
    scoring = search.scoring
    places = np.zeros((len(AXES), 1), dtype=np.int64)
    known = scoring.known(0, places, places)
    best = float(scoring.vectors(known)[0, 0])
    scoring.front = Front([((best / (1.0 + beyond * gap),), None)])
    assert bool(scheduled(scoring, ChipBlock(0, places, known), lambda: None).priced) == priced


@pytest.mark.parametrize("every", [False, True])
def test_a_space_beyond_the_area_says_so_whether_or_not_every_chip_is_tried(every: bool) -> None:
    """Four chips of 200 mm² and more, 150 mm² asked: infeasible by the area, with all four left out."""
    asked = question("opt-350m", space=small_space(**OPEN), budget={"area_mm2": 150.0}, micro_batches=(1,))
    found = answer(asked, StoppingRule(gap=0.01, exhaustive=every))
    assert isinstance(found, Infeasible)
    assert (found.unit, found.available) == ("mm2", 150.0)
    assert found.needed > 150.0
