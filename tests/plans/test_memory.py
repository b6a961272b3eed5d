"""Memory of a stage by software and policy: bytes by hand, and what waits in host memory."""

from dataclasses import replace
from pathlib import Path

import pytest

from hardplace.api.measurements import scored_runs
from hardplace.cost.gpu.datasheet import datasheet
from hardplace.cost.layers.decoder import block
from hardplace.cost.layers.low_precision import Fp8Recipe
from hardplace.cost.layers.software import MINIMAL, MINIMAL_WITH_CONTEXT, SAVE_ATTENTION
from hardplace.hardware.catalogue import device, device_names
from hardplace.hardware.device import Multiprocessors
from hardplace.plans.chain import of_shape, of_workload
from hardplace.plans.efficiencies import generation
from hardplace.plans.estimate import estimate_plan
from hardplace.plans.fleet import fleet_of, node_of
from hardplace.plans.intervals import is_usual_device, memory_kind_of, spreads
from hardplace.plans.placement.search import PlanSearch
from hardplace.plans.placement.space import PlanSpace
from hardplace.plans.plan import Format, OptimizerKind, Plan
from hardplace.plans.plan_problems import problems
from hardplace.workload.decoder import DecoderShape, Degrees
from hardplace.workload.load import load
from hardplace.workload.types import Holder, Recompute, StorageRole
from oracles_plans import short_model

RUNS = Path(__file__).parents[2] / "validation/training"

GPT = DecoderShape(
    layers=2, hidden=1024, heads=8, kv_heads=8, head_dim=128, ffn=4096, vocab=32000, sequence=2048, gated=False
)


def estimated(plan, model="llama2-7b", name="h100-sxm"):
    chip = device(name)
    return estimate_plan(of_workload(load(model), plan), plan, fleet_of([(chip, node_of(name), plan.devices)], plan))


@pytest.mark.parametrize(
    ("modules", "kept"),
    [
        # of h elements a token: inputs and outputs of 2 norms, q, k, v, context, 4h before and after GELU
        ((), 16),
        (MINIMAL_WITH_CONTEXT, 16 - 2 - 4),
        (MINIMAL, 16 - 2 - 4 - 1),
        (SAVE_ATTENTION, 16 - 2 - 8),
        (("layernorm", "context", "out_proj", "mlp"), 1 + 3),  # the layer's input, q, k, v
        (("layernorm", "qkv_proj", "context", "out_proj", "mlp"), 1),  # full recompute
    ],
)
def test_what_policies_keep_of_a_gpt_layer(modules, kept):
    kind = Recompute.SELECTIVE if modules else Recompute.NONE
    found = block(GPT, Degrees(micro_batch=1, modules=modules), kind)
    assert found.saved_bytes == pytest.approx(2.0 * kept * 2048 * 1024)


