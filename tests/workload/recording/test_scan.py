"""The scan operator stands where the library's scan stands: shapes, gradients, FLOPs, saved bytes."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402
from transformers.models.mamba2 import modeling_mamba2  # noqa: E402

from hardplace.workload.load import load  # noqa: E402
from hardplace.workload.recording.library import library_stand_ins  # noqa: E402
from hardplace.workload.recording.models.entries import step_of  # noqa: E402
from hardplace.workload.recording.scan import fused_scan  # noqa: E402
from hardplace.workload.recording.step import fake  # noqa: E402
from hardplace.workload.scan import scan_flops  # noqa: E402
from hardplace.workload.types import OperatorKind  # noqa: E402

aten = torch.ops.aten
SIZES = {"batch": 2, "length": 21, "heads": 6, "head_dim": 4, "groups": 2, "state": 5, "chunk": 8}


def operands(dtype, batch=2, length=21, heads=6, head_dim=4, groups=2, state=5):
    """x, dt, A, B, C, D, dt_bias of a mixer; A is made in fp32."""
    shapes = [(batch, length, heads, head_dim), (batch, length, heads), (heads,), (batch, length, groups, state)]
    shapes += [shapes[-1], (heads,), (heads,)]
    dtypes = [dtype, dtype, torch.float32, dtype, dtype, dtype, dtype]
    return [torch.rand(shape, dtype=one).requires_grad_() for shape, one in zip(shapes, dtypes, strict=True)]


def library_scan(x, dt, A, B, C, D, dt_bias, **options):
    return modeling_mamba2.mamba2_chunk_scan(x, dt, A, B, C, 8, D=D, dt_bias=dt_bias, dt_softplus=True, **options)


def described(tensors):
    return [(tuple(tensor.shape), tensor.dtype) for tensor in tensors]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shapes_and_types_are_the_librarys(dtype):
    real = operands(dtype)
    expected = library_scan(*real)
    with FakeTensorMode():
        fakes = operands(dtype)
        with fused_scan():
            output = library_scan(*fakes)
        gradients = torch.autograd.grad(output.sum(), fakes)
    assert described(gradients) == described(torch.autograd.grad(expected.sum(), real))
    # The library's own version leaves fp32 behind; the kernel writes x's type.
    assert described([output]) == [(tuple(expected.shape), dtype)]


SMALL = {"vocab_size": 40, "hidden_size": 12, "num_hidden_layers": 2, "use_cache": False}


@pytest.mark.parametrize(
    "config",
    [
        transformers.Mamba2Config(num_heads=6, head_dim=4, state_size=5, n_groups=2, chunk_size=8, **SMALL),
        transformers.MambaConfig(state_size=5, **SMALL),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_small_model_has_the_librarys_outputs_and_gradients(config, dtype):
    def step():
        module = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype).train()
        logits = module(input_ids=torch.zeros((2, 21), dtype=torch.int64)).logits
        logits.sum().backward()
        return described([logits]) + described(weight.grad for weight in module.parameters())

    expected = step()
    with FakeTensorMode(), library_stand_ins():
        assert step() == expected


def test_the_library_is_left_as_it_was():
    def state():
        return dict(vars(modeling_mamba2)), modeling_mamba2.MambaRMSNormGated.forward

    before = state()
    with fused_scan():
        assert state() != before
    assert state() == before
    with pytest.raises(NotImplementedError, match="cache"), fused_scan():
        library_scan(*operands(torch.float32), return_final_states=True)
    assert state() == before


def test_forward_flops_are_the_products_of_the_librarys_chunks():
    """It repeats B and C for every head, and its recurrence over chunks is a product too; both are added here."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        library_scan(*operands(torch.float32))
    by_head = scan_flops(**SIZES | {"groups": SIZES["heads"]}).forward
    chunks = 3
    recurrence = 2 * 2 * 6 * (chunks + 1) ** 2 * 4 * 5
    assert counter.get_total_flops() == by_head + recurrence


