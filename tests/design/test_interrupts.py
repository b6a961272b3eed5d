"""From the first incumbent on an interrupt leaves the answer, and what is missing in it is said."""

from collections.abc import Callable

import pytest

from hardplace.branch_and_bound.types import Finishing, Progress, Stop, StoppingRule
from hardplace.design.answer import answer
from hardplace.design.results import DesignResult
from hardplace.design.search.explore import DesignSearch
from hardplace.report.page import page
from hardplace.report.terminal import show
from search_questions import question

ASKED = question("opt-350m", micro_batches=(1,), recompute=(False,), tensor_parallel=(1,))
RULE = StoppingRule(gap=0.001)


def interrupting(when: Callable[[Progress], bool]) -> Callable[[Progress], None]:
    """Return a report that interrupts once."""
    told: list[bool] = []

    def report(now: Progress) -> None:
        if not told and when(now):
            told.append(True)
            raise KeyboardInterrupt

    return report


@pytest.mark.parametrize(
    ("when", "missing"),
    [
        (lambda now: now.score > 0, ["comparison with TPUv4", "pure data parallel", "chips of the page"]),
        (lambda now: isinstance(now, Finishing), ["comparison with TPUv4", "pure data parallel", "chips of the page"]),
        (lambda now: "pure" in getattr(now, "doing", ""), ["pure data parallel", "chips of the page"]),
        (lambda now: "page" in getattr(now, "doing", ""), ["chips of the page"]),
    ],
)
def test_an_interrupt_after_the_first_incumbent_leaves_an_answer(
    when: Callable[[Progress], bool], missing: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = answer(ASKED, RULE)
    found = answer(ASKED, RULE, report=interrupting(when))
    assert isinstance(whole, DesignResult)
    assert isinstance(found, DesignResult)
    assert found.stop is Stop.INTERRUPTED
    assert found.bound >= whole.score * (1 - 1e-9)
    assert found.score <= found.bound
    (said,) = [note for note in found.notes if note.startswith("interrupted")]
    for words in ("comparison with TPUv4", "pure data parallel", "chips of the page"):
        assert (words in said) == (words in missing)
    assert len(found.baselines) == 2 - sum(words != "chips of the page" for words in missing)
    show(found)
    assert said[:40] in " ".join(capsys.readouterr().out.split())
    assert "interrupted" in page(found)


def test_an_interrupt_of_an_exact_evaluation_leaves_list_schedules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop is over, and its best chip is not evaluated exactly yet."""
    search = DesignSearch(question=ASKED, ends=StoppingRule(gap=0.2))
    evaluate, calls = search._evaluator.evaluate, []

    def interrupted(job: object) -> object:
        calls.append(job)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return evaluate(job)  # type: ignore[arg-type]

    monkeypatch.setattr(search._evaluator, "evaluate", interrupted)
    found = search.run()
    assert found.stop is Stop.INTERRUPTED
    best = answer(ASKED, RULE)
    assert isinstance(best, DesignResult)
    assert found.scores[0][0] <= best.bound
    assert found.scores[0][0] * (1 + found.excess) >= best.score * (1 - 1e-9)
