"""How many (kernel, chip) pairs a second the cost step prices, with one thread and with two (numpy frees the lock).

python benchmarks/kernel_times.py [SECONDS FILE...]

grid: Llama-2-7B's kernels on PHAZE's 29,360 chips, which share cores, arrays and buffers. random: the same kernels on
as many chips that share none of them. distinct: matmuls without likes on those, so that every pair is computed. Each
pair is priced twice, whole and on one core. cpu: pairs a second of processor time, one thread (of use on a busy
machine). FILE: tables of a mapper's seconds an estimate (Sunstone's wall_s, ZigZag's zz_cpu) to compare with.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from hardplace.cost.arrays.times import kernel_times
from hardplace.cost.kernels.fusion import kernel_graph
from hardplace.cost.types import Engine, Kernel, Matmul
from hardplace.hardware.phaze import default_budget, phaze_space
from hardplace.hardware.settings import HBM3
from hardplace.hardware.types import Chips
from hardplace.workload.load import load
from hardplace.workload.sharding import tensor_parallel
from hardplace.workload.types import Phase


def random_chips(count: int, seed: int = 0) -> Chips:
    """Return chips with sides, lanes and buffers of any size, so that hardly two are alike."""
    random = np.random.default_rng(seed)
    return Chips(
        tensor_cores=random.integers(1, 257, count),
        array_rows=random.integers(8, 257, count),
        array_columns=random.integers(8, 257, count),
        vector_cores=random.integers(1, 257, count),
        vector_lanes=random.integers(8, 257, count),
        buffer_bytes=random.integers(2**21, 2**27, count),
        area_mm2=np.ones(count),
    )


def random_matmuls(count: int, seed: int = 0) -> tuple[Kernel, ...]:
    """Return kernels of one matmul each, no two alike."""
    random = np.random.default_rng(seed)
    shapes = random.integers(256, 16384, (count, 3)).tolist()
    return tuple(
        Kernel(name="mm", engine=Engine.TENSOR, matmuls=(Matmul(batch=1, m=m, n=n, k=k),), tiled=True)
        for m, n, k in shapes
    )


def pairs_per_second(kernels: tuple[Kernel, ...], chips: Chips, threads: int) -> float:
    """Return pairs a second, the median of five runs."""
    parts = [chips.take(part) for part in np.array_split(np.arange(len(chips)), threads)]
    seconds = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(5):
            start = time.perf_counter()
            list(pool.map(lambda part: kernel_times(kernels, part, HBM3, 1), parts))
            seconds.append(time.perf_counter() - start)
    return len(kernels) * len(chips) / sorted(seconds)[2]


def main() -> None:
    chips = phaze_space(default_budget())
    kernels = tuple(
        kernel
        for layer in tensor_parallel(load("llama2-7b"), 1).layers
        for phase in (Phase.FORWARD, Phase.BACKWARD)
        for kernel in kernel_graph(layer, phase, 1, HBM3.function_cycles).kernels
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cases = {
        "grid": (kernels, chips),
        "random": (kernels, random_chips(len(chips))),
        "distinct": (random_matmuls(len(kernels)), random_chips(len(chips))),
    }
    rates = {(name, threads): pairs_per_second(*case, threads) for name, case in cases.items() for threads in (1, 2)}
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    line = {"kernels": len(kernels), "chips": len(chips), "peak_memory_growth_mib": grown / 1024}
    start = time.process_time()
    kernel_times(*cases["distinct"], HBM3, 1)
    cpu = len(kernels) * len(chips) / (time.process_time() - start)
    named = {f"{name}_{threads}_threads": round(rate) for (name, threads), rate in rates.items()}
    print(json.dumps(line | {"pairs_per_second": named, "distinct_cpu": round(cpu)}))
    for path in sys.argv[1:]:
        document = json.loads(Path(path).read_text())
        rows = document["rows"] if isinstance(document, dict) else document
        for key, tool in (("wall_s", "sunstone"), ("zz_cpu", "zigzag"), ("af_cpu", "accelforge")):
            found = [row[key] for row in rows if key in row]
            if found:
                ratio = round(np.median(found) * rates["distinct", 1])
                print(json.dumps({"tool": tool, "seconds": np.median(found), "ratio_one_thread": ratio}))


if __name__ == "__main__":
    main()
