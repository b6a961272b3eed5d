"""No figure is beyond its peak: model FLOPs are at most what kernels do, no kernel does more than its arrays can."""

import itertools

import numpy as np
import pytest

from hardplace.cost.arrays.times import kernel_levels
from hardplace.cost.one_chip.estimate import estimated, priced_on
from hardplace.design.exact.layer_kernels import kernels_of
from hardplace.hardware.catalogue import device, node
from hardplace.hardware.settings import HBM3
from hardplace.hardware.space_files import space
from hardplace.plans.chain import of_workload
from hardplace.plans.estimate import estimate_plan
from hardplace.plans.fleet import fleet_of
from hardplace.plans.plan import Format, Plan
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
    assert 0.0 <= workload.model_flops_per_sample() <= min(done, workload.flops_per_sample()) * (1 + 1e-9)
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


def test_model_flops_count_the_keys_that_are_seen_and_no_scores_twice() -> None:
    """Of n queries and n keys the i-th sees i: n (n + 1) / 2 of n^2. Two products forward, four backward (the fifth of
    the kernel computes the scores again)."""
    shape, found = (32, 4096, 4096, 128), []  # heads, queries, keys, head dimension
    for operator in (one for layer in load("llama2-7b").layers for one in layer.operators):
        if operator.kind is OperatorKind.ATTENTION:
            found.append(operator.model_flops_per_sample / (2.0 * np.prod(shape) * 4097 / 8192))
        else:
            assert operator.model_flops_per_sample == operator.flops.at(1)
    assert found == pytest.approx([2.0, 4.0])


@pytest.mark.parametrize("model", ["llama2-7b", "gpt-oss-120b", "deepseek-v3", "bert-large", "u-net", "t5-large"])
def test_place_and_search_count_the_same_flops_of_a_model(model: str) -> None:
    """A chain of fused layers and the recorded graph: the same products (within a percent: the head's padding, a
    router, the roundings of convolutions)."""
    workload, plan = load(model), Plan(global_batch=1)
    chain = of_workload(workload, plan)
    estimate = estimate_plan(chain, plan, fleet_of([(device("h100-sxm"), node("dgx-h100"), 1)], plan))
    peak = device("h100-sxm").peak_flops_per_s("bf16")
    assert estimate.mfu * estimate.step_s * peak == pytest.approx(workload.model_flops_per_sample(), rel=0.01)


@pytest.mark.parametrize("name", ["h100-sxm", "gb300", "mi355x", "tpu-v7x", "v100-sxm2", "trainium2"])
def test_no_plan_is_beyond_the_peak_of_its_precision(name: str) -> None:
    """On one device, where nothing is exchanged, with attention that is most of the work and with none.
    `benchmarks/peaks.py` has every model on every device."""
    chip = device(name)
    for model, precision in itertools.product(("qwen3-30b-a3b", "resnet-50"), Format):
        if str(precision) in chip.dtypes:
            plan = Plan(global_batch=32, micro_batch=16, precision=precision)
            fleet = fleet_of([(chip, node("dgx-h100"), 1)], plan)
            assert 0.0 < estimate_plan(of_workload(load(model), plan), plan, fleet).mfu <= 1.0
