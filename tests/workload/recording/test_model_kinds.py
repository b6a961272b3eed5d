"""Kinds of models that people train: routed, sparse, windowed, linear, of two towers; each with its numbers.

Small configs of the same structure as the public models that they are named for. FLOPs: torch's FlopCounterMode
(`counted_flops`), or by hand.
"""

from math import prod

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

import hardplace as hp  # noqa: E402
from hardplace.errors import BadInput  # noqa: E402
from hardplace.workload.linear_scan import scan_product_flops  # noqa: E402
from hardplace.workload.recording.counter import counted_flops  # noqa: E402
from hardplace.workload.recording.huggingface import Options, step_of_config  # noqa: E402
from hardplace.workload.recording.layers import record_workload  # noqa: E402
from hardplace.workload.types import OperatorKind, Phase  # noqa: E402

DECODER = {
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
}


def step_of(kind, architecture, *, base=DECODER, length=256, options=None, **others):
    fields = {**base, "model_type": kind, "architectures": [architecture], **others}
    return step_of_config(fields, "config.json", kind, Options(sequence_length=length, **(options or {})))


def recorded(*arguments, **others):
    """Return the Workload of a config, whose FLOPs are torch's."""
    step = step_of(*arguments, **others)
    workload = record_workload(step)
    assert counted_flops(step, 1) == workload.flops_per_sample()
    return workload


def operators(workload, kind=None):
    return [one for layer in workload.layers for one in layer.operators if kind in (None, one.kind)]


def attentions(workload):
    """(window, causal) of each kind of layer that has attention."""
    forward = [one for one in operators(workload, OperatorKind.ATTENTION) if one.phase is Phase.FORWARD]
    return [(one.window, one.causal) for one in forward]


def quadratic(workload, length):
    """Storages kept that grow with the tokens squared."""
    return [
        layer.storages[index].bytes.factor
        for layer in workload.layers
        for index in layer.saved
        if layer.storages[index].bytes.factor >= length * length
        and any(
            [size.at(1) for size in tensor.shape].count(length) > 1
            for tensor in layer.tensors
            if tensor.storage == index
        )
    ]


def test_a_token_of_llama_4_goes_through_its_experts_and_the_shared_one():
    """The library's class multiplies all tokens by all experts; by hand: six times the parameters a token meets."""
    workload = recorded(
        "llama4_text", "Llama4ForCausalLM", intermediate_size_mlp=256, num_local_experts=16, num_experts_per_tok=1,
        interleave_moe_layer_step=1, attention_chunk_size=64, num_hidden_layers=4,
    )  # fmt: skip
    attention = 128 * 128 * 2 + 128 * 64 * 2
    met = 4 * (attention + 2 * 3 * 128 * 128 + 128 * 16) + 128 * 1000
    products = 7 * 4 * 2 * 4 * 256 * 256 * 32
    assert workload.flops_per_sample() == 6 * met * 256 + products
    # Chunked attention in three layers of four: no more than the chunk is seen.
    assert attentions(workload) == [(64, True), (0, True)]


def test_attention_with_sinks_is_one_operator_with_its_window():
    kinds = ["sliding_attention", "full_attention"]
    workload = recorded(
        "gpt_oss", "GptOssForCausalLM", num_local_experts=4, num_experts_per_tok=2, sliding_window=64, layer_types=kinds
    )
    assert attentions(workload) == [(64, True), (0, True)]
    assert not quadratic(workload, 256)
    layer = workload.layers[1]
    first = next(one for one in layer.operators if one.kind is OperatorKind.ATTENTION)
    assert [size.constant for size in layer.tensors[first.reads[-1]].shape] == [4]  # a sink a head


def test_a_window_to_both_sides_has_both_sides():
    """ModernBERT attends to 64 tokens on either side (local_attention 128) and to the token itself."""
    workload = recorded(
        "modernbert", "ModernBertForMaskedLM", local_attention=128, global_attn_every_n_layers=2, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, cls_token_id=3, sep_token_id=4, num_hidden_layers=3,
    )  # fmt: skip
    assert sorted(set(attentions(workload))) == [(0, False), (129, False)]


@pytest.mark.parametrize(
    ("kind", "architecture", "rope"),
    [
        ("phi3", "Phi3ForCausalLM", {"rope_type": "longrope", "long_factor": [1.0] * 16, "short_factor": [1.0] * 16}),
        ("llama", "LlamaForCausalLM", {"rope_type": "dynamic", "factor": 2.0}),
    ],
)
def test_rotary_tables_that_a_length_chooses(kind, architecture, rope):
    one = {"num_hidden_layers": 1, "pad_token_id": 0, "length": 128}
    plain = record_workload(step_of(kind, architecture, **one))
    rope = {"rope_parameters": {**rope, "rope_theta": 10000.0}, "original_max_position_embeddings": 64}
    workload = record_workload(step_of(kind, architecture, **one, **rope))
    assert (workload.parameters, workload.flops_per_sample()) == (plain.parameters, plain.flops_per_sample())


