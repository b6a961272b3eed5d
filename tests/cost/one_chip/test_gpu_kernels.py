"""Every kernel of a model on a GPU: the fitted model's times, never below the datasheet, with energy and provenance."""

import re
from dataclasses import replace

import numpy as np
import pytest

from hardplace.cost.gpu.attention import attention_s, attention_shapes
from hardplace.cost.gpu.gemm import gemm_s, gemms
from hardplace.cost.gpu.models import shipped
from hardplace.cost.gpu.residual import corrected_s
from hardplace.cost.layers.types import Layout
from hardplace.cost.one_chip.array_kernels import KernelCost
from hardplace.cost.one_chip.estimate import estimated, priced_on
from hardplace.cost.one_chip.gpu_kernels import Gpu, gpu, gpu_kernel_costs
from hardplace.errors import BadInput
from hardplace.hardware.catalogue import device, device_names
from hardplace.hardware.device import Multiprocessors
from hardplace.report.operators import page
from hardplace.units import percent
from hardplace.workload.load import load
from hardplace.workload.sharding import tensor_parallel
from hardplace.workload.types import Phase

GPUS = [name for name in device_names() if isinstance(device(name).engine, Multiprocessors)]
PHASES = (Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER)
LAYERS = {name: tensor_parallel(load(name), 1).layers for name in ("gpt2-xl", "llama2-7b")}


def costs(model: str, name: str) -> list[KernelCost]:
    one = device(name)
    on = gpu(one, "bf16" if "bf16" in one.dtypes else "fp16")
    return [cost for layer in LAYERS[model] for phase in PHASES for cost in gpu_kernel_costs(layer, phase, 2, on)]


@pytest.mark.parametrize("name", GPUS)
def test_never_below_the_datasheet_and_always_accounted_for(name: str) -> None:
    one = device(name)
    found = costs("gpt2-xl", name)
    assert {cost.phase for cost in found} == {"forward", "backward", "optimizer"}
    for cost in found:
        assert cost.seconds >= cost.memory_bytes / one.memory_bandwidth_bytes_per_s
        assert 0 <= cost.utilisation <= 1
        assert cost.energy_j is not None
        assert cost.energy_j > 0
        assert cost.mapping
        assert cost.bound_by in ("arrays", "lanes", "memory", "power", "launch")


def test_products_and_attention_take_what_the_gpu_model_says() -> None:
    model = shipped("h100-sxm")
    on = gpu(device("h100-sxm"), "bf16")
    block = next(layer for layer in LAYERS["llama2-7b"] if layer.name == "block")
    found = {(cost.name, cost.phase): cost for phase in PHASES for cost in gpu_kernel_costs(block, phase, 1, on)}
    for name, phase, size, layout in (
        ("self_attn.q_proj forward", "forward", (4096, 4096, 4096), Layout.TN),
        ("mlp.up_proj wgrad", "backward", (11008, 4096, 4096), Layout.NT),
        ("mlp.up_proj dgrad", "backward", (4096, 4096, 11008), Layout.NN),
    ):
        shapes = gemms(*size, layout=layout)
        plain = gemm_s(shapes, [(model.datasheet, model.gemm)])[:, 0]
        assert model.residual is not None
        expected = float(corrected_s(shapes, model.datasheet, plain, model.residual)[0])
        cost = found[name, phase]
        assert cost.seconds == pytest.approx(expected)
        assert cost.mapping == f"GEMM {layout.value}"
        assert cost.memory_bytes >= 2 * (size[0] * size[2] + size[1] * size[2] + size[0] * size[1])
        assert cost.utilisation == pytest.approx(2 * np.prod(size) / expected / model.datasheet.tensor_flops_per_s)
    rows = attention_shapes(batch=1, sequence=4096, heads=32, head_dim=128)
    expected = float(attention_s(rows, model.datasheet, model.attention["sdpa"])[0])
    assert found["self_attn", "forward"].seconds == pytest.approx(expected)
    assert 2.5 < found["self_attn", "backward"].seconds / expected < 3.5


def test_streams_take_their_bytes_at_the_bandwidth_that_was_fitted() -> None:
    model = shipped("a100-80gb-sxm")
    for cost in costs("gpt2-xl", "a100-80gb-sxm"):
        if cost.mapping in ("elementwise", "optimizer") and cost.bound_by == "memory":
            fitted = model.streams[cost.mapping]
            rate = model.datasheet.memory_bandwidth_bytes_per_s * fitted.efficiency
            assert cost.seconds == pytest.approx(fitted.launch_s + cost.memory_bytes / rate)


