"""Inner rates: how long so many kernels take."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest


@pytest.mark.benchmark(timer=time.process_time, group="kernels")
@pytest.mark.parametrize("learned", [False, True], ids=["equation", "with the learned correction"])
def test_gemms_of_a_gpu(benchmark: Any, learned: bool) -> None:
    """200,000 GEMMs that share nothing."""
    from hardplace.cost.gpu.gemm import gemms
    from hardplace.cost.gpu.models import shipped
    from hardplace.cost.gpu.residual import corrected_gemm_s

    model, random = shipped("h100-sxm"), np.random.default_rng(0)
    shapes = gemms(*(random.integers(1, 1 << 14, 200_000) for _ in range(3)))
    trees = model.residual if learned else None
    benchmark.pedantic(lambda: corrected_gemm_s(shapes, model.datasheet, model.gemm, trees), rounds=3)
    benchmark.extra_info.update(what=f"200,000 GEMMs on H100{', learned correction' if learned else ''}")


@pytest.mark.benchmark(timer=time.process_time, group="partitions")
def test_partitions_on_many_chips(benchmark: Any) -> None:
    """34 layers in a chain into 1 to 16 stages, on 1,000 chips in one call, as the search asks."""
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
    forward, backward = random.uniform(0.5, 2.0, (34, 1000)), random.uniform(1.0, 4.0, (34, 1000))
    benchmark.pedantic(lambda: least_bottlenecks(problem, forward, backward, 16), rounds=3)
    benchmark.extra_info.update(what="34 layers into 1 to 16 stages on 1,000 chips in one call")