LATENT = {
    "moe_intermediate_size": 64, "n_routed_experts": 8, "num_experts_per_tok": 2, "n_shared_experts": 1, "n_group": 1,
    "topk_group": 1, "first_k_dense_replace": 1, "num_key_value_heads": 4, "q_lora_rank": 64, "kv_lora_rank": 64,
    "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32, "index_n_heads": 4, "index_head_dim": 32,
    "index_topk": 64,
}  # fmt: skip


def test_sparse_attention_sees_the_keys_that_it_chose():
    workload = recorded("deepseek_v32", "DeepseekV32ForCausalLM", **LATENT, length=208)
    assert attentions(workload) == [(64, True)] * 2
    assert not quadratic(workload, 208)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"dtype": torch.float32}, "float32"),
        ({"dtype": torch.float16}, "float16"),
        ({"dtype": torch.float32, "autocast": torch.bfloat16}, "bfloat16"),
    ],
)
def test_experts_run_in_any_type(options, expected):
    workload = recorded(
        "qwen3_moe", "Qwen3MoeForCausalLM", moe_intermediate_size=64, num_experts=8, num_experts_per_tok=2,
        options=options, num_hidden_layers=1,
    )  # fmt: skip
    layer = workload.layers[1]
    products = [one for one in layer.operators if one.kind is OperatorKind.GROUPED_MATMUL]
    assert len(products) == 6
    assert {layer.tensors[index].dtype for one in products for index in one.reads[:2]} == {expected}


def test_a_name_that_differs_in_case_is_the_librarys_and_another_is_said():
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2, "num_hidden_layers": 1}
    assert type(step_of("phimoe", "PhiMoEForCausalLM", **experts).module).__name__ == "PhimoeForCausalLM"
    with pytest.raises(
        BadInput, match=r"config\.json: architectures: \['Phi4MoE'\]: expected the name .*PhimoeForCausalLM"
    ):
        step_of("phimoe", "Phi4MoE", **experts)


TOWER = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2, "num_hidden_layers": 1}


@pytest.mark.parametrize(
    ("kind", "architecture", "more", "scalars"),
    [("siglip", "SiglipModel", {}, 2), ("clip", "CLIPModel", {"projection_dim": 64}, 1)],
)
def test_a_loss_of_all_pairs_is_recorded_of_a_samples_own(kind, architecture, more, scalars):
    """Both towers run, the loss's own parameters too, and nothing grows with the micro-batch squared."""
    step = step_of(
        kind, architecture, base={}, length=None, **more,
        text_config={**TOWER, "vocab_size": 1000, "max_position_embeddings": 32, "eos_token_id": 2},
        vision_config={**TOWER, "image_size": 32, "patch_size": 16},
    )  # fmt: skip
    workload = record_workload(step)
    assert counted_flops(step, 3) == 3 * workload.flops_per_sample()
    assert sum(workload.layers[number].parameters for number in workload.order) == workload.parameters
    assert sum(weight.numel() == 1 for weight in step.module.parameters()) == scalars
    assert "other pairs" in step.notes[0]


