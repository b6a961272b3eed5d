"""Upper over lower bound of the schedules of every chip of the space, with no exact call; one JSON line a graph.

python benchmarks/scheduling_space.py [MODEL] [--setting hbm3] [--splits] [--rule exclusive|sharing]
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from hardplace.cost.arrays.splits import powers_of_two, split_seconds
from hardplace.cost.arrays.times import kernel_times
from hardplace.design.exact.layer_schedule import LayerPass, LayerQuestion, pass_graph
from hardplace.design.scheduling.bounds import lower_bound
from hardplace.design.scheduling.lists import list_schedule
from hardplace.design.scheduling.modes import modes
from hardplace.design.scheduling.types import SharingRule, TaskGraph
from hardplace.hardware.phaze import default_budget, phaze_space
from hardplace.hardware.settings import setting
from hardplace.ndtypes import Floats
from hardplace.workload.load import load
from hardplace.workload.sharding import tensor_parallel

CLOSE = 1.02


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="llama2-7b")
    parser.add_argument("--setting", default="hbm3")
    parser.add_argument("--splits", action="store_true")
    parser.add_argument("--rule", type=SharingRule, default=SharingRule.EXCLUSIVE)
    options = parser.parse_args()
    workload, chips, chosen = load(options.model), phaze_space(default_budget()), setting(options.setting)
    total_s, sums = 0.0, np.zeros((2, len(chips)))
    for index, layer in enumerate(tensor_parallel(workload, 1).layers):
        asked = LayerQuestion(layer=layer, tensor_parallel=1, micro_batch=1, chips=chips, setting=chosen)
        for which in LayerPass:
            graph = pass_graph(asked, which)
            if not graph.kernels:
                continue
            times = kernel_times(graph.kernels, chips, chosen, 1)
            splits = powers_of_two(chips) if options.splits else ()
            split_s = split_seconds(graph.kernels, chips, chosen, 1, splits) if options.splits else None
            columns = (TaskGraph.of(graph), chips.tensor_cores, chips.vector_cores, times.single_s, times.whole_s)
            started = time.perf_counter()
            every = modes(*columns, splits=splits, split_s=split_s, rule=options.rule)
            lower, upper = lower_bound(every), list_schedule(every)
            seconds = time.perf_counter() - started
            line = {"layer": layer.name, "graph": which.value, "operators": len(graph.kernels)}
            print(json.dumps(line | _ratios(upper / lower) | {"seconds": round(seconds, 2)}), flush=True)
            if which is not LayerPass.RECOMPUTE:
                total_s += seconds
                sums += workload.order.count(index) * np.stack([lower, upper])
    line = {"layer": "model", "graph": "forward and backward of all layers", "chips": len(chips)}
    print(json.dumps(line | _ratios(sums[1] / sums[0]) | {"seconds": round(total_s, 2)}))


def _ratios(ratio: Floats) -> dict[str, float]:
    return {
        f"at_most_{CLOSE}": round(float(np.mean(ratio <= CLOSE)), 4),
        "median": round(float(np.median(ratio)), 4),
        "largest": round(float(ratio.max()), 4),
    }


if __name__ == "__main__":
    main()
