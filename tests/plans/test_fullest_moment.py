"""What a stage holds at its fullest moment, by replay of its passes and by hand (docs/model-training.md, section 5)."""

import random
from dataclasses import replace

import numpy as np
import pytest

from hardplace.cost.layers.decoder import block, head
from hardplace.cost.layers.recognise import decoder_of
from hardplace.cost.layers.recorded import layer_work
from hardplace.plans.chain import of_workload
from hardplace.plans.chunks import held
from hardplace.plans.host_memory import offloaded
from hardplace.plans.memory import StageContents, stage_memory
from hardplace.plans.plan import Format, OptimizerKind, PipelineSchedule, Plan
from hardplace.plans.simulate import Pass, order
from hardplace.workload.decoder import Degrees
from hardplace.workload.load import load
from hardplace.workload.sharding import shard
from hardplace.workload.types import Parallelism, Recompute
from hardplace.workload.weights import WeightSizes

ZB_H1 = Plan(global_batch=16, zero=0, schedule=PipelineSchedule.ZERO_BUBBLE)
NOTHING = StageContents(
    parameters=0, expert_parameters=0, saved_bytes=0.0, logits_bytes=0.0, working_bytes=0.0,
    largest_parameters=0, boundary_bytes=0.0, largest_trained_parameters=0,
)  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_what_weight_gradients_need_is_held_until_they_have_run(seed: int) -> None:
    """Replay of ZB-H1: a forward pass keeps inputs; a backward pass makes the rest, which stays; of the logits their
    gradient stays; a pass of weight gradients frees both."""
    rng = random.Random(seed)
    stages, times = rng.randint(1, 6), rng.randint(1, 12)
    last = seed % 2  # its layers are one; the loss stands on the last stage
    saved, late, brief, logits, gradient = 2.0, 32.0, 5.0, 6.0 * last, 2.0 * last
    contents = replace(
        NOTHING, saved_bytes=saved, late_bytes=late, working_bytes=late + brief, late_working_bytes=late,
        logits_bytes=logits, logits_gradient_bytes=gradient,
    )  # fmt: skip
    stage = stages - 1 if last else rng.randrange(stages)
    live = most = 0.0
    for phase, _, _ in order(stage, stages, times, 1, ZB_H1.schedule):
        if phase is Pass.FORWARD:
            live += saved
        elif phase is Pass.BACKWARD:
            most = max(most, live + late + brief + logits)
            live += late + gradient
        else:
            live -= saved + late + gradient
        most = max(most, live)
    assert live == 0.0
    found = stage_memory(replace(ZB_H1, pipeline=stages, global_batch=times), stage, contents)
    assert found.activations_bytes + found.logits_bytes + found.working_bytes == most


@pytest.mark.parametrize("flash", [True, False])
def test_what_recompute_makes_is_what_a_layer_keeps_without_it(flash: bool) -> None:
    """But for scores and their softmax, which no weight gradient reads. The same of a layer laid out and a recorded
    one; logits in 16 bit."""
    workload = load("gpt3-2.7b")
    degrees = Degrees(flash=flash, micro_batch=2)
    none, some, full = (block(decoder_of(workload), degrees, one) for one in Recompute)
    assert (none.late_bytes, some.late_bytes) == (0.0, 0.0)
    assert full.saved_bytes + full.late_bytes == some.saved_bytes
    assert full.brief_bytes == none.brief_bytes + full.saved_bytes + none.saved_bytes - some.saved_bytes
    again = block(decoder_of(workload), replace(degrees, modules=("layernorm",)), Recompute.SELECTIVE)
    assert again.late_bytes == some.saved_bytes - again.saved_bytes > 0.0
    layers = shard(workload, Parallelism()).layers
    inner, loss = (layers[workload.order[place]] for place in (1, -1))
    recorded, kept = (layer_work(inner, 2, one) for one in (Recompute.FULL, Recompute.SELECTIVE))
    assert recorded.saved_bytes + recorded.late_bytes == kept.saved_bytes
    shape = decoder_of(workload)
    elements = 2 * shape.sequence * shape.vocab
    assert head(shape, degrees).logits_gradient_bytes == 2.0 * elements
    assert layer_work(loss, 2, Recompute.NONE).logits_gradient_bytes == 2.0 * elements


def test_activations_that_come_back_from_the_host_wait_for_weight_gradients() -> None:
    """Half of them, of four layers; the last of two stages holds two micro-batches whole, with recompute or without."""
    plan = replace(ZB_H1, pipeline=2, offload_layers=1)
    for kind in (Recompute.NONE, Recompute.FULL):
        layers = of_workload(load("gpt3-2.7b"), replace(plan, offload_layers=0, recompute=kind)).layers[:4]
        plain = of_workload(load("gpt3-2.7b"), replace(plan, offload_layers=0)).layers[:4]
        contents = held(offloaded(layers, plan), WeightSizes(), 0.0)
        found = stage_memory(plan, 1, contents)
        assert found.activations_bytes == pytest.approx(2 * sum(one.saved_bytes for one in plain))
        assert found.working_bytes == layers[0].brief_bytes


