"""The search against exhaustive evaluation, and its certificate."""

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.front import Front
from hardplace.branch_and_bound.loop import Deadline, TimeUp
from hardplace.branch_and_bound.types import Progress, Stop, StoppingRule
from hardplace.design.answer import answer, frontier
from hardplace.design.chip_set import best_chip_set
from hardplace.design.exact.evaluator import in_process
from hardplace.design.goals import Combine, Goal, Objective
from hardplace.design.results import DesignResult, ParetoResult, SharedResult
from hardplace.design.search.candidates import Reached, only_plan
from hardplace.design.search.explore import DesignSearch, _relative
from hardplace.design.several_models import together
from hardplace.errors import BadInput
from hardplace.hardware.settings import HBM3, PHAZE
from hardplace.hardware.space_files import space as named
from hardplace.hardware.types import Setting
from hardplace.units import GIB
from search_questions import OPEN, TINY, exhaustive, question, small, small_space

GAP = 0.002
SINGLE = [Objective.THROUGHPUT, Objective.PER_WATT, Objective.PER_DOLLAR, Objective.ENERGY, Objective.CARBON]


def check(asked: object, everything: list[tuple[tuple[float, ...], tuple[float, ...]]]) -> None:
    """The search's answer is within its gap of the best, is possible, and its bound holds."""
    found = DesignSearch(question=asked, ends=StoppingRule(gap=GAP)).run()  # type: ignore[arg-type]
    best = max(reached for (reached, *_), _ in everything)
    most = max(bound for _, (bound, *_) in everything)
    (score,) = found.scores[0]
    assert score >= best / (1 + GAP) * (1 - 1e-9)
    assert score <= most * (1 + 1e-9)
    assert score * (1 + found.excess) >= best * (1 - 1e-9)


@settings(max_examples=4, deadline=None)
@given(
    st.lists(st.sampled_from([1, 4, 8, 16]), min_size=2, max_size=2, unique=True),
    st.sampled_from([16, 64, 128]),
    st.sampled_from([HBM3, PHAZE]),
)
def test_search_equals_exhaustive_evaluation(cores: list[int], side: int, setting: Setting) -> None:
    space = small_space(tensor_cores=tuple(sorted(cores)), array_rows=(side,), buffer_bytes=(2**21,))
    asked = question("opt-350m", setting=setting, space=space, micro_batches=(4,), tensor_parallel=(1, 2))
    check(asked, exhaustive(asked, GAP))


@pytest.mark.parametrize("objective", SINGLE)
def test_each_objective_in_an_open_space_equals_exhaustive_evaluation(objective: Objective) -> None:
    choices = {"micro_batches": (1,), "recompute": (False,), "tensor_parallel": (1, 8)}
    space = small_space(**{**OPEN, "array_columns": (160,), "links_bytes_per_s": (150e9, 450e9)})
    asked = question("opt-350m", space=space, goal=Goal(objectives=(objective,)), budget={"tdp_w": 400.0}, **choices)
    check(asked, exhaustive(asked, GAP))


@pytest.mark.parametrize(
    "objectives",
    [
        (Objective.THROUGHPUT, Objective.TDP),
        (Objective.THROUGHPUT, Objective.PRICE, Objective.ENERGY),
    ],
)
def test_no_candidate_exceeds_the_frontier_by_more_than_the_gap(objectives: tuple[Objective, ...]) -> None:
    space = small_space(**{**OPEN, "links_bytes_per_s": (450e9,)})
    choices = {"micro_batches": (1,), "recompute": (False, True), "tensor_parallel": (1, 2)}
    asked = question("opt-350m", space=space, goal=Goal(objectives=objectives), **choices)
    search = DesignSearch(question=asked, ends=StoppingRule(gap=0.02))
    found = search.run()
    assert found.excess <= 0.02
    everything = exhaustive(asked, 0.02)
    for reached, _ in everything:
        assert min(max(a / b for a, b in zip(reached, point, strict=True)) for point in found.scores) <= 1.02 + 1e-9
    for point in found.scores:
        # Every point is possible: some candidate's bound is at least as good in all.
        assert any(all(a <= b * (1 + 1e-9) for a, b in zip(point, most, strict=True)) for _, most in everything)


