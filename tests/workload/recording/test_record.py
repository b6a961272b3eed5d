"""Recording again gives what the package ships; torch's own counters agree; saved bytes are the published formula's."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.utils import flop_counter  # noqa: E402

from hardplace.errors import BadInput  # noqa: E402
from hardplace.workload.affine import Affine  # noqa: E402
from hardplace.workload.load import load  # noqa: E402
from hardplace.workload.memory import recomputed, saved_bytes  # noqa: E402
from hardplace.workload.recording.counter import counted_flops, formulas  # noqa: E402
from hardplace.workload.recording.huggingface import Options, step_of_config  # noqa: E402
from hardplace.workload.recording.layers import affine, record_workload  # noqa: E402
from hardplace.workload.recording.models.entries import MODELS, step_of  # noqa: E402
from hardplace.workload.recording.pieces import pieces_of  # noqa: E402
from hardplace.workload.recording.step import TrainingStep, fake, parameters_of, trace  # noqa: E402
from hardplace.workload.sharding import shard, tensor_parallel  # noqa: E402
from hardplace.workload.types import Gradient, OperatorKind, Parallelism, Phase, Recompute  # noqa: E402


@pytest.mark.parametrize(
    "name", ["opt-350m", "llama2-7b", "mixtral-8x7b", "deepseek-v3", "t5-large", "resnet-50", "mamba2-2.7b", "dlrm"]
)
def test_recording_again_gives_the_shipped_file(name):
    assert record_workload(step_of(name)) == load(name)


# A second to 12 of processor time each, for kinds of layer that the others and test_model_kinds.py have too.
LONG = {
    "deepseek-v3.2", "flux.1-dev", "gemma-3-27b", "glm-4.5", "gpt-oss-120b", "gpt3-175b", "kimi-k2", "llama-4-scout",
    "llama2-13b", "llama2-70b", "llama3-70b", "llama3-405b", "megatron-bert-3.9b", "megatron-gpt2-8.3b", "opt-66b",
    "phi-4", "qwen3-235b-a22b", "qwen3-next-80b-a3b", "siglip2-so400m-14-384",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(MODELS) - LONG))
def test_flops_are_those_of_torch(name):
    """The whole model at full depth, without the recorder, under torch's FlopCounterMode."""
    assert counted_flops(step_of(name)) == 2 * load(name).flops_per_sample()


@pytest.mark.parametrize("name", ["bert-large", "gpt2-xl", "opt-350m", "llama2-7b", "gpt3-2.7b"])
def test_flops_are_those_of_torchs_own_attention(name):
    """As above with torch's attention instead of ours (no dropout: with it, CPU torch takes attention apart)."""
    from transformers import masking_utils

    step = step_of(name)
    step.module.eval()
    mode = FakeTensorMode()
    fake(step.module, step.dtype, mode)
    counter = flop_counter.FlopCounterMode(display=False, custom_mapping=formulas())
    with pytest.MonkeyPatch.context() as patch, mode, counter:
        patch.setattr(masking_utils, "find_packed_sequence_indices", lambda position_ids: None)
        patch.setattr(masking_utils, "_ignore_causal_mask_sdpa", lambda *_, **__: True)
        tokens = torch.empty((2, step.sequence_length), dtype=torch.int64)
        step.module(input_ids=tokens, labels=tokens).loss.backward()
    assert counter.get_total_flops() == 2 * load(name).flops_per_sample()


@pytest.mark.parametrize("name", ["opt-350m", "mixtral-8x7b", "u-net"])
def test_numbers_are_affine_in_the_micro_batch(name):
    """A micro-batch size that was not recorded: all numbers of the whole model as the file's lines have them."""
    size, step, workload = 7, step_of(name), load(name)
    one = trace(step, size)
    pieces, _ = pieces_of(step.module, one)
    for piece, index in zip(pieces, workload.order, strict=True):
        layer = workload.layers[index]
        recorded = [operator for operator in layer.operators if operator.phase is not Phase.OPTIMIZER]
        for event, operator in zip(piece.events, recorded, strict=True):
            assert event.name == operator.name
            assert event.dims == tuple(dim.at(size) for dim in operator.dims)
            assert event.flops == operator.flops.at(size)
            touched = [one.views[number].shape for number in event.reads + event.writes]
            assert touched == [
                tuple(dim.at(size) for dim in layer.tensors[index].shape) for index in operator.reads + operator.writes
            ]
        assert sum(one.storage_bytes[number] for number in piece.saved) == layer.saved_bytes.at(size)


def gpt(**options):
    fields = {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_positions": 2048,
        "n_embd": 12288,
        "n_layer": 3,
        "n_head": 96,
        "activation_function": "gelu_pytorch_tanh",
        "loss_type": "ForCausalLM",
    }
    return record_workload(step_of_config(fields, "here", "gpt", Options(**options)))


