"""Shapes in columns against one shape at a time; the space against brute force; the ranking against re-pricing."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardplace.cost.arrays.machine import machine
from hardplace.cost.arrays.timer import ArrayTimer
from hardplace.cost.collectives import Ring
from hardplace.cost.gpu.models import shipped
from hardplace.cost.gpu.timer import GpuTimer
from hardplace.cost.layers.decoder import parameters
from hardplace.cost.layers.recognise import decoder_of
from hardplace.cost.layers.work import GemmWork
from hardplace.cost.one_chip.array_kernels import kernel_costs
from hardplace.errors import BadInput
from hardplace.hardware.catalogue import device
from hardplace.hardware.types import Cluster, NetworkLevel
from hardplace.plans.chain import of_shape
from hardplace.plans.fleet import even_cluster, node_of
from hardplace.plans.plan import Plan
from hardplace.plans.pricer import Efficiencies
from hardplace.plans.pricing import pricer_of
from hardplace.shaping.price import parameter_counts, saved_bytes, step_s
from hardplace.shaping.ranges import parse_range
from hardplace.shaping.rank import ShapeQuery, bands_of, ranked
from hardplace.shaping.sources import ShapeSource, model_named, target
from hardplace.shaping.space import ASPECT, space
from hardplace.shaping.types import FIELDS, StepConditions, Tier, columns
from hardplace.workload.decoder import DecoderShape, Experts
from hardplace.workload.load import catalogue, load
from hardplace.workload.sharding import shard
from hardplace.workload.types import Group, OperatorKind, Parallelism, Phase

LLAMA = DecoderShape(
    layers=32, hidden=4096, heads=32, kv_heads=32, head_dim=128, ffn=11008, vocab=32000, sequence=4096, gated=True
)
SMALL = DecoderShape(
    layers=4, hidden=512, heads=8, kv_heads=8, head_dim=64, ffn=1408, vocab=1000, sequence=512, gated=True
)
ALONE = Cluster(
    devices=1, levels=(NetworkLevel(name="none", devices=1, bandwidth_bytes_per_s=math.inf, latency_s=0.0),)
)


@st.composite
def decoders(draw: st.DrawFn, tensor: int = 1) -> DecoderShape:
    heads = tensor * draw(st.integers(1, 4))
    return DecoderShape(
        layers=draw(st.integers(1, 6)),
        hidden=8 * draw(st.integers(1, 64)),
        heads=heads,
        kv_heads=draw(st.sampled_from([one for one in (tensor, heads) if heads % one == 0])),
        head_dim=draw(st.sampled_from([32, 64, 80, 128])),
        ffn=tensor * draw(st.integers(1, 3000)),
        vocab=draw(st.integers(1, 60000)),
        sequence=256,
        gated=True,
    )


@pytest.mark.parametrize("name", ["h100-sxm", "a100-80gb-sxm"])
@pytest.mark.parametrize(("tensor", "sequence"), [(1, False), (4, True), (2, False)])
def test_columns_equal_one_shape_at_a_time(name: str, tensor: int, sequence: bool) -> None:
    @settings(max_examples=10, deadline=None)
    @given(shapes=st.lists(decoders(tensor), min_size=1, max_size=5))
    def check(shapes: list[DecoderShape]) -> None:
        model = replace(shipped(name), residual=None)
        cluster = even_cluster(node_of(name), tensor) if tensor > 1 else ALONE
        ring = Ring(members=tensor, stride=1)
        conditions = StepConditions(micro_batch=2, tensor=tensor, sequence=sequence)
        reached = Efficiencies(products=1.1, attention=1.3, streams=0.8, tensor=0.5, sync_s=5e-5, launch_s=2e-6)
        timer = GpuTimer(
            model=model, cluster=cluster, ring=ring, products=reached.products, attentions=reached.attention,
            streams=reached.streams, network=reached.tensor, sync_s=reached.sync_s, launch_s=reached.launch_s,
        )  # fmt: skip
        found = step_s(columns(shapes), conditions, timer)
        pricer = replace(pricer_of(device(name), Plan(global_batch=1, backend="default")), efficiencies=reached)
        for shape, seconds in zip(shapes, found, strict=True):
            plan = Plan(global_batch=2, micro_batch=2, tensor=tensor, sequence=sequence)
            chain = of_shape(shape, plan)
            parts = [
                pricer.seconds(work, cluster, {Group.TENSOR: ring}).total_s
                for layer in (*chain.before, *chain.layers, *chain.after)
                for work in (layer.forward, layer.backward)
            ]
            assert seconds == pytest.approx(sum(parts), rel=1e-9)

    check()


@settings(deadline=None)
@given(shapes=st.lists(decoders(), min_size=1, max_size=5))
def test_parameters_in_columns_equal_one_shape_at_a_time(shapes: list[DecoderShape]) -> None:
    assert parameter_counts(columns(shapes)).tolist() == [parameters(one) for one in shapes]


def test_parameters_of_experts_and_tied_embeddings() -> None:
    for shape in (
        replace(SMALL, tied=True, gated=False, positions=True),
        replace(SMALL, ffn=1024, experts=Experts(count=8, chosen=2, ffn=256, dense_layers=1)),
    ):
        assert parameter_counts(columns([shape])).tolist() == [parameters(shape)]


def test_layers_that_stages_do_not_divide_count_in_full() -> None:
    conditions = StepConditions(pipeline=4)
    timer = target("h100-sxm", conditions).timer
    shapes = columns([replace(SMALL, layers=layers) for layers in (5, 8)])
    five, eight = step_s(shapes, conditions, timer)
    assert five == pytest.approx(eight), "the fullest stage has two layers either way"


def test_an_array_prices_a_product_as_estimate_operators_does() -> None:
    on = machine(device("tpu-v4"), "bf16")
    layer = next(one for one in shard(load("llama2-7b"), Parallelism()).layers if one.name == "head")
    (real,) = [one for one in kernel_costs(layer, Phase.FORWARD, 1, on) if one.mapping]
    (matmul,) = [one for one in layer.operators if one.kind is OperatorKind.MATMUL and one.phase is Phase.FORWARD]
    _, m, n, k = (np.array([size.at(1)]) for size in matmul.dims)
    assert ArrayTimer(machine=on).products_s(GemmWork(m=1, n=1, k=1), m, n, k)[0] == pytest.approx(real.seconds)


def test_edges_of_an_array_are_paid_for() -> None:
    timer = ArrayTimer(machine=machine(device("tpu-v4"), "bf16"))
    sizes = np.array([1024, 1025])
    whole, edge = timer.products_s(GemmWork(m=1, n=1, k=1), sizes, sizes, sizes)
    assert edge > 1.1 * whole, "a row and a column more in every dimension take whole arrays more"
    assert whole >= 2 * 1024**3 / device("tpu-v4").peak_flops_per_s("bf16")


# Recognising what a Workload is


def test_decoders_of_the_catalogue_are_recognised_and_nothing_else() -> None:
    found = {name: decoder_of(load(name)) for name in catalogue()}
    others = {name for name, shape in found.items() if shape is None}
    assert others == {
        "bert-base", "bert-large", "deepseek-v3.2", "dlrm", "flux.1-dev", "gemma-3-27b", "glm-4.5", "gpt-oss-120b",
        "inception-v3", "kimi-k2", "llama-4-scout", "mamba2-2.7b", "megatron-bert-3.9b", "modernbert-large",
        "nemotron-h-8b", "opt-350m", "phi-4", "qwen3-next-80b-a3b", "resnet-50", "siglip2-so400m-14-384",
        "t5-large", "u-net", "vgg-16", "vit-l", "whisper-medium",
    }  # fmt: skip
    assert found["llama2-7b"] == LLAMA
    assert found["qwen3-30b-a3b"] is not None
    assert found["qwen3-30b-a3b"].experts == Experts(count=128, chosen=8, ffn=768)
    for name, shape in found.items():
        if shape is not None:
            assert parameters(shape) == pytest.approx(load(name).parameters, rel=2e-3)


# The space


def test_the_space_is_what_brute_force_finds() -> None:
    conditions, share = StepConditions(tensor=2), 0.03
    ranges = {"layers": (3, 4, 5), "hidden": (448, 512, 576), "head_dim": (32, 64), "ffn": tuple(range(1024, 1800, 64))}
    found = space(SMALL, conditions, 64, share, ("vocab",), ranges)
    ours = {tuple(getattr(found.shapes, name)[row] for name in FIELDS) for row in range(1, len(found.shapes))}
    wanted = parameters(SMALL)
    brute = set()
    for layers, hidden, width, ffn in itertools.product(*ranges.values()):
        shape = replace(SMALL, layers=layers, hidden=hidden, heads=hidden // width, kv_heads=hidden // width,
                        head_dim=width, ffn=ffn)  # fmt: skip
        if hidden % width == 0 and shape.heads % 2 == 0 and abs(parameters(shape) / wanted - 1) <= share:
            brute.add(tuple(getattr(shape, name) for name in FIELDS))
    assert ours == brute - {tuple(getattr(SMALL, name) for name in FIELDS)}
    assert len(brute) > 10


@pytest.mark.parametrize(("tensor", "pipeline", "quantum"), [(1, 1, 64), (4, 8, 64), (1, 1, 128)])
def test_every_shape_of_the_default_space_keeps_its_promises(tensor: int, pipeline: int, quantum: int) -> None:
    conditions = StepConditions(tensor=tensor, pipeline=pipeline)
    base = model_named("llama3-8b", None).shape
    assert base is not None
    found = space(base, conditions, quantum, 0.02)
    shapes = found.shapes
    assert shapes.at(0) == base
    assert len(np.unique(np.stack([getattr(shapes, name) for name in FIELDS]), axis=1).T) == len(shapes)
    assert (np.abs(found.parameters / found.parameters[0] - 1) <= 0.02).all()
    assert (shapes.heads % shapes.kv_heads == 0).all()
    assert (shapes.heads * shapes.head_dim == shapes.hidden).all()
    aspect = (shapes.hidden / shapes.layers) / (base.hidden / base.layers)
    assert ((aspect <= ASPECT) & (aspect >= 1 / ASPECT)).all()
    rest = shapes.take(np.arange(len(shapes)) > 0)
    assert (rest.heads % tensor == 0).all()
    assert (rest.layers % pipeline == 0).all()
    assert (rest.ffn % tensor == 0).all()
    assert (rest.vocab >= base.vocab).all()
    safe = shapes.take(found.safe)
    assert (safe.layers == base.layers).all()
    assert (safe.hidden == base.hidden).all()
    assert (safe.heads * safe.head_dim == base.heads * base.head_dim).all()


def test_frozen_fields_stay_and_ranges_hold() -> None:
    name, values = parse_range("hidden=3584:4608:64")
    found = space(LLAMA, StepConditions(), 64, 0.02, ("layers", "vocab"), {name: values})
    assert set(found.shapes.layers) == {32}
    assert set(found.shapes.vocab) == {32000}
    assert set(found.shapes.hidden) <= set(values)
    assert len(set(found.shapes.hidden.tolist())) > 5


@pytest.mark.parametrize(
    ("frozen", "ranges", "words"),
    [
        (("layers", "hidden"), {"ffn": (4096,)}, "nearest that can be reached has 4.021 B parameters, -40.33\u00a0%"),
        (("depth",), {}, "unknown field 'depth'"),
        (("ffn",), {"ffn": (4096,)}, "freeze: ffn: expected no range"),
        ((), {"vocab": (100,)}, "at least the model's 32000"),
        (FIELDS, {}, "but the model's own"),
    ],
)
def test_what_cannot_be_is_said(frozen: tuple[str, ...], ranges: dict[str, tuple[int, ...]], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        space(LLAMA, StepConditions(), 64, 0.01, frozen, ranges)


@pytest.mark.parametrize("text", ["hidden", "hidden=", "hidden=a", "hidden=4:1", "hidden=0", "hidden=1:2:3:4",
                                  "hidden=1:9:0", "hidden=1:1000000", "layers=5000", "foo=1", "heads=-4"])  # fmt: skip
def test_bad_ranges_are_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_range(text)


# The ranking


def test_the_ranking_is_that_of_re_pricing() -> None:
    conditions = StepConditions(micro_batch=2)
    targets = [target(name, conditions) for name in ("h100-sxm", "tpu-v4")]
    found = ranked(ShapeSource(name="llama", shape=LLAMA, workload=None), targets, conditions, ShapeQuery(share=0.02))
    assert found.candidates > 1000
    for tier, listed in ((Tier.SAFE, found.safe), (Tier.RESHAPED, found.reshaped)):
        assert [one.worst for one in listed] == sorted((one.worst for one in listed), reverse=True)
        for one in listed:
            assert one.tier is tier
            assert one.worst > 1
            assert one.parameters == parameters(one.shape)
            for on, there in zip(one.devices, targets, strict=True):
                base, seconds = step_s(columns([LLAMA, one.shape]), conditions, there.timer)
                assert on.step_s == pytest.approx(seconds)
                assert on.speedup == pytest.approx(base / seconds)
                trained = parameters(replace(one.shape, vocab=LLAMA.vocab)) / parameters(LLAMA)
                assert on.per_parameter == pytest.approx(base / seconds * trained)
    assert found.reshaped[0].worst > 1


def test_a_hundred_thousand_shapes_are_ranked() -> None:
    conditions = StepConditions()
    ranges = dict(parse_range(one) for one in ("hidden=2560:5632:16", "layers=16:48"))
    found = ranked(
        ShapeSource(name="llama", shape=LLAMA, workload=None), [target("h100-sxm", conditions)], conditions,
        ShapeQuery(share=0.15, ranges=ranges),
    )  # fmt: skip
    assert found.candidates >= 100_000


def test_the_band_is_of_what_differs() -> None:
    conditions = StepConditions()
    there = target("h100-sxm", conditions)
    deeper, padded, other = (
        replace(LLAMA, layers=40), replace(LLAMA, vocab=32064), replace(LLAMA, hidden=3584, heads=28, kv_heads=28)
    )  # fmt: skip
    same, deep, pad, wide = bands_of(columns([LLAMA, deeper, padded, other]), conditions, there)
    assert same == 0
    assert deep < pad < wide, "all kernels of a deeper model are the same; of a padded one all but the logits"
    assert pad == pytest.approx(bands_of(columns([padded, LLAMA]), conditions, there)[1], rel=1e-9), (
        "the band is the same either way"
    )
    worse = replace(there, product_error=2 * there.product_error)
    assert bands_of(columns([LLAMA, other]), conditions, worse)[1] > wide


def test_memory_is_that_of_a_rank() -> None:
    conditions = StepConditions(micro_batch=2, tensor=2, pipeline=2)
    (kept,) = saved_bytes(columns([LLAMA]), conditions)
    chain = of_shape(LLAMA, Plan(global_batch=2, micro_batch=2, tensor=2))
    assert kept == sum(one.saved_bytes + one.logits_bytes for one in (*chain.before, *chain.layers, *chain.after))


@pytest.mark.parametrize(
    ("name", "words"),
    [("t5-large", "expected a decoder of equal layers"), ("mixtral-8x7b", "expected a dense decoder")],
)
def test_other_models_are_refused_in_one_line(name: str, words: str) -> None:
    conditions = StepConditions()
    with pytest.raises(BadInput, match=words) as refused:
        ranked(model_named(name, None), [target("h100-sxm", conditions)], conditions, ShapeQuery(share=0.02))
    assert "\n" not in str(refused.value)


def test_a_degree_that_does_not_divide_the_model_is_refused() -> None:
    conditions = StepConditions(tensor=3)
    with pytest.raises(BadInput, match="tensor: 3: expected a divisor of the model's heads, 32"):
        ranked(
            ShapeSource(name="x", shape=LLAMA, workload=None),
            [target("h100-sxm", conditions)],
            conditions,
            ShapeQuery(share=0.02),
        )