def test_backward_flops():
    """Two products for each of the forward pass, and what the kernel makes again: scores, states, one gradient."""
    sizes = {"batch": 1, "length": 512, "heads": 3, "head_dim": 64, "groups": 1, "state": 128, "chunk": 256}
    flops = scan_flops(**sizes)
    again = 2 * 2 * 256 * (256 * 128 + 3 * 128 * 64 + 3 * 256 * 64)
    assert flops.backward == 2 * flops.forward + again
    # Dao & Gu 2024, section 6.3: with state, head and chunk equal all four products of a head cost the same.
    equal = scan_flops(**sizes | {"heads": 1, "head_dim": 32, "state": 32, "chunk": 32})
    assert equal.forward == 4 * 2 * 512 * 32 * 32


def fake_mamba2():
    module = step_of("mamba2-2.7b").module
    mode = FakeTensorMode()
    fake(module, torch.bfloat16, mode)
    return module.train(), mode


class Kernels(TorchDispatchMode):
    """Names of the operators that run and write more than a number a head, views left out."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        first = result[0] if isinstance(result, (tuple, list)) else result
        computed = isinstance(first, torch.Tensor) and not func.is_view and func is not aten._unsafe_view.default
        if computed and first.numel() > 80:
            self.names.append(func._schema.name)
        return result


def test_parameters_of_mamba2_2_7b():
    assert load("mamba2-2.7b").parameters == 2_702_599_680
    layer = 2560 * (2 * 5120 + 2 * 128 + 80) + 5120 * 2560 + (5120 + 2 * 128) * 5 + 3 * 80 + 5120 + 2560
    assert 64 * layer + 2560 + 50288 * 2560 == 2_702_599_680


def test_a_mixer_is_five_operators():
    """And backwards the same, with the gradients of slices put together."""
    module, mode = fake_mamba2()
    forward, backward = Kernels(), Kernels()
    with mode:
        hidden = torch.empty((2, 2048, 2560), dtype=torch.bfloat16, requires_grad=True)
        with forward, fused_scan():
            output = module.backbone.layers[5].mixer(hidden)
        gradient = torch.empty_like(output)
        with backward:
            torch.autograd.grad(output, [hidden, *module.backbone.layers[5].mixer.parameters()], gradient)
    kernels = ["causal_conv1d", "ssd_scan", "gated_rms_norm"]
    assert forward.names == ["aten::mm", *(f"hardplace::{name}" for name in kernels), "aten::mm"]
    convolution, scan, norm = (f"hardplace::{name}_backward" for name in kernels)
    products = ["aten::mm", "aten::mm"]
    assert backward.names == [*products, norm, scan, "aten::cat", convolution, "aten::cat", *products]


@pytest.mark.parametrize("micro_batch", [2, 3])
def test_saved_bytes_of_a_mixer(micro_batch):
    """Each once: input, projection, convolution's and scan's output, norm's output, 1 / rms, decay; bf16 and fp32."""
    module, mode = fake_mamba2()
    mixer = module.backbone.layers[5].mixer
    weights = {weight.untyped_storage()._cdata for weight in mixer.parameters()}
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage
        return tensor

    with mode, fused_scan(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = mixer(torch.empty((micro_batch, 2048, 2560), dtype=torch.bfloat16, requires_grad=True))
    assert output.shape == (micro_batch, 2048, 2560)
    token = 2 * (2560 + (2 * 5120 + 2 * 128 + 80) + (5120 + 2 * 128) + 5120 + 5120) + 4 + 4 * 80
    heads = 2 * 4 * 80  # A in fp32, and the exponential that it is made from
    kept = sum(storage.nbytes() for key, storage in saved.items() if key not in weights)
    assert kept == micro_batch * 2048 * token + heads


def test_the_recorder_finds_layers_alike():
    """All but the first: it takes the embedding's bf16, the others a residual in fp32. Both keep as much a token."""
    workload = load("mamba2-2.7b")
    assert [layer.saved_bytes.factor for layer in workload.layers[1:3]] == [2048 * 73_192] * 2
    assert workload.order == (0, 1, *[2] * 63, 3)
    scans = [one for one in workload.layers[2].operators if one.kind is OperatorKind.SCAN]
    assert [one.module for one in scans] == ["mixer", "mixer"]
    assert [dim.at(1) for dim in scans[0].dims] == [1, 2048, 80, 64, 1, 128, 256]
