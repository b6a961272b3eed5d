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
