"""Mixtures that loop over their experts, against the library's own loops on real tensors."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from torch import nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

import hardplace as hp  # noqa: E402
from hardplace.workload.recording.counter import counted_flops  # noqa: E402
from hardplace.workload.recording.huggingface import Options, step_of_config  # noqa: E402
from hardplace.workload.recording.library import library_stand_ins  # noqa: E402
from hardplace.workload.recording.routing import in_turn, shares  # noqa: E402
from hardplace.workload.recording.step import first_that_runs  # noqa: E402
from hardplace.workload.types import OperatorKind, Phase  # noqa: E402

SIZES = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 100, "pad_token_id": 0}
ROTARY = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
KINDS = {
    "dbrx": {
        "architectures": ["DbrxForCausalLM"], "d_model": 64, "n_heads": 2, "n_layers": 1, "vocab_size": 100, **ROTARY,
        "max_seq_len": 64, "attn_config": {"kv_n_heads": 1, "clip_qkv": 8, "rope_theta": 10000.0},
        "ffn_config": {"hidden_size": 64, "ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "jetmoe": {
        **SIZES, "architectures": ["JetMoeForCausalLM"], "intermediate_size": 48, "num_key_value_heads": 1,
        "kv_channels": 32, "num_local_experts": 4, "num_experts_per_tok": 2, **ROTARY,
    },
    "longcat_flash": {
        **SIZES, "architectures": ["LongcatFlashForCausalLM"], "num_hidden_layers": 2, "ffn_hidden_size": 48, **ROTARY,
        "expert_ffn_hidden_size": 32, "n_routed_experts": 4, "zero_expert_num": 0, "moe_topk": 2, "q_lora_rank": 32,
        "kv_lora_rank": 16, "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "v_head_dim": 16, "head_dim": 16,
        "num_key_value_heads": 2,
    },
    "openai_privacy_filter": {
        **SIZES, "architectures": ["OpenAIPrivacyFilterForTokenClassification"], "num_labels": 100,
        "intermediate_size": 32,
        "num_key_value_heads": 1, "num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 32, **ROTARY,
        "sliding_window": 8,
    },
    "switch_transformers": {
        "architectures": ["SwitchTransformersForConditionalGeneration"], "d_model": 64, "d_kv": 32, "d_ff": 48,
        "num_heads": 2, "num_layers": 2, "num_decoder_layers": 2, "num_sparse_encoder_layers": 1, "vocab_size": 100,
        "num_sparse_decoder_layers": 1, "num_experts": 4, "expert_capacity": 64, "router_jitter_noise": 0.0,
    },
}  # fmt: skip
NONE = {"dropout_rate": 0.0, "resid_pdrop": 0.0, "emb_pdrop": 0.0, "attention_dropout": 0.0}
ROWS = 2


def step_of(kind, dtype=torch.float32, **others):
    options = Options(sequence_length=16, dtype=dtype, fused_attention=False)
    return step_of_config({"model_type": kind, **KINDS[kind], **NONE, **others}, "config.json", kind, options)


def real(step, dtype):
    """The library's own module with values, and its inputs."""
    torch.manual_seed(0)
    module = step.module.to_empty(device="cpu").to(dtype).train()
    for weight in [*module.parameters(), *module.buffers()]:
        if weight.is_floating_point():
            nn.init.normal_(weight.data, 0.0, 0.1)
        else:
            weight.data.zero_()
    inputs = {name: torch.randint(3, 90, one.shape) for name, one in step.inputs(ROWS).items()}
    return module, inputs


def kept(module, inputs):
    """Bytes that autograd keeps, less parameters and buffers."""
    own = {one.untyped_storage().data_ptr() for one in [*module.parameters(), *module.buffers()]}
    found = {}

    def pack(one):
        storage = one.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage
        return one

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one):
        module(**inputs)
    return sum(one.nbytes() for one in found.values())


@pytest.mark.parametrize("kind", KINDS)
def test_flops_are_those_of_the_librarys_loop(kind):
    """Whatever the routing: each of a token's choices meets one expert, and all are of one size."""
    step, one = first_that_runs(step_of(kind), ROWS)
    recorded = sum(event.flops for event in one.events)
    assert recorded == counted_flops(step, ROWS)
    module, inputs = real(step, torch.float32)
    with FlopCounterMode(display=False) as counter:
        step.loss(module(**inputs), inputs).backward()
    assert counter.get_total_flops() == recorded


@pytest.mark.parametrize("kind", ["dbrx", "jetmoe", "longcat_flash"])
def test_a_stand_in_gives_what_the_librarys_loop_gives(kind):
    """In bf16, which grouped products on a CPU take; LongCat's experts that compute nothing are two of six."""
    step = step_of(kind, torch.bfloat16)
    module, inputs = real(step, torch.bfloat16)
    with torch.no_grad():
        looped = module(**inputs).logits
        with library_stand_ins():
            grouped = module(**inputs).logits
    assert torch.nn.functional.cosine_similarity(looped.float().flatten(), grouped.float().flatten(), dim=0) > 0.9999


