"""Gaps of schedules of real blocks: forward, backward, recomputed forward with backward; one JSON line a case.

python benchmarks/scheduling_blocks.py [--seconds 2] [--gap 0.001] [--splits] [--rule exclusive|sharing]
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from hardplace.cost.fusion import kernel_graph
from hardplace.cost.recompute import joined
from hardplace.cost.splits import powers_of_two, split_seconds
from hardplace.cost.times import kernel_times
from hardplace.cost.types import KernelGraph
from hardplace.hardware.settings import HBM3
from hardplace.hardware.space import chips_from_rows
from hardplace.hardware.types import Chips
from hardplace.scheduling.bounds import lower_bound
from hardplace.scheduling.exact import schedule
from hardplace.scheduling.lists import best_list_schedule
from hardplace.scheduling.types import Rule, ScheduleProblem, TaskGraph
from hardplace.units import MIB
from hardplace.workload.load import load
from hardplace.workload.types import Phase

MODELS = (("llama2-7b", 1), ("gpt3-175b", 8), ("bert-large", 1))
CORES = ((1, 1), (2, 2), (4, 4), (8, 2), (16, 16))


def graphs(model: str, width: int) -> dict[str, KernelGraph]:
    """Return the three graphs of the layer that the model repeats most, one sample a micro-batch."""
    workload = load(model)
    layer = workload.shard(width).layers[max(set(workload.order), key=workload.order.count)]
    forward, backward = (
        kernel_graph(layer, phase, 1, HBM3.function_cycles) for phase in (Phase.FORWARD, Phase.BACKWARD)
    )
    return {"forward": forward, "backward": backward, "recompute+backward": joined(layer, forward, backward)}


def problem(graph: KernelGraph, chip: Chips, width: int, *, split: bool, rule: Rule) -> ScheduleProblem:
    """Return the problem of one chip, with splits over powers of two or without."""
    times = kernel_times(graph.kernels, chip, HBM3, width)
    splits = powers_of_two(chip) if split else ()
    split_s = split_seconds(graph.kernels, chip, HBM3, width, splits)[:, :, 0]
    return ScheduleProblem(
        graph=TaskGraph(
            engines=tuple(kernel.engine for kernel in graph.kernels),
            predecessors=tuple(kernel.predecessors for kernel in graph.kernels),
            names=tuple(kernel.name for kernel in graph.kernels),
            layer=graph.layer,
        ),
        tensor_cores=int(chip.tensor_cores[0]),
        vector_cores=int(chip.vector_cores[0]),
        single_s=tuple(times.single_s[:, 0].tolist()),
        whole_s=tuple(times.whole_s[:, 0].tolist()),
        splits=splits,
        split_s=tuple(map(tuple, split_s.tolist())),
        rule=rule,
    )


def closed_form(one: ScheduleProblem) -> float:
    """Return the bound that is vectorised over chips, seconds."""
    shape = (len(one.splits), len(one.single_s), 1)
    return float(
        lower_bound(
            one.graph,
            np.array([one.tensor_cores]),
            np.array([one.vector_cores]),
            np.array([one.single_s]).T,
            np.array([one.whole_s]).T,
            splits=one.splits,
            split_s=np.array(one.split_s).reshape(shape),
            rule=one.rule,
        )[0]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--gap", type=float, default=0.001)
    parser.add_argument("--splits", action="store_true")
    parser.add_argument("--rule", type=Rule, default=Rule.EXCLUSIVE)
    options = parser.parse_args()
    for model, width in MODELS:
        for name, graph in graphs(model, width).items():
            for cores in CORES:
                chip = chips_from_rows(np.array([[cores[0], 128, 128, cores[1], 128, 32 * MIB]]))
                one = problem(graph, chip, width, split=options.splits, rule=options.rule)
                listed = best_list_schedule(one).makespan_s
                start = time.perf_counter()
                found = schedule(one, gap=options.gap, limit_s=options.seconds)
                line = {
                    "model": model,
                    "graph": name,
                    "operators": len(graph.kernels),
                    "cores": cores,
                    "makespan_s": found.makespan_s,
                    "list_over_bound": round(listed / closed_form(one) - 1.0, 5),
                    "gap": round(found.gap, 6),
                    "status": found.status.value,
                    "seconds": round(time.perf_counter() - start, 3),
                }
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
