"""No figure is beyond its peak: model FLOPs are at most what kernels do, no kernel does more than its arrays can."""

import numpy as np
import pytest

from hardplace.cost.arrays.times import kernel_levels
from hardplace.cost.one_chip.estimate import estimated, priced_on
from hardplace.design.exact.layer_kernels import kernels_of
from hardplace.hardware.catalogue import device
from hardplace.hardware.settings import HBM3
from hardplace.hardware.space_files import space
from hardplace.workload.load import catalogue, load
from hardplace.workload.sharding import tensor_parallel
from hardplace.workload.types import OperatorKind

OPEN = space("open")
RANDOM = np.random.default_rng(0)
CHIPS = OPEN.at(np.stack([RANDOM.integers(0, high, 1000) for high in OPEN.whole.high]))


@pytest.mark.parametrize("model", catalogue())
def test_no_model_is_faster_than_the_arrays_of_a_thousand_random_chips(model: str) -> None:
    workload = load(model)
    kernels = kernels_of(tensor_parallel(workload, 1), 1, HBM3)
    macs = [
        [sum(one.macs for one in kernel.matmuls) for graph in pair for kernel in graph.kernels]
        for pair in kernels.graphs
    ]
    done = 2.0 * sum(sum(macs[index]) for index in workload.order)
    assert 0.0 <= workload.seen_flops_per_sample() <= min(done, workload.flops_per_sample()) * (1 + 1e-9)
    every = tuple(kernel for pair in kernels.graphs for graph in pair for kernel in graph.kernels)
    levels = kernel_levels(every, CHIPS, HBM3)
    peak = CHIPS.tensor_cores * CHIPS.array_rows * CHIPS.array_columns * CHIPS.clocks_hz(HBM3)
    flat = np.array([one for row in macs for one in row], dtype=np.float64)
    assert np.all(levels.array_s * peak >= flat[:, None] * (1 - 1e-9))


@pytest.mark.parametrize("name", ["tpu-v4", "h100-sxm", "rtx-pro-6000"])
@pytest.mark.parametrize("model", ["llama2-7b", "opt-350m"])
def test_no_kernel_on_a_shipped_device_is_beyond_its_peak(name: str, model: str) -> None:
    on = priced_on(device(name), "bf16")
    for kernel in estimated(load(model), on, 1, 1).kernels:
        assert 0.0 <= kernel.utilisation <= 1.0 + 1e-9


def test_causal_attention_counts_the_keys_that_are_seen() -> None:
    """Of n queries and n keys the i-th sees i: n (n + 1) / 2 of n^2."""
    found = 0
    for layer in load("llama2-7b").layers:
        for operator in layer.operators:
            if operator.kind is OperatorKind.ATTENTION:
                found += 1
                assert operator.seen_share == pytest.approx(4097 / 8192)
            else:
                assert operator.seen_share == 1.0
    assert found