@pytest.mark.parametrize("zero", [1, 2])
def test_the_step_of_deepspeed_by_hand(zero: int) -> None:
    """One replica of 2 + 2 + 12 bytes a parameter: at the step 16-bit gradients, a flat copy of them and one in fp32.
    With many replicas the passes hold more; other software, fp32 sums and states in host memory have no such copies."""
    contents = replace(NOTHING, parameters=10**9, saved_bytes=3e9, logits_bytes=5e8, working_bytes=7e8)
    plan = Plan(global_batch=64, zero=zero, gradient="bf16", precision=Format.FP16, software="deepspeed")
    found = stage_memory(plan, 0, contents)
    assert found.allocated_bytes == 1e9 * (2 + 12 + 2 + 2 + 4)
    assert (found.activations_bytes, found.logits_bytes, found.working_bytes) == (0.0, 0.0, 0.0)
    assert found.total_bytes == pytest.approx(1.04 * 16e9 + 6e9 + 2e9)  # copies are large: the allocator loses none
    two = stage_memory(replace(plan, data=2), 0, contents)  # 2 + 6 + 4 against 2 + 6 + 2 or 1, and 4.2 GB of passes
    assert two.allocated_bytes == pytest.approx(1e9 * (2 + 12 / 2 + (2 if zero == 1 else 1)) + 4.2e9)
    larger = stage_memory(replace(plan, data=2), 0, replace(contents, saved_bytes=1e8))
    assert larger.allocated_bytes == pytest.approx(1e9 * (2 + 12 / 2 + 8 / 2))
    for other in ({"software": ""}, {"gradient": "bf16+fp32"}, {"offload": True}, {"zero": 0}):
        assert stage_memory(replace(plan, **other), 0, contents).activations_bytes == 3e9
    both = replace(contents, saved_bytes=np.array([3e9, 9e9]))
    assert stage_memory(plan, 0, both).total_bytes == pytest.approx([1.04 * 16e9 + 8e9, 1.04 * 26.2e9 + 2e9])


@pytest.mark.parametrize("software", ["fsdp-eager", "fsdp-compiled"])
@pytest.mark.parametrize("data", [1, 2])
def test_data_parallel_replicas_of_torch_by_hand(data: int, software: str) -> None:
    """All in 16 bit, 2 + 4 bytes a parameter: no gradient yet at the first backward pass, in the update gradients and
    roots of second moments; on two replicas buckets beside. A second micro-batch finds gradients."""
    contents = replace(NOTHING, parameters=10**9, saved_bytes=3e9, logits_bytes=5e8, working_bytes=7e8)
    plan = Plan(
        global_batch=data,
        data=data,
        zero=0,
        gradient="bf16",
        optimizer=OptimizerKind.ADAMW_BF16,
        precision=Format.FP16,
        software=software,
    )
    buckets = 2e9 * (data > 1)
    loss_only = replace(contents, saved_bytes=9e9, working_bytes=0.0)
    assert stage_memory(plan, 0, loss_only).allocated_bytes == 6e9 + buckets + 9.5e9
    update = stage_memory(plan, 0, replace(contents, saved_bytes=1e9))
    assert update.allocated_bytes == 1e9 * (2 + 2 + 4 + 2) + buckets
    assert (update.activations_bytes, update.logits_bytes) == (0.0, 0.0)
    more = stage_memory(replace(plan, global_batch=2 * data), 0, loss_only)
    assert more.allocated_bytes == 8e9 + buckets + 9.5e9
    other = stage_memory(replace(plan, software=""), 0, loss_only)
    assert other.allocated_bytes == 8e9 + 9.5e9
    both = stage_memory(plan, 0, replace(contents, saved_bytes=np.array([1e9, 9e9]), working_bytes=0.0))
    assert both.allocated_bytes == pytest.approx([10e9 + buckets, 15.5e9 + buckets])


@pytest.mark.parametrize(
    ("stage", "virtual", "tensors"), [(0, 1, 8 + 4), (1, 1, 16 + 3), (3, 1, 8 + 1), (1, 2, 32 + 9)]
)
def test_pipelines_of_torch_by_hand(stage: int, virtual: int, tensors: int) -> None:
    """4 stages, 8 micro-batches: a buffer for each that comes, either way, and what is sent until it comes back; whole
    gradients of FSDP2 beside an eighth of them, with the largest layer's, and two gathered layers."""
    contents = replace(
        NOTHING, parameters=10**9, boundary_bytes=1e6, largest_parameters=10**7, largest_trained_parameters=10**7
    )
    plan = Plan(global_batch=64, pipeline=4, virtual=virtual, data=8, zero=1, software="torchtitan", fragmentation=0.0)
    found = stage_memory(plan, stage, contents)
    fully = 4e9 / 8 + 4e7 + 2 * 2e7
    assert found.buffers_bytes == pytest.approx(tensors * 1e6 + fully)
    assert (found.weights_bytes, found.gradients_bytes, found.states_bytes) == (2e9, 4e9, 12e9 / 8)
    other = stage_memory(replace(plan, software="megatron-core"), stage, contents)
    assert other.buffers_bytes == 2e6
