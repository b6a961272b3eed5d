"""The scan operator stands where the library's scan stands: shapes, gradients, FLOPs, saved bytes."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402
from transformers.models.mamba2 import modeling_mamba2  # noqa: E402

from hardplace.workload.torch_functions import DeviceFunctions, without_mask_tensors  # noqa: E402
from hardplace.workload.torch_mamba import convolution_flops  # noqa: E402
from hardplace.workload.torch_record import Recorder, record  # noqa: E402
from hardplace.workload.torch_scan import fused_scan, mamba2_2_7b, scan_flops  # noqa: E402
from hardplace.workload.torch_step import fake  # noqa: E402
from hardplace.workload.types import Phase  # noqa: E402

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
    with FakeTensorMode(), fused_scan(), without_mask_tensors():
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


def test_torch_counts_the_operators():
    with FakeTensorMode(), fused_scan():
        forward, backward = FlopCounterMode(display=False), FlopCounterMode(display=False)
        inputs = operands(torch.float32)
        image, weight = torch.rand(2, 34, 21, requires_grad=True), torch.rand(34, 4, requires_grad=True)
        with forward:
            loss = library_scan(*inputs).sum()
            loss = loss + modeling_mamba2.causal_conv1d_fn(image, weight, None, "silu").sum()
        with backward:
            loss.backward()
    convolution = convolution_flops(batch=2, channels=34, length=21, width=4)
    assert forward.get_total_flops() == scan_flops(**SIZES).forward + convolution[0]
    assert backward.get_total_flops() == scan_flops(**SIZES).backward + convolution[1]


@pytest.fixture(scope="module")
def traces():
    """Mamba-2 2.7B's step at two micro-batch sizes, recorded."""
    return {size: record_step(size) for size in (2, 3)}


def record_step(micro_batch):
    with torch.device("meta"):
        module = mamba2_2_7b(False)
    mode = FakeTensorMode()
    fake(module, {}, mode)
    module.train()
    with mode:
        tokens = torch.empty((micro_batch, 2048), dtype=torch.int64)
    recorder = Recorder(module, {"input_ids": tokens})

    def step():
        with DeviceFunctions(), without_mask_tensors(), fused_scan():
            return module(input_ids=tokens, labels=tokens).loss

    with mode:
        return record(recorder, step)


def test_parameters_of_mamba2_2_7b():
    with torch.device("meta"):
        assert sum(weight.numel() for weight in mamba2_2_7b(True).parameters()) == 2_702_599_680
    layer = 2560 * (2 * 5120 + 2 * 128 + 80) + 5120 * 2560 + (5120 + 2 * 128) * 5 + 3 * 80 + 5120 + 2560
    assert 64 * layer + 2560 + 50288 * 2560 == 2_702_599_680


def test_a_mixer_is_five_operators(traces):
    """What is large: projections, convolution, scan, norm; and the gradients of slices put together."""
    events = [event for event in traces[2].events if event.place.layer == 33 and event.place.module.startswith("mixer")]

    def short(name):
        return name.rpartition("::")[2].removeprefix("aten.")

    large = {phase: [short(e.name) for e in events if e.phase is phase and max(e.dims) > 80] for phase in Phase}
    mixer = ["aten.mm", "hardplace::causal_conv1d", "hardplace::ssd_scan", "hardplace::gated_rms_norm", "aten.mm"]
    assert [name.removeprefix("aten.hardplace") for name in large[Phase.FORWARD]] == [
        name.removeprefix("hardplace") for name in mixer
    ]
    backward = [name.removesuffix("_backward").split("::")[-1] for name in large[Phase.BACKWARD]]
    assert (
        backward
        == ["aten.mm"] * 2 + ["gated_rms_norm", "ssd_scan", "aten.cat", "causal_conv1d", "aten.cat"] + ["aten.mm"] * 2
    )


def test_layers_are_alike(traces):
    """But the first: it takes the embedding's bf16, the others a residual in fp32."""

    def layer(number):
        return [(e.name, e.phase, e.dims) for e in traces[2].events if e.place.layer == number]

    assert all(layer(number) == layer(2) for number in range(3, 65))


@pytest.mark.parametrize("micro_batch", [2, 3])
def test_saved_bytes_of_a_mixer(traces, micro_batch):
    """Each once: input, projection, convolution's and scan's output, norm's output, 1 / rms, decay; bf16 and fp32."""
    trace = traces[micro_batch]
    mixer = {
        storage
        for event in trace.events
        if event.place.layer == 33 and event.place.module.startswith("mixer") and event.phase is Phase.FORWARD
        for storage in (*event.reads, *event.writes)
    }
    saved = {storage for layer, storage in trace.saved if layer == 33} & mixer - trace.parameters.keys()
    token = 2 * (2560 + (2 * 5120 + 2 * 128 + 80) + (5120 + 2 * 128) + 5120 + 5120) + 4 + 4 * 80
    heads = 2 * 4 * 80  # A in fp32, and the exponential that it is made from
    assert sum(trace.storage_bytes[storage] for storage in saved) == micro_batch * 2048 * token + heads
