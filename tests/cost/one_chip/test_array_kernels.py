"""Every kernel of a model on one chip: consistent with the times of the search, never below physics."""

import re

import numpy as np
import pytest

from hardplace.cost.arrays.machine import machine
from hardplace.cost.arrays.timer import ArrayTimer
from hardplace.cost.arrays.times import kernel_times
from hardplace.cost.kernels.fusion import kernel_graph
from hardplace.cost.layers.work import AttentionWork
from hardplace.cost.one_chip.array_kernels import KernelCost, kernel_costs
from hardplace.cost.one_chip.estimate import estimated
from hardplace.errors import BadInput
from hardplace.hardware.catalogue import device, device_names
from hardplace.hardware.device import Arrays
from hardplace.report.operators import page
from hardplace.workload.load import load
from hardplace.workload.sharding import tensor_parallel
from hardplace.workload.types import Phase

ARRAYS = [name for name in device_names() if isinstance(device(name).engine, Arrays)]
BLOCK = next(layer for layer in tensor_parallel(load("gpt2-xl"), 1).layers if layer.name == "block")


def costs(name: str, dtype: str = "bf16") -> tuple[KernelCost, ...]:
    return kernel_costs(BLOCK, Phase.FORWARD, 2, machine(device(name), dtype))


@pytest.mark.parametrize("name", ARRAYS)
def test_never_below_compute_or_traffic_and_never_above_peak(name: str) -> None:
    one = device(name)
    for cost in costs(name):
        assert cost.seconds >= cost.memory_bytes / one.memory_bandwidth_bytes_per_s * (1 - 1e-12)
        assert cost.seconds >= cost.array_s
        assert 0 <= cost.utilisation <= 1 + 1e-12
        assert cost.energy_j > 0
        assert bool(cost.mapping) == (cost.engine != "vector")
        assert cost.seconds == max(cost.array_s, cost.vector_s, cost.memory_s, cost.buffer_s)


def test_seconds_are_those_of_the_search_where_all_cores_serve_a_kernel() -> None:
    on = machine(device("tpu-v4"), "bf16")
    kernels = kernel_graph(BLOCK, Phase.FORWARD, 2, on.setting.function_cycles).kernels
    whole = kernel_times(kernels, on.chips, on.setting, 1).whole_s[:, 0]
    found = np.array([cost.seconds for cost in costs("tpu-v4")])
    assert np.all(whole <= found * (1 + 1e-12))
    np.testing.assert_allclose(found, whole, rtol=1e-9)


def test_a_faster_type_makes_array_bound_kernels_faster_and_cheaper() -> None:
    for slow, fast in zip(costs("tpu-v6e"), costs("tpu-v6e", "int8"), strict=True):
        assert fast.array_s <= slow.array_s
        assert fast.memory_bytes <= slow.memory_bytes
        if slow.mapping:
            assert fast.energy_j < slow.energy_j


def test_an_estimate_adds_up_and_is_drawn() -> None:
    on = machine(device("tpu-v4"), "bf16")
    found = estimated(load("bert-large"), on, 1, 1)
    assert sum(share for _, share in found.bound_shares) == pytest.approx(1)
    assert 0.5 < found.energy_j / found.seconds / 192 < 1.5, "watts of a TPU v4"
    text = page(found)
    assert text.count("<circle") == sum(bool(kernel.flops and kernel.memory_bytes) for kernel in found.kernels)
    assert not re.search(r'(src|href)="(?!#|data:)|https?://', text)


def test_bad_input_is_one_line() -> None:
    with pytest.raises(BadInput, match="tpu-v4: operands of fp32: its matrix engines take only int8, bf16"):
        machine(device("tpu-v4"), "fp32")
    with pytest.raises(BadInput, match="tensor: 3: divides nothing of bert-large"):
        estimated(load("bert-large"), machine(device("tpu-v4"), "bf16"), 1, 3)


@pytest.mark.parametrize("flash", [True, False])
@pytest.mark.parametrize("backward", [True, False])
def test_attention_in_columns_is_that_of_each_shape(flash: bool, backward: bool) -> None:
    timer = ArrayTimer(machine=machine(device("tpu-v4"), "bf16"), flash=flash)
    like = AttentionWork(
        batch=2, heads=1, kv_heads=1, queries=1024, keys=1024, head_dim=1, causal=True, backward=backward
    )  # fmt: skip
    columns = np.array([[8, 16, 32], [8, 4, 1], [64, 128, 80]])
    alone = [timer.attentions_s(like, *one)[0] for one in columns.T[:, :, None]]
    assert timer.attentions_s(like, *columns).tolist() == alone
    assert len(set(alone)) == 3