@pytest.mark.parametrize("combine", [Combine.GEOMETRIC, Combine.WORST, Combine.WEIGHTS])
def test_one_chip_for_several_models_equals_exhaustive_evaluation(combine: Combine) -> None:
    choices = {"micro_batches": (1,), "recompute": (False,), "tensor_parallel": (1,)}
    goal = Goal(combine=combine, weights=(1.0, 3.0), norms=(2000.0, 300000.0))
    asked = question("opt-350m", "bert-large", goal=goal, **choices)
    check(asked, exhaustive(asked, GAP))


def test_a_fleet_equals_exhaustive_evaluation() -> None:
    choices = {"micro_batches": (1,), "recompute": (False,), "tensor_parallel": (1,)}
    goal = Goal(weights=(1.0, 1.0, 1.0), norms=(2000.0, 300000.0, 500.0), fleet=2)
    asked = question("opt-350m", "bert-large", "gpt2-xl", goal=goal, **choices)
    found = DesignSearch(question=asked, ends=StoppingRule(gap=GAP)).run()
    score, _ = best_chip_set(asked.goal, np.array(found.scores))
    values = np.array([reached for reached, _ in exhaustive(asked, GAP)])
    best = max(
        float(np.exp(np.log(np.maximum(values[one], values[other])).mean()))
        for one in range(len(values))
        for other in range(len(values))
    )
    assert best / (1 + GAP) * (1 - 1e-9) <= score <= best * (1 + GAP)
    assert score * (1 + found.excess) >= best * (1 - 1e-9)


@pytest.mark.parametrize(
    ("models", "goal"),
    [
        (("opt-350m",), Goal(objectives=(Objective.PER_DOLLAR,))),
        (("opt-350m",), Goal(objectives=(Objective.THROUGHPUT, Objective.TDP))),
        (("opt-350m", "bert-large"), Goal(weights=(1.0, 1.0), norms=(2000.0, 300000.0))),
    ],
)
def test_an_exhaustive_search_reaches_all_that_can_be_reached(models: tuple[str, ...], goal: Goal) -> None:
    space = small_space(**{**OPEN, "links_bytes_per_s": (450e9,), "array_columns": (160,)})
    asked = question(*models, space=space, goal=goal, micro_batches=(1,), tensor_parallel=(1,))
    found = DesignSearch(question=asked, ends=StoppingRule(gap=GAP, exhaustive=True)).run()
    assert found.stop in (Stop.GAP, Stop.OPTIMAL)
    assert found.excess <= GAP
    every = exhaustive(asked, GAP)
    front = {point for point, _ in every if not any(dominates(other, point) for other, _ in every)}
    assert {tuple(f"{value:.9e}" for value in point) for point in found.scores} == {
        tuple(f"{value:.9e}" for value in point) for point in front
    }


def dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))


def test_too_many_candidates_are_refused_in_one_line() -> None:
    with pytest.raises(BadInput, match=r"exhaustive: 234,880 candidates .* at most 20,000") as raised:
        DesignSearch(
            question=question("opt-350m", space=named("phaze")), ends=StoppingRule(gap=GAP, exhaustive=True)
        ).run()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("objectives", [(Objective.PER_WATT,), (Objective.THROUGHPUT, Objective.TDP)])
def test_a_search_to_a_gap_of_nothing_ends_at_the_best_without_a_warning(objectives: tuple[Objective, ...]) -> None:
    space = small_space(tensor_cores=(1, 4), array_rows=(16, 64), buffer_bytes=(2**21,))
    asked = question(
        "opt-350m", space=space, goal=Goal(objectives=objectives), micro_batches=(4,), tensor_parallel=(1,)
    )
    found = DesignSearch(question=asked, ends=StoppingRule(gap=0.0)).run()  # a warning of NumPy's is an error here
    best = max(reached for (reached, *_), _ in exhaustive(asked, GAP))
    assert max(scores[0] for scores in found.scores) >= best * (1 - 1e-9)