def test_images_are_of_the_size_that_the_config_says():
    vision = {**TOWER, "global_attn_indexes": [0], "mlp_dim": 64, "image_size": 128, "patch_size": 16}
    workload = recorded("sam", "SamModel", base={}, length=None, vision_config=vision)
    tokens = [one.dims[3].at(1) for one in operators(workload, OperatorKind.ATTENTION)]
    assert (128 // 16) ** 2 in tokens
    oblong = recorded(
        "vit", "ViTForImageClassification", base={}, length=None, **TOWER, image_size=[32, 64], patch_size=16
    )
    assert oblong.layers[1].operators[0].kind
    assert {one.dims[3].at(1) for one in operators(oblong, OperatorKind.ATTENTION)} == {2 * 4 + 1}


@pytest.mark.parametrize("asked", ["flash_attention_2", "someone/kernel", "eager"])
def test_the_recorder_chooses_the_attention(asked):
    workload = recorded("llama", "LlamaForCausalLM", _attn_implementation=asked, num_hidden_layers=1)
    assert attentions(workload) == [(0, True)]


DELTA_NET = {
    "moe_intermediate_size": 64, "shared_expert_intermediate_size": 64, "num_experts": 8, "num_experts_per_tok": 2,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 32, "linear_value_head_dim": 48,
    "layer_types": ["linear_attention", "full_attention"],
}  # fmt: skip


def test_the_gated_delta_rule_is_one_kernel_each_way():
    workload = recorded("qwen3_next", "Qwen3NextForCausalLM", **DELTA_NET)
    scans = operators(workload, OperatorKind.SCAN)
    assert [one.name for one in scans] == ["gated_delta_scan", "gated_delta_scan_backward"]
    assert [size.at(1) for size in scans[0].dims] == [1, 256, 4, 48, 2, 32, 64]
    linear = workload.layers[1]
    assert len(linear.operators) < 330
    # Of a token: normalised queries and keys, values, decay in fp32, rate and a row of the triangle of each head.
    token = 2 * (2 * 2 * 32 + 4 * 48 + 4 + 4 * 64) + 4 * 4
    kept = {linear.tensors[index].storage for index in scans[1].reads[1:]}
    assert kept <= set(linear.saved)
    tensors = [linear.tensors[index] for index in scans[1].reads[1:]]
    sizes = {"bfloat16": 2, "float32": 4}
    shapes = [sizes[one.dtype] * prod(size.at(1) for size in one.shape) for one in tensors]
    assert sum(shapes) == 256 * token


def test_flops_of_the_delta_rule_are_the_librarys_products_and_those_of_its_triangle():
    """The library solves the triangle where the kernel multiplies by its inverse: two products, and the inverse."""
    from transformers.models.qwen3_next import modeling_qwen3_next

    sizes = {"q": (1, 128, 2, 32), "k": (1, 128, 2, 32), "v": (1, 128, 2, 48), "g": (1, 128, 2), "beta": (1, 128, 2)}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        modeling_qwen3_next.torch_chunk_gated_delta_rule(*(torch.rand(one) for one in sizes.values()))
    chunks = 2 * 2
    triangle = 2 * chunks * (64 * 64 * 32 + 64 * 64 * 48 + 16 * 16**3)
    found = scan_product_flops("gated_delta_scan", (1, 128, 2, 48, 2, 32, 64), backward=False)
    assert found == counter.get_total_flops() + triangle
    # Ten products of (64, 64, 32), five of (64, 64, 48), eight of (64, 48, 32), two of (64, 64, 64).
    backward = 10 * 64 * 64 * 32 + 5 * 64 * 64 * 48 + 8 * 64 * 48 * 32 + 2 * 64**3
    assert (
        scan_product_flops("gated_delta_scan_backward", (1, 128, 2, 48, 2, 32, 64), backward=True) == 2 * 4 * backward
    )


KIMI = {
    "pad_token_id": 0,
    "linear_attn_config": {"kda_layers": [1], "full_attn_layers": [2], "num_heads": 4, "head_dim": 32},
}


@pytest.mark.parametrize(
    ("kind", "architecture", "more", "scan"),
    [
        ("kimi_linear", "KimiLinearForCausalLM", {**LATENT, **KIMI}, "kimi_delta_scan"),
        ("minimax", "MiniMaxForCausalLM", {"num_local_experts": 4, "num_experts_per_tok": 2}, "linear_attention_scan"),
        ("xlstm", "xLSTMForCausalLM", {"num_heads": 4, "num_blocks": 1}, "linear_attention_scan"),
        ("recurrent_gemma", "RecurrentGemmaForCausalLM", {"lru_width": 128, "num_hidden_layers": 3}, "recurrence_scan"),
        ("rwkv", "RwkvForCausalLM", {"context_length": 256}, "recurrence_scan"),
    ],
)
def test_linear_attention_and_recurrences_are_scans(kind, architecture, more, scan):
    workload = recorded(kind, architecture, **more)
    found = {one.name for one in operators(workload, OperatorKind.SCAN)}
    assert found == {scan, f"{scan}_backward"}
    assert max(len(layer.operators) for layer in workload.layers) < 700


@pytest.mark.parametrize(
    ("kind", "architecture", "others"),
    [
        (
            "gpt_neo",
            "GPTNeoForCausalLM",
            {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]},
        ),
        ("gptj", "GPTJForCausalLM", {"n_embd": 128, "n_layer": 1, "n_head": 4, "rotary_dim": 16}),
        ("xlnet", "XLNetLMHeadModel", {"d_model": 128, "n_layer": 1, "n_head": 4, "d_inner": 256}),
    ],
)
def test_families_that_choose_attention_by_a_table_of_classes_or_have_no_positions(kind, architecture, others):
    fields = {"vocab_size": 1000, "hidden_size": 128, **others}
    assert recorded(kind, architecture, base=fields, length=None).training


class Turns(torch.nn.Module):
    """A loop over two lists of modules, with something without weights before each: DPT's reassembly."""

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Linear(8, 8)
        self.read = torch.nn.ModuleList(torch.nn.Linear(16, 8) for _ in range(3))
        self.project = torch.nn.ModuleList(torch.nn.Linear(8, 8) for _ in range(3))

    def forward(self, x):
        x = self.stem(x)
        turns = zip(self.read, self.project, strict=True)
        return sum(project(read(torch.cat([x, x + 1], dim=-1))) for read, project in turns)


def test_modules_that_run_in_turns_are_one_layer():
    workload = hp.trace(Turns(), (torch.empty(2, 8),), name="turns")
    assert len(workload.order) == 2
    assert all(edge.source < edge.target for edge in workload.edges)
    assert workload.parameters == sum(workload.layers[index].parameters for index in workload.order) == 72 + 408 + 216
    # Three products each, but for the stem's input, which has no gradient.
    assert workload.flops_per_sample() == 2 * (2 * 64 + 3 * 3 * 128 + 3 * 3 * 64)


def test_a_class_without_a_forward_pass_is_one_line():
    fields = {"model_type": "bark"}
    with pytest.raises(BadInput, match="BarkModel has no forward pass of its own: expected the config of a part"):
        step_of_config(fields, "config.json", "bark", Options())