@pytest.mark.parametrize("kind", ["dbrx", "switch_transformers"])
def test_what_is_kept_is_what_autograd_keeps(kind):
    """Of grouped products, of the stand-in itself; of modules, of the library's loop."""
    dtype = torch.bfloat16 if kind == "dbrx" else torch.float32
    step, one = first_that_runs(step_of(kind, dtype), ROWS)
    own = set(one.parameters) | one.buffers
    recorded = sum(one.storage_bytes[number] for number in {number for _, _, number in one.saved} - own)
    module, inputs = real(step, dtype)
    if kind == "dbrx":
        with library_stand_ins():
            assert kept(module, inputs) == recorded
    else:
        assert kept(module, inputs) == recorded


def test_experts_that_compute_nothing_have_no_products():
    """LongCat: of 4 + 2 experts a token chooses 3, so it meets 2 that compute; two products, three times."""
    step = step_of("longcat_flash", zero_expert_num=2, moe_topk=3)
    events = first_that_runs(step, ROWS)[1].events
    counted = sum(one.flops for one in events if one.kind is OperatorKind.GROUPED_MATMUL)
    assert counted == ROWS * 16 * 2 * 3 * (2 * 64 * 2 * 32 + 2 * 32 * 64)


def test_a_token_of_nllb_goes_through_two_experts():
    """The library's loop reads the router's mask as indices: all tokens but two would go through the first expert."""
    fields = {
        "model_type": "nllb-moe", "architectures": ["NllbMoeForConditionalGeneration"], "d_model": 64,
        "vocab_size": 100, "encoder_layers": 1, "decoder_layers": 1, "encoder_sparse_step": 1, "num_experts": 8,
        "decoder_sparse_step": 0, "encoder_ffn_dim": 96, "decoder_ffn_dim": 96, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
    }  # fmt: skip
    step = step_of_config(fields, "config.json", "nllb", Options(sequence_length=20))
    one = first_that_runs(step, ROWS)[1]
    products = [
        event.flops
        for event in one.events
        if event.phase is Phase.FORWARD
        and event.kind is OperatorKind.MATMUL
        and ".experts.expert_" in one.calls[event.call].path
    ]
    assert len(products) == 2 * 8
    assert sum(products) == ROWS * 20 * 2 * (2 * 2 * 64 * 96)


class Looped(nn.Module):
    """A mixture as people write it: a loop over modules, with the tokens of each."""

    def __init__(self, chooses):
        super().__init__()
        self.router = nn.Linear(32, 4, bias=False)
        self.experts = nn.ModuleList(nn.Linear(32, 32, bias=False) for _ in range(4))
        self.chooses = chooses

    def forward(self, x):
        tokens = x.reshape(-1, 32)
        scores = self.router(tokens).softmax(dim=-1)
        scores = torch.max(scores, torch.zeros_like(scores))  # of two tensors: it chooses nothing
        if self.chooses == "max":
            weights, chosen = (one.unsqueeze(-1) for one in scores.max(dim=-1))
        elif self.chooses == "sort":
            weights, chosen = (one[:, :2] for one in scores.sort(dim=-1, descending=True))
        else:
            weights, chosen = torch.topk(input=scores, k=2)
        made = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            if self.chooses == "mask":
                mask = (chosen == number).any(dim=-1)
                weight = torch.where(chosen == number, weights, 0).sum(dim=-1, keepdim=True)
                if mask.any():
                    made[mask] = made[mask] + expert(tokens[mask]) * weight[mask]
                continue
            token, place = torch.where(chosen == number)
            if token.numel():
                made.index_add_(0, token, expert(tokens[token]) * weights[token, place, None])
        return made.view_as(x)


@pytest.mark.parametrize(("chooses", "each"), [("topk", 2), ("max", 1), ("sort", 2), ("mask", 2)])
def test_a_loop_of_ones_own_over_experts_is_balanced(chooses, each):
    """The input has no gradient, so of router and experts there are two products each."""
    workload = hp.trace(Looped(chooses), (torch.empty(2, 10, 32),), name="looped")
    assert workload.flops_per_sample() == 2 * 2 * 10 * 32 * (4 + 32 * each)


def test_choices_are_in_turn_in_each_sample():
    rows = shares(10, 4)
    assert rows == [3, 3, 2, 2]
    assert torch.bincount(in_turn(torch.Size((10, 2)), 4, 2).flatten()).tolist() == [2 * one for one in rows]
