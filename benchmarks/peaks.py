"""No figure beyond its peak: kernels of `estimate --operators` and MFU of `estimate --plan`, every shipped model on
every device of the catalogue in each precision that it has, and MFU of every model on random chips as `search` has it.

    python benchmarks/peaks.py [MODEL ...] [--chips 1000] [--seed 0] [--share 0.1]

--share: so many of the pairs of a model and a device, drawn with the seed; all of them take hours. Prints the largest
share of its peak by device, and each that is beyond it; exit code 1 if any is.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from hardplace.cost.arrays.times import kernel_levels
from hardplace.cost.one_chip.estimate import estimated, priced_on
from hardplace.design.exact.layer_kernels import kernels_of
from hardplace.errors import BadInput
from hardplace.hardware.catalogue import device, device_names, node
from hardplace.hardware.settings import HBM3
from hardplace.hardware.space_files import space
from hardplace.plans.chain import of_workload
from hardplace.plans.estimate import estimate_plan
from hardplace.plans.fleet import fleet_of
from hardplace.plans.plan import Format, Plan
from hardplace.workload.load import catalogue, load
from hardplace.workload.sharding import tensor_parallel
from hardplace.workload.types import Workload

_MICRO_BATCHES = (1, 16)
_LEFT_OUT = "left out:"


def of_plans(workload: Workload, name: str) -> Iterator[tuple[str, float]]:
    """Yield the MFU of plans on one of a device, where nothing is exchanged, in each precision that it has."""
    chip = device(name)
    for precision in Format:
        if str(precision) not in chip.dtypes and precision is not Format.FP32:
            continue
        for micro_batch in _MICRO_BATCHES:
            plan = Plan(global_batch=8 * micro_batch, micro_batch=micro_batch, precision=precision)
            try:
                fleet = fleet_of([(chip, node("dgx-h100"), 1)], plan)
                yield f"plan {precision} {micro_batch}", estimate_plan(of_workload(workload, plan), plan, fleet).mfu
            except BadInput as problem:
                yield f"{_LEFT_OUT} plan {precision}: {problem}", 0.0


def of_kernels(workload: Workload, name: str) -> Iterator[tuple[str, float]]:
    """Yield the utilisation of each kernel on one device."""
    chip = device(name)
    for dtype in chip.dtypes:
        try:
            found = estimated(workload, priced_on(chip, dtype), 1, 1)
        except BadInput as problem:
            yield f"{_LEFT_OUT} operators {dtype}: {problem}", 0.0
            continue
        for kernel in found.kernels:
            yield f"operators {dtype} {kernel.name}", kernel.utilisation


def of_chips(workload: Workload, count: int, seed: int) -> float:
    """Return the most that any of so many random chips could reach as MFU: no layer in less than its arrays take."""
    draw = np.random.default_rng(seed)
    every = space("open")
    chips = every.at(np.stack([draw.integers(0, high, count) for high in every.whole.high]))
    kernels = kernels_of(tensor_parallel(workload, 1), 1, HBM3)
    peak = 2.0 * chips.tensor_cores * chips.array_rows * chips.array_columns * chips.clocks_hz(HBM3)
    array_s = np.zeros(count)
    for index in workload.order:
        for graph in kernels.graphs[index]:
            array_s += kernel_levels(graph.kernels, chips, HBM3).array_s.sum(axis=0)
    return float((workload.model_flops_per_sample() / (array_s * peak)).max()) if array_s.all() else 0.0


def main() -> None:
    """Print the largest share by device, and what is beyond 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--chips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0)
    asked = parser.parse_args()
    names, draw = device_names(), random.Random(asked.seed)
    most: dict[str, tuple[float, str]] = defaultdict(lambda: (0.0, ""))
    refused: set[tuple[str, str]] = set()
    figures, beyond, pairs, start_s = 0, 0, 0, time.process_time()
    for model in asked.models or catalogue():
        workload = load(model)
        drawn = [name for name in names if draw.random() < asked.share]
        pairs += len(drawn)
        rows = [(name, *row) for name in drawn for of in (of_plans, of_kernels) for row in of(workload, name)]
        rows.append(("random chips", str(asked.chips), of_chips(workload, asked.chips, asked.seed)))
        for name, what, share in rows:
            if what.startswith(_LEFT_OUT):
                refused.add((name, what.split(":")[1]))
                continue
            figures += 1
            most[name] = max(most[name], (share, f"{model} {what}"))
            if not 0.0 <= share <= 1.0 + 1e-9:
                beyond += 1
                print(f"{name} {model} {what}: {share:.4f}", flush=True)
    for name, (share, what) in sorted(most.items()):
        print(f"{name:20} {share:7.1%} {what}")
    print(f"{len(refused)} pairs of a device and a precision are refused in one line")
    print(f"{pairs} pairs of a model and a device")
    print(f"{figures:,} figures: {beyond} beyond their peak, {time.process_time() - start_s:.0f} s of processor time")
    sys.exit(1 if beyond else 0)


if __name__ == "__main__":
    main()
