"""Plans with V-shaped schedules: which layers a stage has, what it holds, and what does not go together."""

from dataclasses import replace

import pytest

from hardplace.errors import BadInput
from hardplace.hardware.catalogue import device, node
from hardplace.plans.chain import of_workload, stage_work, stages_of
from hardplace.plans.chunks import chunks_of
from hardplace.plans.estimate import estimate_plan
from hardplace.plans.fleet import fleet_of
from hardplace.plans.folding import as_run
from hardplace.plans.memory import StageContents, stage_memory
from hardplace.plans.plan import PipelineSchedule, Plan
from hardplace.plans.plan_problems import problems
from hardplace.plans.simulate import Pass, order
from hardplace.plans.stage_sizes import folded_layers, stage_layers
from hardplace.workload.load import load
from hardplace.workload.types import Recompute

PLAN = Plan(global_batch=16, pipeline=4, virtual=2, schedule=PipelineSchedule.V_HALF, zero=0)
FLEET = fleet_of([(device("h100-sxm"), node("dgx-h100"), 4)], PLAN)


@pytest.mark.parametrize(
    ("layers", "count", "sizes"),
    [(32, 4, (8, 8, 8, 8)), (30, 4, (6, 8, 8, 8)), (33, 4, (8, 8, 8, 9)), (6, 4, (0, 2, 2, 2)), (7, 4, (1, 2, 2, 2))],
)
def test_even_stages_of_a_v(layers, count, sizes):
    plan = replace(PLAN, pipeline=count)
    assert stage_layers(layers, plan) == sizes
    chunks = folded_layers(sizes)
    assert [sum(one) for one in chunks] == list(sizes)
    assert all(abs(first - second) <= 1 for first, second in chunks)
    assert all(min(one) > 0 for one in chunks[1:])
    with pytest.raises(BadInput, match="two of the model's 5 layers for each stage but the first"):
        stage_layers(5, plan)


@pytest.mark.parametrize("sizes", [(), (0, 10, 11, 11), (7, 9, 8, 8), (5, 2, 12, 13)])
def test_a_stage_has_layers_from_the_front_and_from_the_end(sizes):
    """Chunks in the order of places, p on the way down and p back, are the model's layers in order."""
    plan = replace(PLAN, stages=sizes)
    chain = of_workload(load("llama2-7b"), plan)
    marked = replace(chain, layers=tuple(replace(one, saved_bytes=float(at)) for at, one in enumerate(chain.layers)))
    run = as_run(marked, plan)
    assert as_run(run, plan) is run
    stages = stage_work(run, plan, stages_of(run, plan))
    chunks = [chunks_of(stage, index, run, plan) for index, stage in enumerate(stages)]
    places = [*(first for first, _ in chunks), *(second for _, second in reversed(chunks))]
    whole = [sorted(one, key=marked.whole.index) for one in places]
    assert [layer for one in whole for layer in one] == list(marked.whole)
    assert chunks[0][0][0] is marked.before[0]
    assert marked.after[-1] in chunks[0][1]


def test_a_stage_holds_its_chunks_while_they_are_in_flight():
    """By replay of each stage's order, with the bytes of its own two chunks; weights and states of all its layers."""
    for schedule in (one for one in PipelineSchedule if one.folds):
        plan = replace(PLAN, schedule=schedule, stages=(3, 11, 9, 9))
        chain = as_run(of_workload(load("llama2-7b"), plan), plan)
        found = estimate_plan(chain, plan, FLEET)
        stages = stage_work(chain, plan, stages_of(chain, plan))
        for index, (stage, memory) in enumerate(zip(stages, found.memory, strict=True)):
            saved = [sum(one.saved_bytes for one in chunk) for chunk in chunks_of(stage, index, chain, plan)]
            live = most = 0.0
            for phase, _, chunk in order(index, 4, plan.micro_batches, 2, schedule):
                live += {Pass.FORWARD: 1, Pass.BACKWARD: 0, Pass.WEIGHT: -1}[phase] * saved[chunk]
                most = max(most, live)
            assert memory.activations_bytes == pytest.approx(most)
            assert memory.weights_bytes == 2 * sum(one.parameters for one in stage)
            assert (memory.logits_bytes > 0) == (index == 0)
        one = estimate_plan(of_workload(load("llama2-7b"), plan), plan, FLEET)
        assert one.step_s == found.step_s


