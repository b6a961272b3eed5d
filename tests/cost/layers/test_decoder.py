"""Layers from a shape against the same layers from the recorded models, which are the oracle."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
import transformers
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from hardplace.cost.collectives import Ring
from hardplace.cost.layers.decoder import block, embedding, head, parameters
from hardplace.cost.layers.recognise import decoder_of
from hardplace.cost.layers.recorded import layer_work
from hardplace.cost.layers.types import Layout, Stream
from hardplace.cost.layers.work import CollectiveWork, GemmWork, StreamWork
from hardplace.cost.one_chip.gpu_kernels import gpu, gpu_kernel_costs
from hardplace.cost.types import Collective
from hardplace.hardware.catalogue import device, node
from hardplace.plans.fleet import even_cluster
from hardplace.plans.plan import Plan
from hardplace.plans.pricer import Efficiencies
from hardplace.plans.pricing import pricer_of
from hardplace.workload.decoder import DecoderShape, Degrees, Experts
from hardplace.workload.load import load
from hardplace.workload.sharding import shard
from hardplace.workload.types import Group, OperatorKind, Parallelism, Phase, Recompute

SHAPES = {
    "llama2-7b": DecoderShape(
        layers=32, hidden=4096, heads=32, kv_heads=32, head_dim=128, ffn=11008, vocab=32000, sequence=4096, gated=True
    ),
    "llama3-70b": DecoderShape(
        layers=80, hidden=8192, heads=64, kv_heads=8, head_dim=128, ffn=28672, vocab=128256, sequence=8192, gated=True
    ),
    "gpt3-175b": DecoderShape(
        layers=96,
        hidden=12288,
        heads=96,
        kv_heads=96,
        head_dim=128,
        ffn=49152,
        vocab=50257,
        sequence=2048,
        gated=False,
        positions=True,
        tied=True,
    ),
}
SMALL = 1 << 20  # bytes: gradients of norms that sequence parallelism adds up, once a step in Megatron-LM


def flops(work):
    return sum(one.flops for one in work if isinstance(one, GemmWork))


def exchanges(work):
    return Counter((one.collective, one.bytes) for one in work if isinstance(one, CollectiveWork) and one.bytes > SMALL)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(("tensor", "sequence"), [(1, False), (2, False), (8, False), (4, True), (8, True)])
def test_equals_the_recorded_model(name, tensor, sequence):
    workload, shape = load(name), SHAPES[name]
    assert workload.sequence_length == shape.sequence
    degrees = Degrees(tensor=tensor, sequence=sequence, micro_batch=2)
    made = shard(workload, Parallelism(tensor=tensor, sequence=sequence)).layers
    ours = (embedding(shape, degrees), block(shape, degrees, Recompute.NONE), head(shape, degrees))
    recorded = [layer_work(made[index], 2, Recompute.NONE) for index in dict.fromkeys(workload.order)]
    assert len(recorded) == 3
    for one, other in zip(ours, recorded, strict=True):
        assert flops(one.forward) == flops(other.forward)
        assert flops(one.backward) == flops(other.backward)
        assert one.parameters == other.parameters
        assert exchanges(one.forward) == exchanges(other.forward)
        known = exchanges(other.backward)
        if one.name == "embedding" and sequence and shape.positions:
            # Megatron-LM adds positions before it scatters, so their gradient needs no sum over the group.
            known -= Counter({(Collective.ALL_REDUCE, 2.0 * 2 * shape.sequence * shape.hidden / 2): 1})
        assert exchanges(one.backward) == known
        assert one.output_bytes == other.output_bytes


@pytest.mark.parametrize("name", ["mixtral-8x7b", "qwen3-30b-a3b"])
@pytest.mark.parametrize(("tensor", "expert"), [(8, 8), (2, 4), (8, 1)])
def test_a_mixture_beside_tensor_parallelism_equals_the_recorded_model(name, tensor, expert):
    """Experts are whole, and each tensor rank sends its own tokens; replicas add up gradients."""
    workload = load(name)
    shape = decoder_of(workload)
    ours = block(shape, Degrees(tensor=tensor, sequence=True, expert=expert, micro_batch=2), Recompute.NONE)
    degrees = Parallelism(tensor=tensor, sequence=True, expert=expert, whole_experts=True)
    recorded = layer_work(shard(workload, degrees).layers[workload.order[1]], 2, Recompute.NONE)
    for one, other in ((ours.forward, recorded.forward), (ours.backward, recorded.backward)):
        assert flops(one) == flops(other)
        assert exchanges(one) == exchanges(other)
    assert ours.expert_parameters == recorded.expert_parameters
    assert ours.parameters == pytest.approx(recorded.parameters, rel=1e-3)  # norms of queries and keys
    assert ours.output_bytes == recorded.output_bytes


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(("tensor", "sequence"), [(1, False), (8, True)])
@pytest.mark.parametrize("gpu_name", ["h100-sxm", "a100-80gb-sxm"])
def test_seconds_of_a_block_are_the_recorded_ones(name, tensor, sequence, gpu_name):
    """Both ways into a layer, and the way that prices a recorded layer's kernels one by one, with residual."""
    workload, shape = load(name), SHAPES[name]
    made = shard(workload, Parallelism(tensor=tensor, sequence=sequence)).layers
    layer = made[Counter(workload.order).most_common(1)[0][0]]
    ours, recorded = (
        block(shape, Degrees(tensor=tensor, sequence=sequence, micro_batch=2), Recompute.NONE),
        layer_work(layer, 2, Recompute.NONE),
    )
    pricer = replace(pricer_of(device(gpu_name), Plan(global_batch=1, backend="default")), efficiencies=Efficiencies())
    groups, cluster = {Group.TENSOR: Ring(members=tensor, stride=1)}, even_cluster(node("dgx-h100"), 8)
    for phase in ("forward", "backward"):
        mine, theirs = (pricer.seconds(getattr(one, phase), cluster, groups) for one in (ours, recorded))
        assert mine.total_s == pytest.approx(theirs.total_s, rel=0.08)
        assert mine.products_s == pytest.approx(theirs.products_s, rel=0.09)
        assert mine.attention_s == pytest.approx(theirs.attention_s)
        if tensor == 1:
            one_by_one = gpu_kernel_costs(layer, Phase(phase), 2, gpu(device(gpu_name), "bf16"))
            assert sum(one.seconds for one in one_by_one) == pytest.approx(theirs.total_s, rel=0.1)


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_of_the_model(name):
    assert parameters(SHAPES[name]) == load(name).parameters


