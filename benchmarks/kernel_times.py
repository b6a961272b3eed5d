"""How many (kernel, chip) pairs a second the cost step prices: Llama-2-7B's kernels on PHAZE's 29,360 chips.

python benchmarks/kernel_times.py
"""

from __future__ import annotations

import json
import time

from hardplace.cost.fusion import kernel_graph
from hardplace.cost.times import kernel_times
from hardplace.hardware.settings import HBM3
from hardplace.hardware.space import default_budget, phaze_space
from hardplace.workload.load import load
from hardplace.workload.types import Phase


def main() -> None:
    chips = phaze_space(default_budget())
    kernels = tuple(
        kernel
        for layer in load("llama2-7b").shard(1).layers
        for phase in (Phase.FORWARD, Phase.BACKWARD)
        for kernel in kernel_graph(layer, phase, 1, HBM3.function_cycles).kernels
    )
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        kernel_times(kernels, chips, HBM3, 1)
        seconds.append(time.perf_counter() - start)
    median = sorted(seconds)[2]
    line = {"kernels": len(kernels), "chips": len(chips), "seconds": median}
    print(json.dumps({**line, "pairs_per_second": len(kernels) * len(chips) / median}))


if __name__ == "__main__":
    main()