@pytest.mark.parametrize(("recompute", "flash"), [(Recompute.FULL, True), (Recompute.SELECTIVE, False)])
def test_what_a_backward_pass_makes_again_waits_for_its_weight_gradients(recompute, flash):
    """By replay of each stage's order: from its forward pass a chunk keeps what recompute keeps, from its backward pass
    to its weight gradients what they need beside. The seconds are those of the backward pass."""
    for schedule in (one for one in PipelineSchedule if one.folds):
        plan = replace(PLAN, schedule=schedule, stages=(3, 11, 9, 9), recompute=recompute, flash=flash)
        assert not list(problems(plan))
        chain = as_run(of_workload(load("llama2-7b"), plan), plan)
        found, stages = estimate_plan(chain, plan, FLEET), stage_work(chain, plan, stages_of(chain, plan))
        for index, (stage, memory) in enumerate(zip(stages, found.memory, strict=True)):
            chunks = chunks_of(stage, index, chain, plan)
            saved, late = (
                [sum(getattr(one, name) for one in chunk) for chunk in chunks] for name in ("saved_bytes", "late_bytes")
            )
            live = most = 0.0
            for phase, _, chunk in order(index, 4, plan.micro_batches, 2, schedule):
                live += {
                    Pass.FORWARD: saved[chunk], Pass.BACKWARD: late[chunk], Pass.WEIGHT: -saved[chunk] - late[chunk]
                }[phase]  # fmt: skip
                most = max(most, live)
            assert memory.activations_bytes == pytest.approx(most)
            assert (sum(late) > 0) == (recompute is Recompute.FULL)  # of scores and softmax none is needed
        bare = replace(plan, recompute=Recompute.NONE)
        without = estimate_plan(of_workload(load("llama2-7b"), bare), bare, FLEET)
        assert found.step_s > without.step_s
        assert found.memory[1].activations_bytes < without.memory[1].activations_bytes


def test_activations_are_a_half_and_a_third_of_1f1b():
    """Of 16 stages 16, 9 and 6 micro-batches (arXiv 2405.15362), all of layers alike: 32 in two chunks each."""
    plan = replace(PLAN, global_batch=64, pipeline=16)
    held = StageContents(
        parameters=0, expert_parameters=0, saved_bytes=2.0, second_saved_bytes=1.0, logits_bytes=0.0, working_bytes=0.0,
        largest_parameters=0, boundary_bytes=0.0, largest_trained_parameters=0,
    )  # fmt: skip
    kept = {
        one: max(stage_memory(replace(plan, schedule=one), at, held).activations_bytes for at in range(16)) / 2.0
        for one in PipelineSchedule
        if one.folds
    }
    first = replace(plan, schedule=PipelineSchedule.ONE_F_ONE_B, virtual=1)
    assert stage_memory(first, 0, held).activations_bytes / 2.0 == 16
    assert list(kept.values()) == [16, 9, 6, 16.5]


def test_a_tied_embedding_is_on_one_stage():
    """GPT's embedding is its head too: a V holds it once, and reduces no gradient of it between stages."""
    plan = replace(PLAN, pipeline=4)
    chain = of_workload(load("gpt3-2.7b"), plan)
    assert chain.shared
    first = stage_work(as_run(chain, plan), plan, stages_of(as_run(chain, plan), plan))[0]
    once = sum(one.parameters for one in first) - chain.shared[0].sizes.parameters
    found = estimate_plan(chain, plan, FLEET)
    assert found.memory[0].weights_bytes == 2 * once
    free = estimate_plan(replace(chain, shared=()), plan, FLEET)
    own = free.memory[0].weights_bytes - found.memory[0].weights_bytes
    assert own == 2 * chain.shared[0].sizes.parameters
    assert found.step_s < free.step_s  # updated once, and nothing else


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"virtual": 1}, "virtual: 1: expected 2 with schedule v-half"),
        ({"pipeline": 1, "virtual": 2}, "schedule: v-half: expected pipeline 2 or more"),
        (
            {"recompute": Recompute.FULL, "recompute_layers": 2},
            "recompute_layers: 2: expected 0, all layers, with schedule v-half",
        ),
        ({"offload_layers": 1}, "offload_layers: 1: expected 0 with schedule v-half"),
        ({"stages": (8, 8, 8, 1)}, r"stages: \[8, 8, 8, 1\]: expected a layer for each of the two chunks"),
        ({"schedule": PipelineSchedule.DUALPIPE_V, "global_batch": 7}, "expected micro-batches of twice the stages"),
    ],
)
def test_what_does_not_go_together_is_said(fields, expected):
    found = list(problems(replace(PLAN, **fields)))
    with pytest.raises(BadInput, match=expected):
        raise BadInput("\n".join(found))
    branching = load("t5-large")
    with pytest.raises(
        BadInput, match="schedule: v-half: expected 1f1b, gpipe or zero-bubble: the model's layers branch"
    ):
        estimate_plan(of_workload(branching, PLAN), PLAN, FLEET)
    assert not list(problems(PLAN))
    assert not list(problems(replace(PLAN, global_batch=5)))  # any number of micro-batches