@pytest.mark.parametrize("degree", [1, 2, 8])
@pytest.mark.parametrize("sequence", [False, True])
def test_saved_bytes_of_a_gpt_layer_with_unfused_attention(degree, sequence):
    """Korthikanti et al. 2022, equations 1, 2 and 4: s b h (34 + 5 a s / h), and its divisions.

    The formula leaves out the statistics of two layer norms: mean and 1 / deviation in bf16, 8 bytes a token.
    """
    unit, quadratic, statistics = 2048 * 12288, 5 * 96 * 2048 / 12288, 8 / 12288
    statistics /= degree if sequence else 1
    workload = gpt(fused_attention=False)
    layer = shard(workload, Parallelism(tensor=degree, sequence=sequence and degree > 1)).layers[1]
    expected = (34 + quadratic) / degree if sequence else 10 + (24 + quadratic) / degree
    selective = 34 / degree if sequence else 10 + 24 / degree
    assert saved_bytes(layer, Recompute.NONE).at(1) / unit == pytest.approx(expected + statistics, rel=1e-12)
    assert saved_bytes(layer, Recompute.SELECTIVE).at(1) / unit == pytest.approx(selective + statistics, rel=1e-12)
    assert saved_bytes(layer, Recompute.FULL).at(1) / unit == 2 / (degree if sequence else 1)
    again = [layer.operators[index].name for index in recomputed(layer, Recompute.SELECTIVE)]
    assert again == ["bmm", "mul", "add", "_softmax", "native_dropout"]


def test_fused_attention_keeps_nothing_that_selective_recompute_would_drop():
    layer = tensor_parallel(load("gpt3-175b"), 1).layers[1]
    assert saved_bytes(layer, Recompute.SELECTIVE) == layer.saved_bytes
    assert recomputed(layer, Recompute.SELECTIVE) == ()
    forward = [index for index, one in enumerate(layer.operators) if one.phase is Phase.FORWARD]
    assert list(recomputed(layer, Recompute.FULL)) == forward


class Stack(torch.nn.Module):
    def __init__(self, *widths):
        super().__init__()
        self.parts = torch.nn.ModuleList(torch.nn.Linear(8, 8) if width == 8 else Wide(width) for width in widths)

    def forward(self, x):
        for part in self.parts:
            x = x + part(x)
        return x


class Wide(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.up, self.down = torch.nn.Linear(8, width), torch.nn.Linear(width, 8)

    def forward(self, x):
        return self.down(torch.nn.functional.gelu(self.up(x)))


def step(module, autocast=None, **inputs):
    dtype = torch.float32 if autocast else torch.bfloat16
    return TrainingStep(
        name="own",
        source="own",
        command="",
        sequence_length=1,
        module=module,
        inputs=lambda size: {
            key: torch.empty((size, *shape), dtype=dtype, device="meta") for key, shape in inputs.items()
        },
        loss=lambda output, _: output.float().sum(),
        dtype=dtype,
        autocast=autocast,
    )


def build(kind, *arguments):
    with torch.device("meta"):
        return kind(*arguments)


def test_layers_repeat_by_structure_not_by_class():
    workload = record_workload(step(build(Stack, 8, 16, 32, 16, 32, 16, 8), x=(8,)))
    assert workload.order == (0, 1, 2, 1, 2, 1, 3)  # the first and the last differ in the gradients that they pass
    assert [layer.parameters for layer in workload.layers] == [72, 8 * 16 * 2 + 24, 8 * 32 * 2 + 40, 72]


def test_mixed_precision_is_recorded_as_it_runs():
    block = record_workload(step(build(Stack, 16, 16, 16), torch.bfloat16, x=(8,))).layers[1]
    products = [one for one in block.operators if one.kind is OperatorKind.MATMUL]
    assert {block.tensors[index].dtype for one in products for index in one.reads[-2:]} == {"bfloat16"}
    assert [one.gradient for one in products if one.phase is Phase.BACKWARD].count(Gradient.WGRAD) == 2
    assert sum(one.bytes.constant for one in block.storages if one.parameters) == 4 * block.parameters


class Choice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.ModuleDict({"gate": Gate()})

    def forward(self, x):
        return self.inner["gate"](x)


class Gate(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(8, 8)

    def forward(self, x):
        y = self.linear(x)
        return y * 2 if y.sum() > 0 else y


def test_control_flow_on_values_names_module_and_operator():
    with pytest.raises(
        BadInput, match=r"own: module inner\.gate: operator .*_local_scalar_dense.*package\.module:function"
    ):
        record_workload(step(build(Choice), x=(8,)))


def test_parameters_count_shared_ones_once_and_the_model_is_left_as_it_was():
    one = step_of("gpt2-xl")
    before = [(path, id(weight)) for path, weight in one.module.named_parameters()]
    record_workload(one)
    assert [(path, id(weight)) for path, weight in one.module.named_parameters()] == before
    assert parameters_of(one.module) == load("gpt2-xl").parameters


def test_sizes_that_are_no_line_are_refused():
    assert affine((22, 26, 34)) == Affine(0, 2)
    with pytest.raises(ValueError, match="not affine"):
        affine((22, 27, 34))
    with pytest.raises(ValueError, match="does not lie on a line"):
        affine((22, 26, 35))
