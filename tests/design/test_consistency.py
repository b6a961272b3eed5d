"""What cannot be true together is found, and is no answer."""

from dataclasses import replace
from typing import Any

import pytest

from hardplace.branch_and_bound.types import StoppingRule
from hardplace.design.answer import answer
from hardplace.design.consistency import check_answer, contradictions
from hardplace.design.results import DesignResult
from hardplace.design.types import Evaluation
from hardplace.errors import Contradiction
from search_questions import question

ASKED = question("opt-350m", micro_batches=(1,), recompute=(False,), tensor_parallel=(1,))


@pytest.fixture(scope="module")
def best() -> Evaluation:
    found = answer(ASKED, StoppingRule(gap=0.01))
    assert isinstance(found, DesignResult)
    return found.best


def test_an_answer_of_the_search_has_no_contradictions(best: Evaluation) -> None:
    assert not list(contradictions(best))
    check_answer(ASKED, (best,), gap=0.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: {"samples_per_s": 2 * one.samples_per_s, "bound_samples_per_s": 1e9}, "beside a step"),
        (lambda one: {"placement": replace(one.placement, batch_s=193e-6)}, "beside a step of 0.000193 s"),
        (lambda one: {"bound_samples_per_s": 0.99 * one.samples_per_s}, "above the bound"),
        (lambda one: {"family": replace(one.family, memory_bytes=1e9)}, "of memory"),
        (lambda one: {"time": one.time[1:]}, "shares of time"),
        (lambda one: {"model_flops_utilisation": 1.02}, "MFU of 102.0\u00a0%"),
        (lambda one: {"chip": replace(one.chip, area_mm2=1e4)}, "a chip of 10000 mm2 within"),
    ],
)
def test_contradictions_are_named(best: Evaluation, change: Any, words: str) -> None:
    with pytest.raises(Contradiction, match=words):
        check_answer(ASKED, (replace(best, **change(best)),), gap=0.0)


def test_an_answer_above_its_own_bound_is_none(best: Evaluation) -> None:
    with pytest.raises(Contradiction, match="above its own bound"):
        check_answer(ASKED, (best,), gap=-0.01)
