"""Certificates of `place` on random small questions: mixed devices in unequal numbers, mixtures of experts, an
encoder-decoder, a DLRM, convolutions. `benchmarks/certificates_place.py` asks hundreds."""

import random
from dataclasses import replace

import pytest

from hardplace.errors import BadInput
from hardplace.hardware.catalogue import device, node
from hardplace.plans.placement.divisions import Divisions
from hardplace.plans.placement.search import PlanSearch
from hardplace.plans.placement.space import PlanSpace
from hardplace.plans.plan import INSIDE_OUT, PipelineSchedule
from hardplace.workload.types import Recompute
from oracles_plans import Asked, checked, random_question, short_model, with_shared
from oracles_wider_plans import context_question, folded_question, low_question, wider_question

FOLDED = (1, 6, 8, 9)
H100, A100 = device("h100-sxm"), device("a100-80gb-sxm")
PAIRS = replace(node("dgx-h100"), levels=(replace(node("dgx-h100").levels[0], devices=2), node("dgx-h100").levels[1]))


@pytest.mark.parametrize("number", [0, 3, 5, 6, 8, 10, 12, 13, 14, 16, 18, 20, 21, 22, 26, 28, 30, 32, 33])
def test_no_plan_of_a_random_space_is_better(number):
    found = checked(random_question(random.Random(f"1:{number}")), random.Random(number))
    assert found.plans
    assert not found.wrong


@pytest.mark.parametrize("number", [6, 11, 12, 20, 24, 25, 33, 34])
def test_no_plan_is_better_of_a_space_with_other_numerics_or_ways_to_run_or_with_some_plans_only(number):
    found = checked(wider_question(random.Random(f"2:{number}")), random.Random(number))
    assert found.plans
    assert not found.wrong


@pytest.mark.parametrize("number", FOLDED)
def test_no_plan_is_better_of_a_space_with_v_shaped_schedules(number):
    found = checked(folded_question(random.Random(f"3:{number}")), random.Random(number), 4000)
    assert found.plans
    assert not found.wrong


@pytest.mark.parametrize("number", [39, 42, 47, 61, 86, 89, 92])
def test_no_plan_is_better_of_a_space_with_context_parallelism(number):
    found = checked(context_question(random.Random(f"1:{number}")), random.Random(number), 2000)
    assert found.plans
    assert not found.wrong


@pytest.mark.parametrize("number", [3, 9, 11, 20])
def test_no_plan_is_better_of_a_space_in_fp8(number):
    """Several recipes, and weights kept in 16 bit or in fp8, are each priced as they are."""
    found = checked(low_question(random.Random(f"5:{number}")), random.Random(number))
    assert found.plans
    assert not found.wrong


def test_ends_of_stages_of_a_v_are_no_others():
    """Dense layers and mixtures stand elsewhere in a folded chain, and ZB-H1 runs weight gradients apart too."""
    held = {
        "schedule": (PipelineSchedule.ZERO_BUBBLE, PipelineSchedule.ZB_V), "pipeline": (3,), "micro_batch": (1,),
        "recompute": (Recompute.NONE,), "tensor": (1,), "expert": (1,), "zero": (1,),
    }  # fmt: skip
    found = checked(Asked(short_model("deepseek-v3", 4, 2), [(H100, PAIRS, 6)], 16, held), random.Random(0))
    assert found.plans
    assert not found.wrong


def test_v_shaped_schedules_are_searched_where_they_are_asked_for():
    """By default the first plan has none; held to one, what it needs comes with it, and what does not go is refused."""
    workload, inventory = short_model("llama2-7b", 6), [(H100, PAIRS, 8)]

    def searched(**fixed):
        return PlanSearch(workload, inventory, PlanSpace(global_batch=64, fixed=fixed)).run()

    assert not any(one.plan.schedule.folds for one in searched().best)
    found = searched(schedule=(PipelineSchedule.V_HALF,), pipeline=(2,)).best
    assert {(one.plan.schedule, one.plan.virtual, one.plan.recompute) for one in found} == {
        (PipelineSchedule.V_HALF, 2, Recompute.NONE)
    }
    with pytest.raises(BadInput, match="fixed: recompute_layers=2: expected 0 with schedule v-half"):
        searched(schedule=(PipelineSchedule.V_HALF,), recompute=(Recompute.FULL,), recompute_layers=(2,))
    with pytest.raises(BadInput, match="fixed: virtual=4: expected 2 with schedule v-half"):
        searched(schedule=(PipelineSchedule.V_HALF,), virtual=(4,))


@pytest.mark.parametrize("seed", range(8))
def test_layers_that_share_weights_and_frozen_ones_are_placed_exactly(seed):
    """A stage holds once what its layers share, so its memory and the end of its step are no sums over layers."""
    rng = random.Random(seed)
    name = rng.choice(("llama2-7b", "opt-350m", "mixtral-8x7b", "bert-base"))
    workload = with_shared(short_model(name, rng.randint(4, 5)), rng)
    held = {
        "micro_batch": (1,), "recompute": (Recompute.NONE, Recompute.FULL), "tensor": (1, 2),
        "schedule": (PipelineSchedule.ONE_F_ONE_B,), "order": ((*INSIDE_OUT,),),
    }  # fmt: skip
    found = checked(Asked(workload, [(H100, PAIRS, 8)], rng.choice((8, 16)), held), rng)
    assert found.plans
    assert not found.wrong