def test_parameters_of_a_mixture():
    mixtral = DecoderShape(
        layers=32,
        hidden=4096,
        heads=32,
        kv_heads=8,
        head_dim=128,
        ffn=0,
        vocab=32000,
        sequence=4096,
        gated=True,
        experts=Experts(count=8, chosen=2, ffn=14336),
    )
    assert parameters(mixtral) == load("mixtral-8x7b").parameters


def test_experts_as_wide_as_the_model_have_one_activation():
    """GPT OSS: 2,880 both ways. One expert width more or less moves bytes in proportion, at equality too."""
    wide = DecoderShape(
        layers=36, hidden=2880, heads=64, kv_heads=8, head_dim=64, ffn=0, vocab=201088, sequence=4096, gated=True,
        experts=Experts(count=128, chosen=4, ffn=2880),
    )  # fmt: skip
    below, at, above = (
        block(replace(wide, experts=Experts(count=128, chosen=4, ffn=ffn)), Degrees(), Recompute.NONE)
        for ffn in (2880 - 64, 2880, 2880 + 64)
    )
    assert at.saved_bytes == (below.saved_bytes + above.saved_bytes) / 2
    assert len(at.forward) == len(below.forward) == len(above.forward)
    assert len(at.backward) == len(below.backward) == len(above.backward)


def test_saved_bytes_of_a_gpt_layer_with_fused_attention():
    """Korthikanti et al. 2022 (arXiv 2205.05198), section 4: 34 s b h without the scores."""
    shape = SHAPES["gpt3-175b"]
    saved = block(shape, Degrees(dropout=True), Recompute.NONE).saved_bytes / (shape.sequence * shape.hidden)
    assert saved == pytest.approx(34, rel=0.02)


def test_full_recompute_runs_the_forward_again_and_keeps_its_input():
    shape = SHAPES["llama2-7b"]
    full, none = (block(shape, Degrees(), one) for one in (Recompute.FULL, Recompute.NONE))
    assert full.again == none.forward
    assert full.saved_bytes == 2 * shape.sequence * shape.hidden
    assert full.working_bytes == none.working_bytes + none.saved_bytes