@given(st.integers(0, 10**6), st.sampled_from([Combine.GEOMETRIC, Combine.WORST]), st.integers(1, 4))
def test_the_best_fleet_is_the_best_of_all_subsets(seed: int, combine: Combine, size: int) -> None:
    from itertools import combinations

    values = np.random.default_rng(seed).uniform(0.1, 1.0, (6, 3))
    goal = Goal(combine=combine, weights=(1.0,) * 3, norms=(1.0,) * 3, fleet=size)
    score, chosen = best_chip_set(goal, values)
    merit = np.min if combine is Combine.WORST else lambda row: np.exp(np.log(row).mean())
    best = max(merit(values[list(some)].max(axis=0)) for some in combinations(range(6), size))
    assert score == pytest.approx(best)
    assert len(set(chosen)) <= size
    assert merit(values[list(chosen), range(3)]) == pytest.approx(score)


def test_levels_bound_one_another() -> None:
    asked = question(space=small_space(**OPEN), recompute=(False,), micro_batches=(1,))
    search = DesignSearch(question=asked, ends=StoppingRule(gap=0.01))
    scoring = search.scoring
    whole = asked.space.whole
    places = whole.places()
    for index, section in enumerate(scoring.sections):
        layout, there = scoring.models[0], scoring.there[index][0]
        box = scoring.known(index, places.min(axis=1, keepdims=True), places.max(axis=1, keepdims=True))
        parts = scoring.known(index, places, places)
        assert np.all(box.samples_per_s[0] >= parts.samples_per_s[0] * (1 - 1e-9))
        from hardplace.design.search.bounds import batch_bound_s

        for number, family in enumerate(there.families):
            group = (family.micro_batch, family.tensor_parallel)
            lower = layout.kernels[group].lower_bounds(scoring.space.at(places), section.setting)
            upper = layout.kernels[group].list_schedules(scoring.space.at(places), section.setting)
            assert np.all(lower.forward_s <= upper.forward_s * (1 + 1e-9))
            bound_s = batch_bound_s(lower, there.chains[group], family.recompute, there.shapes[number])
            assert np.all(parts.samples_per_s[0][number] >= layout.batch / bound_s * (1 - 1e-9))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_boxes_bound_their_chips_in_speed_costs_and_energy(data: st.DataObject) -> None:
    # With recompute a box's bound may be the sharper one: both hold, but its share of recompute is another one.
    goal = Goal(objectives=(Objective.ENERGY,))
    asked = question(space=small_space(**OPEN), goal=goal, recompute=(False,), micro_batches=(1,))
    scoring = SEARCHES.setdefault("open", DesignSearch(question=asked, ends=StoppingRule(gap=0.01))).scoring
    low, high, inside = [], [], []
    for values in asked.space.values:
        one, two = sorted((data.draw(st.integers(0, len(values) - 1)), data.draw(st.integers(0, len(values) - 1))))
        low.append(one)
        high.append(two)
        inside.append(data.draw(st.integers(one, two)))
    columns = [np.array(one).reshape(-1, 1) for one in (low, high, inside)]
    box, chip = scoring.known(0, columns[0], columns[1]), scoring.known(0, columns[2], columns[2])
    assert np.all(box.samples_per_s[0] >= chip.samples_per_s[0] * (1 - 1e-9))
    assert np.all(box.joules[0] <= chip.joules[0] * (1 + 1e-9))
    for name in ("area_mm2", "tdp_w", "usd", "embodied_kg", "idle_w"):
        assert getattr(box.costs, name)[0] <= getattr(chip.costs, name)[0] * (1 + 1e-9)
    assert np.all(scoring.vectors(box) >= scoring.vectors(chip) * (1 - 1e-9))


SEARCHES: dict[str, DesignSearch] = {}


@pytest.fixture(scope="module")
def explored() -> DesignResult:
    space = small_space(tensor_cores=(1, 4, 8, 16, 32), vector_cores=(1, 16, 64, 128), array_rows=(32, 64, 128, 256))
    result = answer(question(space=space))
    assert isinstance(result, DesignResult)
    return result


def test_the_answer_is_certified_and_never_worse_than_the_baselines(explored: DesignResult) -> None:
    assert explored.stop in (Stop.GAP, Stop.OPTIMAL)
    assert explored.gap <= 0.01
    assert explored.bound >= explored.score == explored.best.samples_per_s
    for baseline in explored.baselines:
        if baseline.evaluation is not None:
            assert baseline.evaluation.samples_per_s <= explored.best.samples_per_s
    levels = {level.name: level for level in explored.levels}
    assert levels["limits"].entered == explored.candidates
    settled = sum(level.discarded for level in explored.levels)
    assert settled <= explored.candidates