@pytest.mark.parametrize("model", ["mixtral-8x7b", "glm-4.5"])
@pytest.mark.parametrize(("tensor", "expert"), [(8, 1), (8, 8), (4, 2)])
def test_all_ranks_together_hold_the_states_of_experts_once(model, tensor, expert):
    """ZeRO 1, fp32 master and two moments; norms and routers, which tensor ranks have all, are less than a percent."""
    plan = Plan(global_batch=64, tensor=tensor, sequence=True, expert=expert, data=64 // tensor, zero=1)
    (room,) = estimated(plan, model).memory
    whole = 12 * load(model).parameters
    assert whole <= plan.devices * room.states_bytes < 1.01 * whole


def test_fsdp_keeps_one_copy_of_a_weight_and_gathers_as_its_software_does():
    """fp32 master, gradient, two moments: 16 bytes a parameter; beside a 16-bit copy 18."""
    plan = Plan(global_batch=8, data=8, zero=3, fragmentation=0.0, reserve_bytes=0.0)
    count, layer = 6738415616, 202383360
    for software, each, gathered in (("", 18, 8), ("fsdp-compiled", 16, 8), ("xla", 16, 3)):
        (room,) = estimated(replace(plan, software=software)).memory
        held = room.weights_bytes + room.gradients_bytes + room.states_bytes
        assert held == pytest.approx(each * count / 8, rel=1e-6)
        assert room.buffers_bytes == pytest.approx(gathered * layer, rel=1e-3)
    pure = replace(plan, software="fsdp-compiled", optimizer=OptimizerKind.ADAMW_BF16)
    assert estimated(pure).memory[0].weights_bytes == pytest.approx(2 * count / 8, rel=1e-6)


@pytest.mark.parametrize(
    ("optimizer", "each"), [(OptimizerKind.ADAMW_BF16_MOMENTS, 8), (OptimizerKind.ADAMW_REMAINDERS, 10)]
)
def test_bytes_of_states(optimizer: OptimizerKind, each: int):
    plan = Plan(global_batch=8, data=8, optimizer=optimizer)
    assert estimated(plan).memory[0].states_bytes == pytest.approx(each * 6738415616 / 8, rel=1e-6)


def test_remainders_need_the_weights_that_they_add_to():
    plan = Plan(global_batch=8, data=8, optimizer=OptimizerKind.ADAMW_REMAINDERS)
    assert not [*problems(plan)]
    assert [*problems(replace(plan, precision=Format.FP32))] == [
        "optimizer: adamw-remainders: expected precision bf16 or less with it, not fp32 (bf16 weights hold the rest)"
    ]
    assert [*problems(replace(plan, zero=3))] == [
        "optimizer: adamw-remainders: expected zero 0 to 2 with it, not zero 3 (bf16 weights hold the rest)"
    ]


def test_activations_in_host_memory_cross_the_link_beside_compute():
    """Half of the layers: half of what is kept, so many bytes each way in each pass; a fast link hides them, a slow one
    shows what is longer than the pass."""
    plan = Plan(global_batch=16, data=8, zero=3, micro_batch=1)
    away = replace(plan, offload_layers=16)
    fast, slow = (estimated(away, name=name) for name in ("gb200", "h100-sxm"))
    for found, name in ((fast, "gb200"), (slow, "h100-sxm")):
        before = estimated(plan, name=name)
        inner = before.memory[0].activations_bytes - found.memory[0].activations_bytes
        assert inner == pytest.approx(0.5 * before.memory[0].activations_bytes, rel=0.01)
        shown = [one.seconds for one in found.shares if "host, exposed" in one.name]
        assert sum(one.seconds for one in found.shares) == pytest.approx(found.step_s)
        assert found.step_s - before.step_s == pytest.approx(sum(shown), rel=1e-6, abs=1e-9)
        if name == "gb200":
            assert not shown
        else:  # each pass of each layer: bytes over the link less the pass itself
            rate, passes = device(name).host_bandwidth_bytes_per_s, plan.micro_batches
            most = 2 * passes * inner / rate
            assert 0.0 < shown[0] < most


def test_place_searches_how_many_layers_wait_in_host_memory():
    """Held to several numbers, the best plan is the best of the spaces of each."""
    chip = device("gb200")
    fixed = {
        "tensor": (1,),
        "pipeline": (1, 2),
        "micro_batch": (2,),
        "zero": (1, 3),
        "order": (Plan(global_batch=1).order,),
    }

    def best(*numbers):
        space = PlanSpace(global_batch=16, fixed=fixed | {"offload_layers": numbers})
        return PlanSearch(load("llama2-13b"), [(chip, node_of(chip.name), 4)], space).run()

    both = best(0, 20)
    singles = [best(0), best(20)]
    assert both.best[0].step_s == pytest.approx(min(one.best[0].step_s for one in singles))
    assert both.bound_s <= both.best[0].step_s * (1.0 + 1e-12)
    least = min(singles[1].best, key=lambda one: one.memory[0].activations_bytes)
    assert least.plan.offload_layers == 20
    assert least.fits


def test_layers_in_host_memory_are_a_whole_number():
    assert any("offload_layers" in one for one in problems(Plan(global_batch=1, offload_layers=-1)))


def test_plain_pytorch_keeps_16_bit_inputs_and_what_it_gathered():
    """By hand, of elements a token: fp8 halves inputs of products (2 h of norms, h of the output projection, 4 h of the
    last) and keeps attention's output twice; tensor 2 with sequence parallelism halves all but the norms' outputs."""
    tokens, h = 2048, 1024
    engine, plain = (
        block(GPT, Degrees(low=1.0, autograd=one), Recompute.NONE).saved_bytes / (2.0 * tokens * h)
        for one in (False, True)
    )
    assert plain == pytest.approx(16)
    assert engine == pytest.approx(16 - 0.5 * (2 + 4) + 0.5)
    own, gathered = (
        block(GPT, Degrees(tensor=2, sequence=True, autograd=one), Recompute.NONE).saved_bytes / (2.0 * tokens * h)
        for one in (False, True)
    )
    assert own == pytest.approx(16 / 2)
    assert gathered == pytest.approx(16 / 2 + 2 / 2)


def test_inputs_in_4_bits_are_kept_in_4_bits_with_their_scales():
    """By hand, as above: 0.28 of the 16-bit bytes, a scale of 16 elements among them."""
    kept = block(GPT, Degrees(low=0.5 + 1 / 16), Recompute.NONE).saved_bytes / (2.0 * 2048 * 1024)
    assert kept == pytest.approx(16 - (1 - 0.28125) * (2 + 4) + 0.28125)


@pytest.mark.parametrize(
    ("name", "recipe", "gathers", "each"),
    [
        ("h100-sxm", Fp8Recipe.DELAYED, False, 2.0),  # rows and columns beside the 16-bit weights
        ("h100-sxm", Fp8Recipe.DELAYED, True, 0.0),  # in their place
        ("b200-sxm", Fp8Recipe.TENSORWISE, False, 1.0),
        ("b200-sxm", Fp8Recipe.TENSORWISE, True, -1.0),
        ("b200-sxm", Fp8Recipe.MXFP8, False, 2.0625),
        ("b200-sxm", Fp8Recipe.MXFP8, True, 0.0625),
    ],
)
def test_cast_weights_stay_beside_16_bit_ones_or_in_their_place(name, recipe, gathers, each):
    """By hand, of the 32 layers' weights of Llama-2 7B; embedding and head are not cast, nor does XLA keep casts."""
    cast = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    plan = Plan(global_batch=8, data=8, precision=Format.FP8, fp8_recipe=recipe, software="megatron-core")
    plain = estimated(replace(plan, precision=Format.BF16, fp8_recipe=None), name=name).memory[0].weights_bytes
    kept = estimated(replace(plan, fp8_gather=gathers), name=name).memory[0].weights_bytes
    assert kept - plain == pytest.approx(each * cast)
    whole = replace(plan, fp8_gather=gathers, zero=3)
    assert estimated(whole, name=name).memory[0].weights_bytes == pytest.approx(plain / 8)
    assert estimated(replace(plan, software="torchtitan"), name=name).memory[0].weights_bytes == plain


@pytest.mark.parametrize(("gathers", "each"), [(False, 3.0), (True, 1.0)])
def test_weights_that_layers_share_are_cast_once(gathers, each):
    """BERT's inner layers hold one set of weights, and its head the embedding's: a cast in 8 bits, beside 16 or alone,
    is no more than that of every weight."""
    plain = short_model("bert-base", 4)
    weights = [place for place, one in enumerate(plain.layers[1].storages) if one.role is StorageRole.PARAMETER]
    shared = [tuple(Holder(layer, one) for layer in range(1, 5)) for one in weights]
    workload = replace(plain, shared=tuple(sorted((*plain.shared, *shared))))
    plan = Plan(global_batch=2, data=2, precision=Format.FP8, fp8_recipe=Fp8Recipe.TENSORWISE, fp8_gather=gathers)
    chain, fleet = of_workload(workload, plan), fleet_of([(device("b200-sxm"), node_of("b200-sxm"), 2)], plan)
    own = 23837184 + 7087872 + 24063546 - 768 * 30522
    assert estimate_plan(chain, plan, fleet).memory[0].weights_bytes == each * own


def test_the_loss_of_plain_pytorch_is_counted():
    """16-bit logits, and in fp32 their log-softmax and two gradients: 14 bytes each; torchtitan drops the first."""
    for software, each in (
        ("megatron-core", 6),
        ("fsdp-eager", 14),
        ("torchtitan", 12),
        ("atorch", 16),
        ("paddle", 12),
    ):
        plan = Plan(global_batch=8, data=8, zero=3, software=software, fused_loss=False)
        assert estimated(plan).memory[0].logits_bytes == 4096 * 32000 * each
    assert estimated(replace(plan, fused_loss=True)).memory[0].logits_bytes == 4096 * 32000 * 2


def test_the_loss_of_16_bit_weights_without_autocast_is_in_16_bit_unless_the_model_casts_its_logits():
    cases = (
        (GPT, {"optimizer": OptimizerKind.ADAMW_BF16, "gradient": "bf16"}, (8, 6)),
        (GPT, {"precision": Format.FP16}, (8, 6)),
        (GPT, {}, (14, 12)),
        (GPT, {"precision": Format.FP32, "optimizer": OptimizerKind.ADAMW_BF16}, (14, 12)),
        (replace(GPT, gated=True), {"precision": Format.FP16}, (14, 12)),
        (GPT, {"precision": Format.FP16, "software": "megatron-2021"}, (6, 0)),
        (GPT, {"software": "oneflow"}, (6, 6)),
        (GPT, {"software": "torchtitan-eager"}, (12, 0)),
        (GPT, {"software": "torchtitan-eager", "tensor": 2, "data": 4}, (14 // 2, 0)),
        (GPT, {"software": "torchtitan", "tensor": 2, "data": 4}, (2 // 2, 0)),  # compiled
    )
    for shape, other, each in cases:
        plan = Plan(**{"global_batch": 8, "data": 8, "software": "fsdp-eager"} | other)
        head = of_shape(shape, plan).after[-1]
        assert (head.logits_bytes, head.passing_bytes) == tuple(2048 * 32000 * one for one in each)


ATORCH = Plan(
    global_batch=32, data=8, zero=3, micro_batch=4, recompute=Recompute.FULL, software="atorch", gradient="fp32"
)


@pytest.mark.parametrize(("devices", "published_gib"), [(8, 38.67), (16, 33.96), (32, 31.61), (64, 30.43)])
def test_a_loop_that_holds_the_last_steps_outputs_is_fullest_when_the_forward_pass_ends(devices, published_gib):
    """dlrover's table of Llama-2 7B on A100 (largest allocated of rank 0): by hand, and within 2 %."""
    plan = replace(ATORCH, global_batch=4 * devices, data=devices)
    (room,) = estimated(plan, name="a100-80gb-sxm").memory
    sample = 4 * 4096 * 4096 * 2  # bytes of one hidden state
    assert room.activations_bytes == pytest.approx(32 * sample * (1 + 2 + 2) + 8 * 4 * 4096 + 2 * sample, rel=1e-3)
    assert (room.gradients_bytes, room.working_bytes) == (0.0, 0.0)
    assert (room.weights_bytes + room.states_bytes) * devices == pytest.approx(12 * 6738415616, rel=1e-4)
    assert room.allocated_bytes / 2**30 == pytest.approx(published_gib, rel=0.02)
    (more,) = estimated(replace(plan, global_batch=8 * devices), name="a100-80gb-sxm").memory
    assert more.gradients_bytes > 0.0  # of the micro-batches before


@pytest.mark.parametrize(
    ("degrees", "published_gib"),
    [((1, 2, 4), 39.07), ((2, 1, 4), 37.73), ((2, 2, 2), 30.40), ((2, 2, 4), 25.69), ((2, 2, 16), 22.16)],
)
def test_deepspeeds_pipelines_of_eager_modules(degrees, published_gib):
    """The same table, fp16: the first stage, whose gradients are in 16 bit, within 7 %."""
    tensor, pipeline, data = degrees
    plan = Plan(
        global_batch=512 * data, tensor=tensor, pipeline=pipeline, data=data, zero=1, micro_batch=8, gradient="bf16",
        precision=Format.FP16, recompute=Recompute.FULL, software="deepspeed",
    )  # fmt: skip
    room = estimated(plan, name="a100-80gb-sxm").memory[0]
    assert room.allocated_bytes / 2**30 == pytest.approx(published_gib, rel=0.07)


def test_a_layers_backward_pass_begins_when_that_of_the_loss_has_ended():
    """Of 14 bytes a logit 12 are free again: what a layer of 13B works with is less, and takes none beside them."""
    plan = Plan(global_batch=8, data=8, zero=3, recompute=Recompute.FULL, software="fsdp-eager")
    (room,), chain = estimated(plan, "llama2-13b").memory, of_workload(load("llama2-13b"), plan)
    alone, passing = max(one.working_bytes for one in chain.whole), 12 * 4096 * 32000
    assert room.working_bytes == max(0.0, alone - passing)
    (long,) = estimated(replace(plan, software="fsdp-compiled"), "llama2-13b").memory
    assert long.working_bytes > 0.0


def test_few_sources_make_a_wide_interval_of_memory():
    """Of what nobody published, of mixtures and of sharded weights wider than of software whose memory several
    published, whose interval holds most of the sources that were gathered after its equations were written."""
    base = Plan(global_batch=8, data=8, zero=1, software="megatron-core")
    known, sharded, unnamed = (
        estimated(replace(base, **change)).interval for change in ({}, {"zero": 3}, {"software": ""})
    )
    mixture = estimated(base, "mixtral-8x7b").interval
    assert "no ZeRO-3" in known.memory_kind
    assert known.memory < unnamed.memory < sharded.memory
    assert known.memory <= mixture.memory
    assert unnamed.memory_kind == "software, or none named, whose memory nobody published"
    assert min(one.coverage for one in spreads().memory.values()) > 0.6
    assert spreads().memory[known.memory_kind].sources >= 8  # and three more on other devices, a class of their own
    rows = [one for name in ("open", "amd") for one in scored_runs(RUNS / f"gathered-{name}.csv")]
    inside = [one.memory_inside for one in rows if one.sound and one.memory_inside is not None]
    assert len(inside) > 60
    assert sum(inside) / len(inside) > 0.7


def test_memory_is_less_sure_on_devices_where_few_published_it():
    """Of the same software and plan, whatever the shipped widths are."""
    base = {"experts": False, "sharded": False, "software": "megatron-core"}
    usual, *others = (
        spreads().memory[memory_kind_of(**base, generation=one)].half
        for one in ("nvidia-4096-700", "nvidia-1024-300", "amd-4096-750", "google-65536-197")
    )
    assert min(others) >= usual
    assert [is_usual_device(one) for one in ("nvidia-2048-400", "nvidia-1024-300", "amd-2048-560")] == [
        True,
        False,
        False,
    ]


def test_the_class_of_other_devices_is_what_its_name_says():
    """NVIDIA's with HBM since Ampere, of every GPU of the catalogue: an RTX 4090 is since Ampere too."""
    found = {}
    for name in device_names():
        chip = device(name)
        if isinstance(chip.engine, Multiprocessors):
            found[name] = is_usual_device(generation(datasheet(chip)))
            hbm = chip.vendor == "NVIDIA" and chip.memory_kind.startswith("HBM") and not name.startswith("v100")
            assert found[name] == hbm, name
    assert (found["a100-40gb-pcie"], found["rtx-4090"], found["l40s"]) == (True, False, False)