def test_selective_recompute_by_operator_by_hand():
    """torchtitan keeps input, attention's output, and q, v, gate and down of q, k, v, output, gate, up and down."""
    shape = SHAPES["llama3-70b"]
    found = block(shape, Degrees(modules=("op",)), Recompute.SELECTIVE)
    tokens, h, kv, ffn = shape.sequence, shape.hidden, shape.kv_heads * shape.head_dim, shape.ffn
    assert found.saved_bytes == 2.0 * tokens * (4 * h + kv + ffn)
    assert flops(found.again) == 2.0 * tokens * (h * kv + h * h + h * ffn)
    mixture = replace(shape, experts=Experts(count=64, chosen=8, ffn=1024))
    routed = block(mixture, Degrees(modules=("op",)), Recompute.SELECTIVE)
    assert routed.saved_bytes == 2.0 * tokens * (4 * h + kv - h + 64)  # down is the experts': the router is kept
    assert flops(routed.again) == 2.0 * tokens * (h * kv + h * h + 3 * 8 * h * 1024)


def test_full_recompute_that_stops_early_equals_torch() -> None:
    """What torch's checkpoint that is not reentrant runs again of an MLP, by its FLOP counter: not the last product;
    the reentrant one runs all."""
    width, tokens = 32, 8
    mlp = torch.nn.Sequential(torch.nn.Linear(width, 4 * width), torch.nn.GELU(), torch.nn.Linear(4 * width, width))
    inputs = torch.randn(tokens, width, requires_grad=True)

    def backward_flops(*, reentrant: bool) -> int:
        out = checkpoint(mlp, inputs, use_reentrant=reentrant)
        with FlopCounterMode(display=False) as counter:
            out.sum().backward()
        return counter.get_total_flops()

    with FlopCounterMode(display=False) as counter:
        mlp(inputs).sum().backward()
    each = counter.get_total_flops() // 6  # two products, each once forward and twice backward
    shape = SHAPES["gpt3-175b"]
    whole, early = (
        block(shape, Degrees(micro_batch=1, stops_early=early), Recompute.FULL).again for early in (False, True)
    )
    last = flops(whole) - flops(early)
    assert backward_flops(reentrant=True) - 4 * each == 2 * each
    assert backward_flops(reentrant=False) - 4 * each == each
    assert last == 2.0 * shape.sequence * shape.hidden * shape.ffn  # the product down, nothing else
    mixture = replace(shape, experts=Experts(count=8, chosen=2, ffn=1024))
    kept = block(mixture, Degrees(stops_early=True), Recompute.FULL)
    assert kept.again == kept.forward  # the router weighs what the last product gives


def kept_by_autograd(layer: torch.nn.Module, rotary: torch.nn.Module, inputs: torch.Tensor) -> int:
    """Return the bytes that autograd keeps of a layer's forward pass, without its parameters."""
    angles = rotary(inputs, torch.arange(inputs.shape[1])[None])
    own = {one.untyped_storage().data_ptr() for one in (*layer.parameters(), *angles)}
    kept: dict[int, torch.UntypedStorage] = {}  # held, so that no other takes its place

    def pack(one: torch.Tensor) -> torch.Tensor:
        kept[one.untyped_storage().data_ptr()] = one.untyped_storage()
        return one

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one):
        out = layer(inputs, position_embeddings=angles)
    assert out.requires_grad
    return sum(one.nbytes() for at, one in kept.items() if at not in own)


def test_what_eager_modules_keep_is_what_autograd_keeps_of_hugging_faces_layer() -> None:
    """A Llama layer of the library in bf16: fp32 copies of the norms' inputs, what they give before their weights, the
    activation beside its product. Row statistics (a mean square of each norm, attention's sums) are not counted."""
    tokens, hidden, ffn, heads = 64, 256, 512, 4
    fields = {"hidden_size": hidden, "intermediate_size": ffn, "num_hidden_layers": 1, "num_attention_heads": heads}
    config = transformers.LlamaConfig(**fields, vocab_size=64, attn_implementation="sdpa")
    model = transformers.models.llama.modeling_llama
    inputs = torch.randn(1, tokens, hidden, dtype=torch.bfloat16, requires_grad=True)
    layer = model.LlamaDecoderLayer(config, 0).bfloat16()
    found = kept_by_autograd(layer, model.LlamaRotaryEmbedding(config), inputs) - 4 * tokens * (2 + heads)
    shape = DecoderShape(
        layers=1, hidden=hidden, heads=heads, kv_heads=heads, head_dim=hidden // heads, ffn=ffn, vocab=64,
        sequence=tokens, gated=True,
    )  # fmt: skip
    assert block(shape, Degrees(eager=True), Recompute.NONE).saved_bytes == found
    assert block(shape, Degrees(), Recompute.NONE).saved_bytes == found - tokens * (8 * hidden + 2 * ffn)