def test_what_a_limit_leaves_open_is_not_counted_as_pruned() -> None:
    asked = question(space=small_space(tensor_cores=(1, 4, 8, 16, 32), vector_cores=(1, 16, 64, 128)))
    found = DesignSearch(question=asked, ends=StoppingRule(gap=0.01, evaluations=0)).run()
    assert found.stop is Stop.EVALUATIONS
    assert sum(level.discarded for level in found.levels) == 0


def test_shares_of_time_add_up(explored: DesignResult) -> None:
    evaluations = [explored.best, *(one.evaluation for one in explored.baselines if one.evaluation)]
    for evaluation in evaluations:
        shares = [cause.amount for cause in evaluation.time]
        assert min(shares) >= -1e-12
        assert sum(shares) == pytest.approx(evaluation.placement.batch_s, rel=1e-9)


def test_replicas_divide_the_batch_and_memory_holds(explored: DesignResult) -> None:
    best = explored.best
    placement = best.placement
    micro_batches = explored.batch_samples // best.family.micro_batch
    assert placement.data_parallel * placement.micro_batches_per_replica == micro_batches
    assert placement.devices <= explored.cluster.devices
    for stage in placement.stages:
        assert stage.memory_bytes <= best.family.memory_bytes
        assert placement.end_of_batch_s >= stage.reduction_s + stage.optimizer_s - 1e-12


def test_the_cloud_holds_the_plan_at_what_it_reaches_and_below_the_bound(explored: DesignResult) -> None:
    cloud = explored.cloud
    reached, bound = np.array(cloud.samples_per_s), np.array(cloud.bound_samples_per_s)
    assert np.all(reached <= bound * (1 + 1e-9))
    mine = cloud.label.index(explored.best.chip.name)
    assert cloud.samples_per_s[mine] <= explored.best.samples_per_s * (1 + 1e-9)


def test_a_search_with_a_time_limit_looks_at_some_chips_and_at_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    from hardplace.design import cloud

    monkeypatch.setattr(cloud, "_HURRIED", 6)
    found = answer(question("opt-350m", recompute=(False,), micro_batches=(1,)), StoppingRule(gap=0.01, limit_s=600.0))
    assert isinstance(found, DesignResult)
    assert len(found.cloud.label) <= 7
    assert found.best.chip.name in found.cloud.label


def test_what_the_time_limit_leaves_no_time_for_is_named() -> None:
    """The limit passes with the proof: what follows it is left out, the answer and its bound stay."""
    deadline = Deadline(limit_s=600.0, share=0.5)

    def report(now: Progress) -> None:
        if now.score and now.bound / now.score - 1.0 <= GAP:
            deadline.start_s -= 600.0

    asked = question("opt-350m", recompute=(False,), micro_batches=(1,))
    found = answer(asked, StoppingRule(gap=GAP, limit_s=600.0), report=report, within=deadline)
    assert isinstance(found, DesignResult)
    assert found.bound >= found.score > 0.0
    assert not found.baselines
    assert not found.cloud.label
    assert any(one.startswith("time limit: the comparison with TPUv4, the comparison with") for one in found.notes)


def test_a_schedule_that_the_deadline_cuts_short_is_no_outcome() -> None:
    asked = question("opt-350m", recompute=(False,), micro_batches=(1,))
    search = DesignSearch(question=asked, ends=StoppingRule(gap=GAP))
    (reached, *_) = search.run().reached
    plan = only_plan(reached)
    late = Deadline(limit_s=600.0, start_s=time.perf_counter() - 560.0, share=0.9)
    assert late.over
    assert not late.past
    assert not late.rest.over
    with pytest.raises(TimeUp):
        in_process(asked, GAP, deadline=late).evaluate(plan.job)


def test_a_model_that_fits_no_placement_says_what_is_short() -> None:
    short = answer(question(memory_bytes=(0.25 * GIB,)))
    assert isinstance(short, Infeasible)
    assert short.needed > short.available == 0.25 * GIB
    assert short.unit == "bytes"


