"""The journal: values back to the last bit, nothing mixed, nothing lost by a kill, one line for what is wrong."""

import json
import math
import re
import shlex
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hardplace as hp
from commands import command
from hardplace.answers import Infeasible
from hardplace.branch_and_bound.problem import C, Problem, Steps
from hardplace.branch_and_bound.steps import Here
from hardplace.branch_and_bound.types import StoppingRule
from hardplace.design.answer import answer
from hardplace.design.exact.evaluator import in_process
from hardplace.design.fingerprint import asked, difference
from hardplace.design.goals import Objective
from hardplace.design.journal import Journal, Journalled, journal, sought
from hardplace.design.journal_rows import FILE, evaluations, run
from hardplace.design.question import Question
from hardplace.design.results import DesignResult, SharedResult
from hardplace.design.several_models import together
from hardplace.design.strategies.oracle import Oracle
from hardplace.design.types import Evaluation, Job, Outcome
from hardplace.errors import BadInput
from hardplace.files import dumps, parse
from hardplace.hardware.settings import HBM3, PHAZE
from hardplace.report import text as words
from hardplace.report.breakdown import search_figure
from hardplace.report.frontier_and_fleet import shared_sheet
from hardplace.report.page import page
from hardplace.report.terminal import show
from hardplace.units import format_quantity
from hardplace.workload.load import load
from search_questions import TINY, small

ROOT = Path(__file__).parent.parent.parent
QUESTION = small()
BRANCHED = small("resnet-50", replace(TINY, tensor_cores=(1, 2, 4, 8), vector_cores=(1, 2, 4, 8)))  # schedules are open
GAP = 0.0  # many exact evaluations


def opened(path: Path, question: Question = QUESTION, gap: float = GAP) -> "journal":
    return journal(path, asked(question, gap=gap), question.workloads[0].name, "samples/s")


class Counting:
    """An evaluator that counts what it is asked, and fails after some."""

    def __init__(self, most: float = math.inf, question: Question = QUESTION) -> None:
        self.inner, self.done, self.most = in_process(question, GAP), 0, most

    def steps(self, problem: Problem[C, Job, Outcome]) -> Steps[C, Job, Outcome]:
        return Here(problem, self)

    def evaluate(self, job: Job) -> Outcome:
        if self.done >= self.most:
            raise RuntimeError("killed")
        self.done += 1
        return self.inner.evaluate(job)


def jobs() -> list[Job]:
    oracle = Oracle(QUESTION, StoppingRule(gap=GAP))
    return [oracle.job(chip, family) for chip in (0, 40) for family in oracle.families]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_come_back_to_the_last_bit(values: list[float]) -> None:
    short = Infeasible(what="memory", needed=values[0], available=values[-1], unit="bytes", remedy="more")
    back = parse(dumps(short, compact=True), Infeasible, "journal")
    assert (back.needed.hex(), back.available.hex()) == (short.needed.hex(), short.available.hex())


def test_outcomes_come_back_as_they_were_put(tmp_path: Path) -> None:
    here = in_process(QUESTION, GAP)
    outcomes = {job: here.evaluate(job) for job in jobs()}
    with opened(tmp_path / FILE) as made:
        for job, outcome in outcomes.items():
            assert made.get(job) is None
            made.put(job, outcome)
    with opened(tmp_path / FILE) as again:
        assert again.found == len(outcomes)
        for job, outcome in outcomes.items():
            assert again.get(job) == outcome
    assert dict(evaluations(tmp_path / FILE)) == outcomes


def _answer(evaluator: object, question: Question = QUESTION) -> DesignResult:
    found = answer(question, StoppingRule(gap=GAP), evaluator=evaluator)  # type: ignore[arg-type]
    assert isinstance(found, DesignResult)
    return found


def _timeless(found: DesignResult) -> DesignResult:
    levels = tuple(replace(level, seconds=0.0) for level in found.levels)
    return replace(found, seconds=0.0, progress=(), levels=levels)