def test_eager_experts_keep_for_their_width_what_autograd_keeps_of_hugging_faces_mixture() -> None:
    """Of a Mixtral layer of the library by two widths of its experts: gate, up, activation and product of a copy."""
    tokens, hidden, heads, chosen = 64, 128, 4, 2
    model, fields = transformers.models.mixtral.modeling_mixtral, {"hidden_size": hidden, "num_hidden_layers": 1}
    inputs = torch.randn(1, tokens, hidden, dtype=torch.bfloat16, requires_grad=True)

    def both(ffn: int) -> tuple[int, float]:
        config = transformers.MixtralConfig(
            **fields, intermediate_size=ffn, num_attention_heads=heads, num_key_value_heads=heads, num_local_experts=4,
            num_experts_per_tok=chosen, vocab_size=64, attn_implementation="sdpa", experts_implementation="eager",
        )  # fmt: skip
        layer = model.MixtralDecoderLayer(config, 0).bfloat16()
        for one in layer.parameters():
            torch.nn.init.normal_(one, std=0.02)
        shape = DecoderShape(
            layers=1, hidden=hidden, heads=heads, kv_heads=heads, head_dim=hidden // heads, ffn=ffn, vocab=64,
            sequence=tokens, gated=True, experts=Experts(count=4, chosen=chosen, ffn=ffn),
        )  # fmt: skip
        own = block(shape, Degrees(eager=True), Recompute.NONE).saved_bytes
        return kept_by_autograd(layer, model.MixtralRotaryEmbedding(config), inputs), own

    small, large = both(128), both(384)
    assert large[0] - small[0] == large[1] - small[1] == 2 * 4 * tokens * chosen * 256


def test_full_recompute_runs_a_product_again_that_a_norm_reads() -> None:
    """Gemma 2 and OLMo 2 have a norm between the MLP's last product and the sum: its gradient needs that output."""
    workload = load("llama3-8b")
    number = workload.order[1]
    layer = workload.layers[number]
    forward = [one for one in layer.operators if one.phase is Phase.FORWARD]
    last = [one for one in forward if one.kind is OperatorKind.MATMUL][-1]
    norm = next(one for one in forward if one.kind in (OperatorKind.NORMALISATION, OperatorKind.REDUCTION))
    after = layer.operators.index(last) + 1
    operators = (*layer.operators[:after], replace(norm, reads=last.writes), *layer.operators[after:])
    layers = [*workload.layers]
    layers[number] = replace(layer, operators=operators)
    plain, normed = decoder_of(workload), decoder_of(replace(workload, layers=tuple(layers)))
    down = 2.0 * workload.sequence_length * 4096 * 14336
    for shape, left_out in ((plain, down), (normed, 0.0)):
        found = block(shape, Degrees(micro_batch=1, stops_early=True), Recompute.FULL)
        assert flops(found.forward) - flops(found.again) == left_out


def test_norms_read_one_and_a_half_times_as_much_backward():
    """Forward: read, written; backward: input and gradient read, gradient written. Also those of latent attention."""
    shape = decoder_of(load("deepseek-v3"))
    made = block(shape, Degrees(), Recompute.NONE, shape.experts.dense_layers)
    forward, backward = (
        sorted((one.row, one.bytes) for one in work if isinstance(one, StreamWork) and one.kind is Stream.NORM)
        for work in (made.forward, made.backward)
    )
    assert {row for row, _ in forward} == {7168, 1536, 512}
    assert [(row, 1.5 * size) for row, size in forward] == backward
    tokens = shape.sequence
    assert (1536, 2.0 * 2 * tokens * 1536) in forward


