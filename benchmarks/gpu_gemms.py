"""Pairs of GEMM and GPU a second, on one core's time, with and without the learned residual."""

from __future__ import annotations

import time

import numpy as np

from hardplace.cost.gpu.gemm import gemm_s, gemms
from hardplace.cost.gpu.models import shipped
from hardplace.cost.gpu.residual import corrected_s


def main() -> None:
    random = np.random.default_rng(0)
    count = 200_000
    shapes = gemms(*(random.integers(1, 1 << 14, count) for _ in range(3)))
    for names in (("h100-sxm",), ("a100-80gb-sxm", "h100-sxm", "h200-sxm", "b200-sxm")):
        models = [shipped(name) for name in names]
        best = corrected = np.inf
        for _ in range(3):
            start = time.process_time()
            model_s = gemm_s(shapes, [(model.datasheet, model.gemm) for model in models])
            best = min(best, time.process_time() - start)
            for column, model in zip(model_s.T, models, strict=True):
                assert model.residual is not None
                corrected_s(shapes, model.datasheet, column, model.residual)
            corrected = min(corrected, time.process_time() - start)
        pairs = count * len(names) / 1e6
        print(
            f"{len(names)} devices: {pairs / best:.2f} M pairs/s, with the residual {pairs / corrected:.2f} M pairs/s"
        )


if __name__ == "__main__":
    main()
