"""The search against exhaustive evaluation, and its certificate."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardplace.hardware.settings import HBM3, PHAZE
from hardplace.hardware.space import default_budget, phaze_space
from hardplace.hardware.types import Setting
from hardplace.placement.types import Infeasible
from hardplace.search.answer import answer
from hardplace.search.bounds import roofline
from hardplace.search.explore import Search
from hardplace.search.types import Choices, Evaluation, Exploration, Question, Stop
from hardplace.units import GIB
from hardplace.workload.load import load

SPACE = phaze_space(default_budget())
LLAMA = load("llama2-7b")
OPT = load("opt-350m")


def question(chips: list[int], setting: Setting = HBM3, **choices: tuple[float, ...]) -> Question:
    chosen = {
        "memory_bytes": (80.0 * GIB,),
        "micro_batches": (1, 2),
        "recompute": (False, True),
        "tensor_parallel": (1, 4),
        **choices,
    }
    return Question(
        workload=LLAMA,
        setting=setting,
        budget=default_budget(),
        chips=SPACE.take(np.array(chips)),
        choices=Choices(**chosen),  # type: ignore[arg-type]
    )


@settings(max_examples=4, deadline=None)
@given(
    st.lists(st.integers(0, len(SPACE) - 1), min_size=3, max_size=3, unique=True),
    st.sampled_from([HBM3, PHAZE]),
)
def test_search_equals_exhaustive_evaluation_on_a_random_subspace(chips: list[int], setting: Setting) -> None:
    asked = question(chips, setting, micro_batches=(1, 4))
    gap = 0.002
    everything = Search(question=asked, gap=gap)
    evaluations = [
        everything.evaluate(everything.job_of(chip, family))
        for chip in range(len(chips))
        for family in everything.families
    ]
    best = max(one.samples_per_s for one in evaluations if isinstance(one, Evaluation))
    limit = max(one.bound_samples_per_s for one in evaluations if isinstance(one, Evaluation))
    found = Search(question=asked, gap=gap).run()
    assert found.best is not None
    assert found.best.samples_per_s >= best / (1 + gap) * (1 - 1e-9)
    assert found.best.samples_per_s <= limit * (1 + 1e-9)
    assert setting.batch_samples / found.bound_batch_s >= best * (1 - 1e-9)


def test_levels_bound_one_another() -> None:
    asked = question(list(range(0, len(SPACE), 4000)))
    search = Search(question=asked, gap=0.01)
    for family in search.families:
        kernels = search.kernels(family)
        physics = roofline(kernels, asked.chips, asked.setting)
        lower, upper = kernels.bounds(asked.chips, asked.setting)
        assert np.all(physics.forward_s <= lower.forward_s * (1 + 1e-9))
        assert np.all(physics.backward_s <= lower.backward_s * (1 + 1e-9))
        assert np.all(lower.forward_s <= upper.forward_s * (1 + 1e-9))
        assert np.all(lower.backward_s <= upper.backward_s * (1 + 1e-9))


@pytest.fixture(scope="module")
def explored() -> Exploration:
    result = answer(question(list(range(0, len(SPACE), 400))))
    assert isinstance(result, Exploration)
    return result


def test_the_answer_is_certified_and_never_worse_than_the_baselines(explored: Exploration) -> None:
    assert explored.stop in (Stop.GAP, Stop.OPTIMAL)
    assert explored.gap <= 0.01
    assert explored.bound_samples_per_s >= explored.best.samples_per_s
    for baseline in explored.baselines:
        if baseline.evaluation is not None:
            assert baseline.evaluation.samples_per_s <= explored.best.samples_per_s
    levels = {level.name: level for level in explored.levels}
    assert levels["memory"].entered == explored.candidates
    assert levels["roofline"].entered == explored.candidates - levels["memory"].discarded
    settled = sum(level.discarded for level in explored.levels)
    assert explored.candidates - settled == levels["exact schedules and placement"].entered


def test_shares_of_time_add_up(explored: Exploration) -> None:
    evaluations = [explored.best, *(one.evaluation for one in explored.baselines if one.evaluation)]
    for evaluation in evaluations:
        shares = [cause.amount for cause in evaluation.time]
        assert min(shares) >= -1e-12
        assert sum(shares) == pytest.approx(evaluation.placement.batch_s, rel=1e-9)


def test_replicas_divide_the_batch_and_memory_holds(explored: Exploration) -> None:
    best = explored.best
    placement = best.placement
    micro_batches = explored.batch_samples // best.family.micro_batch
    assert placement.data_parallel * placement.micro_batches_per_replica == micro_batches
    assert placement.devices <= explored.cluster.devices
    for stage in placement.stages:
        assert stage.memory_bytes <= best.family.memory_bytes
        assert placement.end_of_batch_s >= stage.reduction_s + stage.optimizer_s - 1e-12


def test_the_cloud_holds_the_plan_at_what_it_reaches_and_below_the_bound(explored: Exploration) -> None:
    cloud = explored.cloud
    assert len(cloud.area_mm2) == explored.chips_in_space
    reached, bound = np.array(cloud.samples_per_s), np.array(cloud.bound_samples_per_s)
    assert np.all(reached <= bound * (1 + 1e-9))
    mine = cloud.label.index(explored.best.chip.name)
    assert cloud.samples_per_s[mine] <= explored.best.samples_per_s * (1 + 1e-9)


def test_a_model_that_fits_no_placement_says_what_is_short() -> None:
    asked = question([0], memory_bytes=(0.25 * GIB,))
    short = answer(asked)
    assert isinstance(short, Infeasible)
    assert short.needed > short.available == 0.25 * GIB
    assert short.unit == "bytes"


def test_more_memory_bandwidth_is_never_slower() -> None:
    chips = list(range(0, len(SPACE), 3000))
    slow = answer(question(chips), gap=0.001)
    fast = answer(
        question(chips, replace(HBM3, memory_bandwidth_bytes_per_s=2 * HBM3.memory_bandwidth_bytes_per_s)),
        gap=0.001,
    )
    assert isinstance(slow, Exploration)
    assert isinstance(fast, Exploration)
    assert fast.best.samples_per_s >= slow.best.samples_per_s / 1.001


def test_an_interrupt_leaves_the_best_so_far_and_a_sound_bound() -> None:
    asked = question(list(range(0, len(SPACE), 400)))
    full = Search(question=asked, gap=0.001).run()
    calls = 0

    def stop_after_an_incumbent(progress: object) -> None:
        nonlocal calls
        calls += 1
        if search.front.points:
            raise KeyboardInterrupt

    search = Search(question=asked, gap=0.001, report=stop_after_an_incumbent)
    part = search.run()
    assert part.stop is Stop.INTERRUPTED
    assert part.best is not None
    assert full.best is not None
    assert part.bound_batch_s <= full.best.placement.batch_s * (1 + 1e-9)
    assert calls >= 1
