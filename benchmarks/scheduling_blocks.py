"""Gaps of schedules of real blocks: forward, backward, recomputed forward with backward; one JSON line a case.

python benchmarks/scheduling_blocks.py [--seconds 2] [--gap 0.001] [--splits] [--rule exclusive|sharing]
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import product

import numpy as np

from hardplace.design.exact.layer_schedule import LayerPass, LayerQuestion, pass_graph, problem
from hardplace.design.scheduling.bounds import lower_bound
from hardplace.design.scheduling.exact import schedule
from hardplace.design.scheduling.lists import best_list_schedule
from hardplace.design.scheduling.modes import modes_of
from hardplace.design.scheduling.types import SharingRule
from hardplace.hardware.phaze import chips_from_rows
from hardplace.hardware.settings import HBM3
from hardplace.units import MIB
from hardplace.workload.load import load
from hardplace.workload.sharding import tensor_parallel

MODELS = (("llama2-7b", 1), ("gpt3-175b", 8), ("bert-large", 1))
CORES = ((1, 1), (2, 2), (4, 4), (8, 2), (16, 16))


def question(model: str, width: int, cores: tuple[int, int], *, split: bool, rule: SharingRule) -> LayerQuestion:
    """Return the layer that the model repeats most, one sample a micro-batch, on cores of 128x128 and 128 lanes."""
    workload = load(model)
    return LayerQuestion(
        layer=tensor_parallel(workload, width).layers[max(workload.order, key=workload.order.count)],
        tensor_parallel=width,
        micro_batch=1,
        chips=chips_from_rows(np.array([[cores[0], 128, 128, cores[1], 128, 32 * MIB]])),
        setting=HBM3,
        rule=rule,
        splits=split,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--gap", type=float, default=0.001)
    parser.add_argument("--splits", action="store_true")
    parser.add_argument("--rule", type=SharingRule, default=SharingRule.EXCLUSIVE)
    options = parser.parse_args()
    for (model, width), which, cores in product(MODELS, LayerPass, CORES):
        asked = question(model, width, cores, split=options.splits, rule=options.rule)
        one = problem(asked, pass_graph(asked, which))
        listed = best_list_schedule(one).makespan_s
        start = time.perf_counter()
        found = schedule(one, gap=options.gap, limit_s=options.seconds)
        line = {
            "model": model,
            "graph": which.value,
            "operators": len(one.single_s),
            "cores": cores,
            "makespan_s": found.makespan_s,
            "list_over_bound": round(listed / float(lower_bound(modes_of(one))[0]) - 1.0, 5),
            "gap": round(found.gap, 6),
            "status": found.status.value,
            "seconds": round(time.perf_counter() - start, 3),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
