"""Inner rates: how long so many kernels or chips take in one call."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


def timed(benchmark: Any, run: Callable[[], object], what: str, series: str, size: int) -> None:
    """Time a call three times, and measure the peak of what it allocates in a fourth."""
    benchmark.pedantic(run, rounds=3)
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    benchmark.extra_info.update(what=what, series=series, size=size, peak_mib=peak)


@pytest.mark.benchmark(timer=time.process_time, group="kernels")
@pytest.mark.parametrize("learned", [False, True], ids=["equation", "with the learned correction"])
@pytest.mark.parametrize("count", [20_000, 200_000, 1_000_000])
def test_gemms_of_a_gpu(benchmark: Any, count: int, learned: bool) -> None:
    """GEMMs that share nothing."""
    from hardplace.cost.gpu.gemm import gemms
    from hardplace.cost.gpu.models import shipped
    from hardplace.cost.gpu.residual import corrected_gemm_s

    model, random = shipped("h100-sxm"), np.random.default_rng(0)
    shapes = gemms(*(random.integers(1, 1 << 14, count) for _ in range(3)))
    trees = model.residual if learned else None
    series = f"GEMMs on H100{', learned correction' if learned else ''}"
    timed(
        benchmark,
        lambda: corrected_gemm_s(shapes, model.datasheet, model.gemm, trees),
        f"{count:,} {series}",
        series,
        count,
    )


@pytest.mark.benchmark(timer=time.process_time, group="kernels")
@pytest.mark.parametrize("count", [1_000, 10_000])
def test_products_on_chips(benchmark: Any, count: int) -> None:
    """100 products on so many different systolic arrays: nothing is shared but the sizes of the products."""
    from hardplace.cost.arrays.tensor import array_cycles
    from hardplace.cost.types import Matmul

    random = np.random.default_rng(0)
    products = tuple(Matmul(batch=1, m=m, n=n, k=k) for m, n, k in random.integers(1, 1 << 14, (100, 3)).tolist())
    arrays, rows, columns = (
        random.integers(1, 64, count),
        random.integers(4, 512, count),
        random.integers(4, 512, count),
    )
    series = "products on chips"
    what = f"100 products on {count:,} chips ({100 * count:,} pairs)"
    timed(benchmark, lambda: array_cycles(products, arrays, rows, columns), what, series, 100 * count)


@pytest.mark.benchmark(timer=time.process_time, group="partitions")
@pytest.mark.parametrize("chips", [10, 100, 1000])
def test_partitions_on_many_chips(benchmark: Any, chips: int) -> None:
    """34 layers in a chain into 1 to 16 stages, on so many chips in one call, as the search asks."""
    from hardplace.design.partition.many_chips import least_bottlenecks
    from hardplace.design.partition.types import (
        Boundary,
        Charge,
        LayerLoad,
        PartitionProblem,
        Replication,
        Variant,
    )  # fmt: skip

    layers = [
        LayerLoad(name=str(at), forward_s=1.0, backward_s=2.0, gradient_bytes=4e8, state_bytes=3e9,
                  sharded_state_bytes=0.0, activation_bytes=5e8, optimizer_s=1e-3, tensor_parallel=False)
        for at in range(34)
    ]  # fmt: skip
    one = Replication(data_parallel=1, reduction_s_per_byte=1e-11, reduction_latency_s=1e-5,
                      boundary_s_per_byte=1e-11, boundary_latency_s=1e-5, optimizer_shards=1)  # fmt: skip
    chain = tuple(Boundary(source=at, target=at + 1, bytes=3e7) for at in range(33))
    variant = Variant(tensor_parallel=1, layers=tuple(layers), boundaries=chain, replications=(one,))
    problem = PartitionProblem(variants=(variant,), devices=1024, memory_bytes=80e9, micro_batches=512,
                               recompute=True, charge=Charge.FIRST_STAGE, divisible=False)  # fmt: skip
    random = np.random.default_rng(0)
    forward, backward = random.uniform(0.5, 2.0, (34, chips)), random.uniform(1.0, 4.0, (34, chips))
    what = f"34 layers into 1 to 16 stages on {chips:,} chips in one call"
    timed(benchmark, lambda: least_bottlenecks(problem, forward, backward, 16), what, "partitions", chips)