def test_the_head_keeps_its_input_gathered_where_products_keep_it_as_they_ran_on_it():
    shape = SHAPES["llama2-7b"]
    degrees = Degrees(tensor=4, sequence=True, micro_batch=2)
    tokens = 2 * shape.sequence
    for autograd, rows in ((False, tokens // 4 + tokens // 4), (True, tokens // 4 + tokens)):
        made = head(shape, replace(degrees, autograd=autograd))
        assert made.saved_bytes == 2 * shape.hidden * rows


def test_results_are_written_in_16_bit_and_gradients_of_weights_added_up_in_32():
    layer = shard(load("llama2-7b"), Parallelism()).layers[1]
    made = layer_work(layer, 1, Recompute.NONE)
    assert {one.output_bytes for one in made.forward if isinstance(one, GemmWork)} == {2.0}
    written = [(one.layout, one.output_bytes) for one in made.backward if isinstance(one, GemmWork)]
    assert set(written) == {(Layout.NN, 2.0), (Layout.NT, 8.0)}


def test_experts_with_a_capacity_have_rows_that_no_token_fills_and_are_reached_by_products():
    """GShard: 1.25 times the rows; of a sequence (E C) x s x h twice forward, three times backward: none is useful."""
    exact = DecoderShape(
        layers=1, hidden=512, heads=4, kv_heads=4, head_dim=128, ffn=0, vocab=32000, sequence=1024, gated=True,
        experts=Experts(count=8, chosen=2, ffn=1024),
    )  # fmt: skip
    padded = replace(exact, experts=replace(exact.experts, capacity=1.25))
    one, other = (block(shape, Degrees(micro_batch=3), Recompute.NONE) for shape in (exact, padded))

    def flops(layer, *, useful=False):
        found = [work for work in (*layer.forward, *layer.backward) if isinstance(work, GemmWork)]
        return sum(work.flops * (work.useful if useful else 1.0) for work in found)

    experts = 6.0 * 3 * 512 * 1024 * 2 * 3 * 1024
    masks = 5 * 2.0 * 3 * (1024 * 2 * 1.25) * 1024 * 512
    assert flops(one) == flops(one, useful=True) == pytest.approx(flops(other, useful=True))
    assert flops(other) - flops(one) == pytest.approx(0.25 * experts + masks)
    assert one.expert_parameters == other.expert_parameters


def test_what_receives_the_most_that_a_rank_could_get_has_as_many_rows():
    """16 ranks, 4 of 64 experts each, 6 chosen: 16 x 4 rows a token instead of 6; what comes back is as it was sent."""
    moe = Experts(count=64, chosen=6, ffn=1024)
    shape = DecoderShape(
        layers=1, hidden=2048, heads=16, kv_heads=16, head_dim=128, ffn=0, vocab=32000, sequence=1024, gated=True,
        experts=moe,
    )  # fmt: skip
    degrees = Degrees(expert=16)
    even, worst = (
        [block(shape, replace(degrees, worst_rows=one, modules=modules), kind) for modules, kind in KINDS]
        for one in (False, True)
    )
    rows = 2.0 * 1024 * (2048 + 3 * 1024)  # the input of the first products, gate, up and their product
    more = worst[0].saved_bytes - even[0].saved_bytes
    assert more == pytest.approx((16 * 4 - 6) * rows)
    assert worst[1].saved_bytes == even[1].saved_bytes  # recomputed: in the working set alone
    assert worst[1].working_bytes - even[1].working_bytes == pytest.approx(more)
    assert worst[2].saved_bytes == pytest.approx(even[2].saved_bytes)  # so is the mixture as a module
    assert worst[0].forward == even[0].forward
    beside = block(shape, replace(degrees, worst_rows=True, worst_gradients=True), Recompute.NONE)
    gradients = 2.0 * 1024 * (2048 + 2 * 1024)  # of the first products' input and output
    assert beside.working_bytes - worst[0].working_bytes == pytest.approx((16 * 4 - 6) * gradients)
    for other in (replace(degrees, expert=1), replace(degrees, expert=1, worst_rows=True)):
        assert block(shape, other, Recompute.NONE).saved_bytes == even[0].saved_bytes
    dropping = replace(shape, experts=replace(moe, capacity=1.0))
    kept = {block(dropping, replace(degrees, worst_rows=one), Recompute.NONE).saved_bytes for one in (False, True)}
    assert len(kept) == 1


KINDS = (((), Recompute.NONE), ((), Recompute.FULL), (("moe",), Recompute.SELECTIVE))