@pytest.mark.parametrize(
    ("budget", "word", "unit"),
    [
        ({"tdp_w": 3.0}, "TDP", "W"),
        ({"usd": 50.0}, "price", "USD"),
        ({"area_mm2": 1.0}, "area", "mm2"),
        ({"step_s": 1e-3}, "step", "s"),
        ({"memory_bytes": 1e9}, "memory", "bytes"),
    ],
)
def test_a_space_without_a_chip_within_the_limits_names_the_limit(
    budget: dict[str, float], word: str, unit: str
) -> None:
    short = answer(question(budget=budget))
    assert isinstance(short, Infeasible)
    assert word in short.what
    assert short.unit == unit
    assert short.needed > short.available == next(iter(budget.values()))


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        (StoppingRule(gap=0.01, limit_s=1e-9), "time limit"),
        (StoppingRule(gap=0.01, evaluations=0), "evaluations spent"),
    ],
)
def test_a_limit_before_any_plan_is_reached_is_no_shortage(ends: StoppingRule, words: str) -> None:
    """The step is long enough for some families and too short for others; nothing is known before the first chip."""
    asked = question("opt-350m", budget={"step_s": 0.08})
    assert isinstance(answer(asked), DesignResult)
    with pytest.raises(BadInput, match=f"{words} before any plan was reached"):
        answer(asked, ends)


def test_chips_that_are_all_too_small_for_their_space_are_said_to_be() -> None:
    space = small_space(tensor_cores=(2,), vector_cores=(2,), least_area_share=0.3)
    with pytest.raises(BadInput, match=r"below 30\s% of the area limit"):
        answer(question("opt-350m", space=space, budget={"area_mm2": 1e5}))


def test_the_smallest_memory_that_is_as_fast_is_chosen() -> None:
    found = answer(question("opt-350m", memory_bytes=(32.0 * GIB, 64.0 * GIB, 80.0 * GIB)))
    assert isinstance(found, DesignResult)
    assert found.best.family.memory_bytes == 32.0 * GIB == found.best.chip.memory_bytes


def test_more_memory_bandwidth_is_never_slower() -> None:
    fast = replace(HBM3, memory_bandwidth_bytes_per_s=2 * HBM3.memory_bandwidth_bytes_per_s)
    one, other = answer(question(), StoppingRule(gap=0.001)), answer(question(setting=fast), StoppingRule(gap=0.001))
    assert isinstance(one, DesignResult)
    assert isinstance(other, DesignResult)
    assert other.best.samples_per_s >= one.best.samples_per_s / 1.001


def test_an_interrupt_leaves_the_best_so_far_and_a_sound_bound() -> None:
    asked = question(setting=PHAZE)
    full = DesignSearch(question=asked, ends=StoppingRule(gap=0.001)).run()
    calls = 0

    def stop_after_an_incumbent(progress: object) -> None:
        nonlocal calls
        calls += 1
        if search.front.points:
            raise KeyboardInterrupt

    search = DesignSearch(question=asked, ends=StoppingRule(gap=0.001), report=stop_after_an_incumbent)
    part = search.run()
    assert part.stop is Stop.INTERRUPTED
    assert part.reached
    assert full.reached
    assert part.scores[0][0] * (1.0 + part.excess) >= full.scores[0][0] * (1 - 1e-9)
    assert calls >= 1


@pytest.mark.parametrize("fleet", [1, 2])
def test_several_models_are_told_apart_in_the_answer(fleet: int) -> None:
    """Each runs on a chip of the answer, at no more than its own best there; the score is what the runs come to."""
    choices = {"micro_batches": (1,), "recompute": (False,), "tensor_parallel": (1,)}
    names = ("opt-350m", "bert-large", "gpt2-xl")
    goal = Goal(weights=(1.0, 2.0, 1.0), norms=(1.0,) * 3, fleet=fleet)
    found = together(question(*names, goal=goal, **choices), StoppingRule(gap=GAP))
    assert isinstance(found, SharedResult)
    assert found.gap <= GAP
    assert tuple(run.model for run in found.runs) == names
    assert {run.chip for run in found.runs} == set(range(len(found.chips)))
    assert len(found.chips) <= fleet
    for run in found.runs:
        assert run.evaluation.chip == replace(found.chips[run.chip], memory_bytes=run.evaluation.chip.memory_bytes)
        assert run.score == run.evaluation.samples_per_s <= run.own_best * (1 + GAP)
        assert answer(question(run.model, **choices), StoppingRule(gap=GAP)).score == pytest.approx(run.own_best)  # type: ignore[union-attr]
    shares = np.log([run.score / run.own_best for run in found.runs])
    assert found.score == pytest.approx(np.exp(shares @ [0.25, 0.5, 0.25]), rel=1e-9)


