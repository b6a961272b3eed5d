"""The replay of benchmarks/scaling.py, by hand."""

import sys
from pathlib import Path

import pytest

from hardplace.branch_and_bound.types import StoppingRule
from hardplace.design.exact.evaluator import in_process
from hardplace.design.search.explore import DesignSearch
from search_questions import small

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from scaling import Event, recorded, replayed_s

# The loop starts 1 and 2 at 1 s, waits for 1, drops 2, starts 3 at once, and waits for it.
DROPPED = [
    Event("start", 1, 1.0, 4.0),
    Event("start", 2, 0.0, 8.0),
    Event("finish", 1, 0.0),
    Event("drop", 2, 0.5),
    Event("start", 3, 0.0, 2.0),
    Event("finish", 3, 0.5),
]


@pytest.mark.parametrize(
    ("workers", "expected_s"),
    [
        (1, 15.0),  # 1 ends at 5 and 2 begins, is dropped too late and ends at 13; 3 ends at 15
        (2, 7.5),  # 1 ends at 5, 2 keeps its worker until 9; 3 begins at 5.5
        (1024, 7.5),
    ],
)
def test_a_refinement_that_began_keeps_its_worker(workers: int, expected_s: float) -> None:
    assert replayed_s(DROPPED, workers) == expected_s


def test_one_that_did_not_begin_is_never_done() -> None:
    events = [Event("start", 1, 0.0, 4.0), Event("start", 2, 0.0, 8.0), Event("drop", 2, 1.0), Event("finish", 1, 0.0)]
    assert replayed_s([*events, Event("start", 3, 0.0, 1.0), Event("finish", 3, 0.0)], 1) == 5.0


def test_the_loop_waits_for_what_it_started_first() -> None:
    """Four of 3, 1, 1, 1 s: two workers end all at 3 s, though the loop has the first result then."""
    events = [Event("start", at, 0.0, seconds) for at, seconds in enumerate((3.0, 1.0, 1.0, 1.0))]
    events += [Event("finish", at, 0.0) for at in range(4)]
    assert [replayed_s(events, workers) for workers in (1, 2, 4)] == [6.0, 3.0, 3.0]


def test_a_recorded_search_finds_what_a_search_finds() -> None:
    """Refinements are done when they start, not when their result is asked for: the answer is the same."""
    question, gap = small("opt-350m"), 0.01
    events, found = recorded(question, gap)
    known = DesignSearch(question, StoppingRule(gap=gap), evaluator=in_process(question, gap)).run()
    assert (found.scores, found.excess) == (known.scores, known.excess)
    whole_s = sum(event.own_s + event.seconds for event in events)
    assert replayed_s(events, 1) <= whole_s * (1 + 1e-9)