def test_ways_to_cut_of_a_plan_that_is_not_yet_among_the_ten_are_priced():
    """The way to cut with the least bound is slow, another one of the same plan is among the ten best."""
    held = {"tensor": (1,), "micro_batch": (1,), "zero": (1,), "shard": (0,), "recompute": (Recompute.NONE,)}
    inventory = [(H100, node("dgx-h100"), 2), (A100, node("dgx-a100"), 4)]
    for layers in (5, 6, 7):
        found = checked(Asked(short_model("opt-350m", layers), inventory, 12, held), random.Random(0))
        assert found.plans
        assert not found.wrong


@pytest.mark.parametrize("fixed", [{"context": (2,), "tensor": (1, 2)}, {"zero": (2,), "tensor": (1,)}])
def test_layers_are_priced_for_the_order_of_degrees_that_they_run_in(fixed):
    """Context groups, and what ZeRO-2 scatters, land on other levels in another order."""
    held = {"micro_batch": (1,), "virtual": (1,), "schedule": (PipelineSchedule.ONE_F_ONE_B,), **fixed}
    found = checked(Asked(short_model("llama2-7b", 3), [(H100, PAIRS, 8)], 8, held), random.Random(0))
    assert found.plans
    assert not found.wrong


def test_ends_of_software_that_broadcasts_whole_tensors_are_bounded():
    """Their number grows with the layers of a stage, so bounds count layers there too."""
    held = {
        "software": ("internevo", "megatron-core"), "micro_batch": (1, 2), "virtual": (1,),
        "schedule": (PipelineSchedule.ONE_F_ONE_B,), "recompute": (Recompute.NONE,),
    }  # fmt: skip
    inventory = [(A100, replace(node("dgx-a100"), levels=PAIRS.levels), 4)]
    found = checked(Asked(short_model("llama2-7b", 4), inventory, 8, held), random.Random(0))
    assert found.plans
    assert not found.wrong


def test_memory_of_a_loop_that_holds_the_last_steps_outputs_is_bounded():
    """Its fullest moment may be the end of the forward pass; the memory lets some of the plans fit."""
    held = {
        "software": ("atorch", "fsdp-eager", "deepspeed"), "micro_batch": (1, 2, 4), "virtual": (1,), "zero": (1, 3),
        "schedule": (PipelineSchedule.ONE_F_ONE_B,), "recompute": (Recompute.NONE, Recompute.FULL),
    }  # fmt: skip
    tight = [(replace(A100, memory_bytes=22 * 2**30), replace(node("dgx-a100"), levels=PAIRS.levels), 4)]
    found = checked(Asked(short_model("llama2-7b", 4), tight, 8, held), random.Random(0))
    assert found.plans
    assert not found.wrong


def test_a_plan_that_was_interrupted_stays_in_the_bound():
    """Stopped at any moment after the first plan, the bound is not above the optimum."""
    question = short_model("llama2-7b", 6), [(H100, node("dgx-h100"), 4)], PlanSpace(global_batch=32)
    true = [one.step_s for one in PlanSearch(*question).run().best]
    best_s = true[0]
    stopped = 0
    for after in range(1, 400, 19):
        seen = []

        def stop(considered, left, first_s, bound_s, after=after, seen=seen):
            seen.append(first_s)
            if len(seen) >= after and first_s < float("inf"):
                raise KeyboardInterrupt

        found = PlanSearch(*question, stop).run()
        stopped += found.stopped
        assert found.bound_s <= best_s * (1 + 1e-12) <= found.best[0].step_s * (1 + 2e-12)
        steps = [one.step_s for one in found.best]
        assert steps[: found.proven_plans] == pytest.approx(true[: found.proven_plans], rel=1e-9)
        assert all(one >= min(said, found.list_bound_s) * (1 - 1e-9) for said, one in zip(steps, true, strict=False))
    assert stopped > 5


@pytest.mark.parametrize("offload_layers", [0, 2])
def test_what_holds_for_more_recomputed_layers_holds_for_each_number_of_them(offload_layers):
    """The bound that a plan passes on to those with more of its layers recomputed is not above any of theirs, where the
    link to the host is so slow that recompute makes the step shorter too."""
    slow = replace(H100, host_bandwidth_bytes_per_s=2e9)
    held = {"micro_batch": (1,), "tensor": (1,), "pipeline": (2,), "offload_layers": (offload_layers,)}
    space = PlanSpace(global_batch=16, fixed=held)
    divided = Divisions(short_model("llama2-7b", 6), [(slow, PAIRS, 4)], space)
    cell = next(iter(divided.cells()))
    families = [
        divided.family(cell, replace(cell.plan, recompute=Recompute.FULL, recompute_layers=count), 1e3)
        for count in range(1, 6)
    ]
    least_s = [min(one.step_s for batch in each.better(1e3, 1000) for one in batch) for each in families]
    assert all(each.free_s <= min(least_s[at:]) for at, each in enumerate(families))
    assert (least_s[0] > least_s[-1]) == bool(offload_layers)


def test_held_numbers_of_recomputed_layers_are_each_searched_once():
    """Each of the numbers is a plan of its own, in any order; none counts twice, whatever was left out before."""
    held = {"micro_batch": (1,), "tensor": (1,), "recompute": (Recompute.FULL,), "pipeline": (1, 2)}
    asked = Asked(short_model("llama2-7b", 6), [(H100, PAIRS, 4)], 16, held | {"recompute_layers": (3, 1, 2)})
    found = checked(asked, random.Random(0))
    assert found.plans
    assert not found.wrong
    space = PlanSpace(global_batch=16, fixed=asked.fixed)
    every = PlanSearch(asked.workload, asked.inventory, space, most=100).run()
    assert (every.priced, every.short) == (every.considered, 0)