def test_an_estimate_draws_a_gpu_below_its_roof() -> None:
    on = priced_on(device("h100-sxm"), "bf16")
    found = estimated(load("bert-large"), on, 8, 1)
    assert isinstance(on, Gpu)
    assert sum(share for _, share in found.bound_shares) == pytest.approx(1)
    assert 0.3 < found.energy_j / found.seconds / 700 < 1.2, "watts of an H100"
    assert any("gemm: fitted" in note for note in found.notes)
    text = page(found)
    assert text.count("<circle") == sum(bool(kernel.flops and kernel.memory_bytes) for kernel in found.kernels)
    assert not re.search(r'(src|href)="(?!#|data:)|https?://', text)


@pytest.mark.parametrize("model", ["resnet-50", "mamba2-2.7b", "mixtral-8x7b"])
def test_convolutions_scans_and_experts_have_a_time(model: str) -> None:
    found = estimated(load(model), priced_on(device("a100-80gb-sxm"), "bf16"), 4, 1)
    assert 0 < found.seconds < 10
    assert all(np.isfinite(cost.seconds) and cost.utilisation <= 1 for cost in found.kernels)


def test_kernels_faster_than_the_datasheet_are_raised_and_said() -> None:
    """The router of mixtral on l40s: 4096 x 8, whose bytes the fitted model reads above the bandwidth."""
    one = device("l40s")
    found = estimated(load("mixtral-8x7b"), priced_on(one, "bf16"), 2, 1)
    raised = [cost for cost in found.kernels if cost.raised_s > 0]
    assert raised
    for cost in raised:
        at_bandwidth_s = cost.memory_bytes / one.memory_bandwidth_bytes_per_s
        assert cost.seconds == pytest.approx(max(at_bandwidth_s, cost.flops / found.peak_flops_per_s))
    share = sum(cost.seconds * found.counts[cost.layer] for cost in raised) / found.seconds
    (note,) = [note for note in found.notes if "datasheet" in note]
    assert f"{raised[0].layer} {raised[0].name}" in note
    assert f"{percent(share, 2)} of the time" in note
    assert not any("datasheet" in note for note in estimated(load("gpt2-xl"), priced_on(one, "bf16"), 2, 1).notes), (
        "nothing to say where nothing is raised"
    )


def test_transfer_is_said_and_other_operands_are_refused() -> None:
    notes = gpu(device("h100-pcie"), "bf16").notes
    assert any("transferred from" in note and "error to expect" in note for note in notes)
    for name, dtype in (("t4", "fp16"), ("h100-sxm", "bf16")):
        said = [note for note in gpu(device(name), dtype).notes if note.startswith("attention")]
        assert len(said) == 1, "one backend is used, and its figures are accounted for"
    model = gpu(device("mi300x"), "bf16").model
    assert max(one.launch_s for one in (model.gemm, *model.streams.values())) <= 1e-5, "the host's launches stay behind"
    changed = replace(device("h100-sxm"), memory_bandwidth_bytes_per_s=1e12)
    assert any("transferred from" in note for note in gpu(changed, "bf16").notes), "the user's own device of that name"
    with pytest.raises(BadInput, match="h100-sxm: operands of fp8: expected bf16 or fp16"):
        gpu(device("h100-sxm"), "fp8")
    with pytest.raises(BadInput, match="v100-sxm2: operands of bf16: its matrix engines take only fp16"):
        gpu(device("v100-sxm2"), "bf16")
    with pytest.raises(BadInput, match="tpu-v4: a chip with arrays: expected a GPU"):
        gpu(device("tpu-v4"), "bf16")


def test_a_convolution_reads_its_image_and_its_weights_and_writes_its_result() -> None:
    """ResNet-50's first (224 x 224 of 3 channels to 112 x 112 of 64, 7 x 7) and a 3 x 3 one, of two samples."""
    layers, on = tensor_parallel(load("resnet-50"), 1).layers, gpu(device("a100-80gb-sxm"), "bf16")
    stem, inner = (
        [one for one in gpu_kernel_costs(layer, Phase.FORWARD, 2, on) if one.name.endswith("convolution convolution")]
        for layer in layers[:2]
    )
    assert stem[0].memory_bytes == 2 * (2 * 3 * 224**2 + 64 * 3 * 49 + 2 * 64 * 112**2)
    assert inner[1].memory_bytes == 2 * (2 * 64 * 56**2 + 64 * 64 * 9 + 2 * 64 * 56**2)