def test_an_interrupt_while_models_are_searched_alone_is_raised_at_once() -> None:
    """There is no answer for all of them yet, and what a model reaches by then is not its own best."""
    told: list[float] = []

    def report(now: Progress) -> None:
        told.append(now.score)
        if now.score > 0:
            raise KeyboardInterrupt

    goal = Goal(weights=(1.0, 1.0), norms=(1.0, 1.0))
    with pytest.raises(KeyboardInterrupt):
        together(question("opt-350m", "bert-large", goal=goal), StoppingRule(gap=GAP), report=report)
    assert sum(score > 0 for score in told) == 1


def test_own_bests_that_are_not_proven_are_said_to_be() -> None:
    chips = replace(TINY, tensor_cores=(1, 2, 4, 8), vector_cores=(1, 2, 4, 8))
    one, other = small("opt-350m", chips), small("resnet-50", chips)
    goal = replace(one.goal, weights=(1.0, 1.0), norms=(1.0, 1.0))
    found = together(
        replace(one, workloads=(*one.workloads, *other.workloads), goal=goal), StoppingRule(gap=0.0, evaluations=1)
    )
    assert isinstance(found, SharedResult)
    (said,) = [note for note in found.notes if "own best" in note]
    assert said.startswith("resnet-50: evaluations spent")


def test_a_frontier_has_points_along_its_trade_offs_before_any_block_is_priced() -> None:
    space = small_space(**{**OPEN, "memories": OPEN["memories"][:1], "links_bytes_per_s": (450e9,)})
    goal = Goal(objectives=(Objective.THROUGHPUT, Objective.TDP))
    asked = question("opt-350m", space=space, goal=goal, micro_batches=(1,), recompute=(False,), tensor_parallel=(1,))
    search = DesignSearch(question=asked, ends=StoppingRule(gap=0.02))
    _, box = next(iter(search.roots()))
    front = Front[Reached]()
    search.refine(box, None, front)
    speeds, inverse_w = zip(*(scores for scores, _ in front.points), strict=True)
    everything = exhaustive(asked, 0.02, work=0.0)
    for point in zip(speeds, inverse_w, strict=True):
        assert any(all(a <= b * (1 + 1e-9) for a, b in zip(point, most, strict=True)) for _, most in everything)
    assert max(inverse_w) == pytest.approx(max(most[1] for _, most in everything)), "the chip of least TDP"
    assert max(speeds) > 2.0 * speeds[inverse_w.index(max(inverse_w))]


def test_a_frontier_names_what_its_points_reach() -> None:
    goal = Goal(objectives=(Objective.THROUGHPUT, Objective.TDP))
    asked = question("opt-350m", goal=goal, micro_batches=(1,), recompute=(False,), tensor_parallel=(1,))
    found = frontier(asked, StoppingRule(gap=0.02))
    assert isinstance(found, ParetoResult)
    assert found.units == ("samples/s", "W")
    assert found.inverse == (False, True)
    speeds = [point.values[0] for point in found.points]
    assert speeds == [point.evaluation.samples_per_s for point in found.points] == sorted(speeds, reverse=True)
    watts = [point.values[1] for point in found.points]
    assert watts == sorted(watts, reverse=True), "a slower chip of the frontier takes less"
    assert found.gap <= 0.02


def test_an_excess_over_bounds_is_one_over_what_was_evaluated() -> None:
    """By hand: what was reached at 100 is evaluated at 98 and 99, so 101 exceeds it by 101 / 98 - 1."""
    front, scores = [(100.0, 0.0), (50.0, 100.0)], [(98.0, 0.0), (50.0, 99.0)]
    assert _relative(0.01, front, scores) == pytest.approx(1.01 * 100 / 98 - 1)
    assert _relative(0.0, [(100.0,)], [(104.0,)]) == 0.0  # evaluated above all bounds that were left
    assert _relative(0.1, [(100.0,)], [(104.0,)]) == pytest.approx(1.1 / 1.04 - 1)
    assert _relative(0.03, [], []) == 0.03