def test_a_run_that_was_cut_goes_on_from_its_journal_to_the_same_answer(tmp_path: Path) -> None:
    whole = Counting(question=BRANCHED)
    reference = _answer(whole, BRANCHED)
    assert whole.done >= 2
    (exact,) = (level for level in reference.levels if level.name == "exact schedules and placement")
    assert exact.entered == reference.exact_evaluations > 0
    cut = Counting(most=whole.done // 2, question=BRANCHED)
    with opened(tmp_path / FILE, BRANCHED) as made, pytest.raises(RuntimeError, match="killed"):
        _answer(Journalled(made, cut), BRANCHED)
    with opened(tmp_path / FILE, BRANCHED) as again:
        assert again.found == cut.done
        rest = Counting(question=BRANCHED)
        assert _timeless(_answer(Journalled(again, rest), BRANCHED)) == _timeless(reference)
        # What is compared with is evaluated with less effort, beside the journal.
        assert rest.done <= whole.done - cut.done


@pytest.mark.parametrize(
    ("question", "gap", "words"),
    [
        (
            replace(QUESTION, setting=replace(PHAZE, batch_samples=512)),
            GAP,
            ["setting.batch_samples was 4096, now 512"],
        ),
        (replace(QUESTION, setting=HBM3), GAP, ["setting.name was phaze, now hbm3"]),
        (replace(QUESTION, workloads=(load("bert-large"),)), GAP, ["workloads.name was opt-350m, now bert-large"]),
        (replace(QUESTION, space=TINY), GAP, ["space.array_rows was [64,128], now [128]"]),
        (QUESTION, 0.25, ["gap was 0.0, now 0.25"]),
        (
            replace(QUESTION, choices=replace(QUESTION.choices, micro_batches=(1,))),
            GAP,
            ["choices.micro_batches was [1,2], now [1]"],
        ),
    ],
)
def test_another_question_is_refused_and_what_changed_is_said(
    question: Question, gap: float, words: list[str], tmp_path: Path
) -> None:
    with opened(tmp_path / FILE):
        pass
    with pytest.raises(BadInput) as raised, opened(tmp_path / FILE, question, gap):
        pass
    for word in (str(tmp_path / FILE), *words, "fresh", "out"):
        assert word in str(raised.value)
    assert "\n" not in str(raised.value)


def test_every_field_of_a_question_is_compared() -> None:
    fields = asked(QUESTION, gap=GAP)
    for name in (
        "version",
        "code",
        "ortools",
        "budget.area_mm2",
        "setting.clock_hz",
        "workloads.name",
        "goal.devices",
        "gap",
    ):
        assert name in fields
    assert difference(fields, json.loads(json.dumps(fields))) == []
    assert difference(fields, {**fields, "version": "9"}) == [f"version was {fields['version']}, now 9"]


@pytest.mark.parametrize("damage", ["another program", "later format", "no database", "version"])
def test_a_file_that_is_no_journal_of_this_version_is_one_line(damage: str, tmp_path: Path) -> None:
    path = tmp_path / FILE
    with opened(path):
        pass
    if damage == "no database":
        path.write_text("hello, this is a text and no database at all")
    else:
        statement = {
            "another program": "PRAGMA application_id = 7",
            "later format": "PRAGMA user_version = 99",
            "version": "UPDATE asked SET value = '\"0.0.1\"' WHERE field = 'version'",
        }[damage]
        with sqlite3.connect(path) as connection:
            connection.execute(statement)
        connection.close()
    with pytest.raises(BadInput) as raised, opened(path):
        pass
    word = {"later format": "format 99", "version": "version was 0.0.1"}.get(damage, "expected a journal of hardplace")
    assert word in str(raised.value)


def test_a_full_disk_is_one_line_and_what_was_put_is_safe(tmp_path: Path) -> None:
    here, some = in_process(QUESTION, GAP), jobs()
    outcome = here.evaluate(some[-1])
    with opened(tmp_path / FILE) as made:
        (pages,) = made._connection.execute("PRAGMA page_count").fetchone()
        made._connection.execute(f"PRAGMA max_page_count = {pages + 12}")  # SQLite's own "database or disk is full"
        with pytest.raises(BadInput) as raised:
            fill(made, some, outcome)
    assert "disk" in str(raised.value)
    assert "\n" not in str(raised.value)
    kept = list(evaluations(tmp_path / FILE))
    assert kept
    assert all(one == outcome for _, one in kept)


def fill(made: Journal, some: list[Job], outcome: Outcome) -> None:
    for stages in range(1, 200):
        for job in some:
            made.put(replace(job, max_stages=stages), outcome)


def test_a_journal_says_how_far_its_run_is(tmp_path: Path) -> None:
    with opened(tmp_path / FILE) as made:
        made.tell(None, 12.5)
        assert (run(tmp_path / FILE).incumbent, run(tmp_path / FILE).bound) == (None, 12.5)
        made.end(_answer(Journalled(made, in_process(QUESTION, GAP))))
    told = run(tmp_path / FILE)
    assert told.stop in ("optimal", "gap reached", "schedule solver stopped")
    assert told.gap is not None
    assert told.gap >= 0
    assert told.evaluations > 0


def test_three_kills_leave_a_whole_journal_and_the_same_answer() -> None:
    script = ROOT / "benchmarks/kills.py"
    done = subprocess.run(
        # one run: after 0.82, 0.49 and 0.26 of the seconds of one that nobody disturbs
        [sys.executable, script, "--kills", "3", "--each", "3", "--seed", "6", "--commands", "1"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| 1 | 3 |" in done.stdout


def test_runs_are_listed_and_exported(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet")
    shown = re.findall(r"^    (hardplace (?:search|runs).*)$", (ROOT / "docs/distributed.md").read_text(), flags=re.M)
    assert len(shown) == 3
    for told in shown:
        done = command(*shlex.split(told)[1:], folder=tmp_path)
        assert done.code == 0, done.err
    asking = [*shlex.split(shown[0])[1:], "--devices", "64", "--out", "hardplace-out/opt-350m"]
    changed = command(*asking, folder=tmp_path)
    assert changed.code == 2
    assert "setting.cluster.devices was 1024, now 64" in changed.err
    assert changed.err.count("\n") == 1
    (only,) = json.loads(command("runs", "--json", folder=tmp_path).out)["answer"]
    result = hp.read(tmp_path / "hardplace-out/opt-350m/result.json")
    assert isinstance(result, DesignResult)
    assert only["incumbent"] == result.score
    assert only["stop"] == result.stop.value
    rows = pyarrow.read_table(tmp_path / "evaluations.parquet").to_pylist()
    assert len(rows) == only["evaluations"]
    assert result.best.samples_per_s in [row["samples_per_s"] for row in rows]
    assert command("runs", "nowhere", folder=tmp_path).code == 2


def test_evaluations_of_a_search_are_all_in_its_journal(tmp_path: Path) -> None:
    counting = Counting()
    with opened(tmp_path / FILE) as made:
        found = _answer(Journalled(made, counting))
        assert counting.done == len(list(evaluations(tmp_path / FILE)))
    assert any(one == found.best for _, one in evaluations(tmp_path / FILE) if isinstance(one, Evaluation))


@pytest.mark.parametrize("objective", ["energy", "carbon", "tdp", "price", "area"])
def test_a_run_says_what_is_made_small_as_the_search_does(objective: Objective, tmp_path: Path) -> None:
    """Less is better: the bound is below the incumbent, and neither is the inverse that the search climbs."""
    goal = replace(QUESTION.goal, objectives=(Objective(objective),))
    question = replace(QUESTION, goal=goal)
    found = answer(question, StoppingRule(gap=0.01))
    assert isinstance(found, DesignResult)
    with journal(tmp_path / FILE, asked(question, gap=0.01), "opt-350m", sought(goal)) as made:
        made.end(found)
    said = run(tmp_path / FILE)
    assert (
        words.bound(found) == f"{said.objective} {said.incumbent:,.5g} {said.unit}, bound {said.bound:,.5g} {said.unit}"
    )
    assert said.bound is not None
    assert said.incumbent is not None
    assert said.bound <= said.incumbent == pytest.approx(1.0 / found.score)
    assert said.gap == pytest.approx(found.gap)
    assert f"{said.incumbent:,.5g}" == words.objective(found, found.score)
    ways = {one.name: one for one in found.baselines}
    apart = ways["pure data parallel"].evaluation
    assert apart is not None
    if apart.placement == found.best.placement and apart.family == found.best.family:
        assert ways["pure data parallel"].score == pytest.approx(found.score)
    if objective == "area":
        assert 1.0 / (ways["TPUv4"].score or 0.0) == pytest.approx(278.83, rel=1e-3)
    (bound, best) = (one.marks[-1].y for one in search_figure(found).panels[0].series)
    assert (bound, best) == (1.0 / found.bound, 1.0 / found.score)


def test_a_frontiers_run_has_a_gap_and_no_value(tmp_path: Path) -> None:
    goal = replace(QUESTION.goal, objectives=(Objective.THROUGHPUT, Objective.AREA))
    with journal(tmp_path / FILE, asked(QUESTION, gap=GAP), "opt-350m", sought(goal)) as made:
        made.tell(12.0, 15.0)
    said = run(tmp_path / FILE)
    assert (said.objective, said.unit, said.incumbent, said.bound) == ("throughput and area", "", None, None)
    assert said.gap == 0.25


def test_models_that_share_a_chip_are_said_in_the_objectives_unit(tmp_path: Path) -> None:
    goal = replace(QUESTION.goal, objectives=(Objective.AREA,), weights=(1.0, 1.0), norms=(1.0, 1.0))
    found = together(
        replace(QUESTION, goal=goal, workloads=(load("opt-350m"), load("bert-large"))), StoppingRule(gap=0.01)
    )
    assert isinstance(found, SharedResult)
    area_mm2 = f"{found.chips[0].area_mm2:.4g}"
    sheet = shared_sheet(found)
    assert sheet.headings[2] == "mm2"
    assert [row[2] for row in sheet.rows] == [area_mm2, area_mm2]
    assert sought(goal) == "geometric combination of area"


def test_the_limits_are_said_with_what_the_answer_takes_of_each(capsys: pytest.CaptureFixture[str]) -> None:
    budget = replace(QUESTION.budget, tdp_w=300.0, step_s=900.0)
    goal = replace(QUESTION.goal, objectives=(Objective.TDP,))
    found = answer(replace(QUESTION, budget=budget, goal=goal), StoppingRule(gap=0.01))
    assert isinstance(found, DesignResult)
    assert found.tdp_w == pytest.approx(1.0 / found.score)
    step = f"step {format_quantity(found.best.placement.batch_s, 's', 4)} of at most 900.0 s"
    assert words.limits(found) == f"TDP {found.tdp_w:,.5g} W of at most 300 W, {step}"
    show(found)
    said = capsys.readouterr().out
    assert words.limits(found) in said
    row = next(line for line in said.splitlines() if line.startswith("│ answer"))
    assert row.split("│")[2].strip() == f"{found.tdp_w:,.5g}"
    assert words.limits(found) in page(found)
