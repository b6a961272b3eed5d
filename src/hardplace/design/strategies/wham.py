"""WHAM's search (arXiv 2404.14632), on this package's schedules: cores grow where the critical path is.

Only its abstract and figures were read. What was read as what:

- Metric: the objective that is asked for. WHAM's is `throughput-per-watt`, throughput over TDP, within the limits on
  area and TDP.
- Local search, of one stage: for each shape of a core one core of each kind grows by the kind that holds most of the
  critical path of the stage's list schedule, while the stage gets faster and the limits allow. All designs on the way
  count; the k best by the metric are kept. Shapes are a tree, whose children halve rows or columns; a pruner drops a
  branch that does not get better twice in a row. WHAM fixes the buffer by its template; here it grows like the cores.
- Stages: the whole model, then each distinct layer alone. A tensor-parallel width is a local search of its own.
- Global search: WHAM takes the partition and the micro-batch as given; here the best design of each width tries each
  plan family of the largest memory. Then the k best designs of all stages of each width are evaluated with the family
  that was best there. Last, the winner is tried with smaller memories.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import replace
from itertools import product, zip_longest

import numpy as np

from hardplace.cost.types import Engine
from hardplace.design.exact.layer_kernels import LayerKernels
from hardplace.design.scheduling.lists import best_list_schedule
from hardplace.design.strategies.oracle import Oracle, Row
from hardplace.design.types import PhaseSchedule, PlanFamily
from hardplace.hardware.phaze import chips_from_rows

SOURCE = "arXiv 2404.14632"
_BEST = 4  # designs kept for each stage
_HYSTERESIS = 1  # shapes in a row that may be worse before the smaller ones of a branch are dropped
_TENSOR, _VECTOR, _BUFFER = 0, 3, 5  # places in a row of what can grow

Best = list[tuple[float, Row]]  # the k best designs of a stage with the metric of each, as a heap


def search(oracle: Oracle, seed: int) -> None:
    """Search designs for the smallest micro-batch of each tensor-parallel width, then choose one over all stages.

    seed changes nothing.
    """
    del seed
    plans = _plans(oracle)
    designs: dict[int, list[Row]] = {}
    for width, families in plans.items():
        designs[width] = _ranked([_local(oracle, _kernels(oracle, families[0]))])
        if designs[width]:
            oracle.value(oracle.places[designs[width][0]], families[0])
    firsts = {width: oracle.places[rows[0]] for width, rows in designs.items() if rows}
    for turn in zip_longest(*(plans[width] for width in firsts)):
        for width, family in zip(firsts, turn, strict=True):
            if family is not None:
                oracle.value(firsts[width], family)
    chosen = {width: max(plans[width], key=lambda one: oracle.value(firsts[width], one)) for width in firsts}
    for width in sorted(chosen, key=lambda one: -oracle.value(firsts[one], chosen[one])):
        whole = _kernels(oracle, chosen[width])
        stages = [_local(oracle, one) for one in _each_layer(whole)]
        for row in dict.fromkeys((*designs[width], *_ranked(stages))):
            oracle.value(oracle.places[row], chosen[width])
    _smaller_memories(oracle)


def _plans(oracle: Oracle) -> dict[int, list[PlanFamily]]:
    """Return the families of each width in the largest memory that it fits, smallest micro-batch first."""
    found: dict[int, list[PlanFamily]] = {}
    for family in sorted(oracle.families, key=lambda one: (one.tensor_parallel, -one.memory_bytes, one.micro_batch)):
        found.setdefault(family.tensor_parallel, []).append(family)
    return {
        width: [one for one in families if one.memory_bytes == families[0].memory_bytes]
        for width, families in found.items()
    }


def _smaller_memories(oracle: Oracle) -> None:
    """Evaluate the best so far in each memory."""
    if oracle.best is None:
        return
    chip, best = max(oracle.seen, key=lambda pair: oracle.seen[pair])
    for family in oracle.families:
        if replace(family, memory_bytes=best.memory_bytes) == best:
            oracle.value(chip, family)


def _kernels(oracle: Oracle, family: PlanFamily) -> LayerKernels:
    return oracle.search.scoring.models[0].kernels[family.micro_batch, family.tensor_parallel]


def _each_layer(kernels: LayerKernels) -> Iterator[LayerKernels]:
    """Yield the kernels of each distinct layer alone, if there are several."""
    if len(kernels.shard.layers) > 1:
        for layer in kernels.shard.layers:
            yield replace(kernels, shard=replace(kernels.shard, layers=(layer,)))


def _ranked(stages: list[Best]) -> list[Row]:
    """Return the designs of stages, the slowest stage first, the best design of each before the second best of any."""
    ranked = [sorted(heap, reverse=True) for heap in sorted(stages) if heap]
    return list(dict.fromkeys(row for turn in zip_longest(*ranked) for _, row in filter(None, turn)))


def _local(oracle: Oracle, stage: LayerKernels) -> Best:
    """Return the k best designs of a stage over a tree of shapes, the largest array first."""
    shapes = {(row[1], row[2]) for row in oracle.places}
    kept: Best = []
    ahead = [((max(oracle.axes[1]), max(oracle.axes[2])), 0.0, 0)]
    seen = set()
    while ahead:
        (depth, columns), best, worse = ahead.pop(0)
        if (depth, columns) in seen:
            continue
        seen.add((depth, columns))
        if (depth, columns) in shapes:
            row: Row = (1, depth, columns, 1, columns, min(oracle.axes[5]))
            metric = _grow(oracle, stage, row, kept)
            worse = 0 if metric > best else worse + 1
            best = max(best, metric)
        if worse <= _HYSTERESIS:
            halves = ((depth // 2, columns), (depth, columns // 2))
            ahead += [(one, best, worse) for one in halves if one[0] in oracle.axes[1] and one[1] in oracle.axes[2]]
    return kept


def _grow(oracle: Oracle, stage: LayerKernels, row: Row, kept: Best) -> float:
    """Grow one design while it gets faster; keep the best that are chips of the space; return the best metric."""
    if not oracle.allowed(row):
        return 0.0
    seconds, order = _scheduled(oracle, stage, row)
    best = _keep(oracle, row, seconds, kept)
    growing = True
    while growing:
        growing = False
        for place in order:
            larger: Row = (*row[:place], 2 * row[place], *row[place + 1 :])  # type: ignore[assignment]
            if larger[place] not in oracle.axes[place] or not oracle.allowed(larger):
                continue
            faster, next_order = _scheduled(oracle, stage, larger)
            if faster < seconds:
                row, seconds, order, growing = larger, faster, next_order, True
                best = max(best, _keep(oracle, row, seconds, kept))
                break
    return best


def _keep(oracle: Oracle, row: Row, seconds: float, kept: Best) -> float:
    """Keep a design if it is a chip of the space and one of the k best; return its metric."""
    metric = oracle.score(row, 1.0 / seconds)
    if row in oracle.places:
        heapq.heappush(kept, (metric, row))
        if len(kept) > _BEST:
            heapq.heappop(kept)
    return metric


def _scheduled(oracle: Oracle, stage: LayerKernels, row: Row) -> tuple[float, list[int]]:
    """Schedule the layers of a stage on a design; return the stage's seconds and what to grow first."""
    oracle.check()
    layers = stage.schedules(chips_from_rows(np.array([row])), oracle.search.question.setting, best_list_schedule)
    order = oracle.search.question.workloads[0].order
    counts = np.bincount(np.array(order)).tolist() if len(layers) > 1 else [1]
    critical_s = dict.fromkeys((Engine.TENSOR, Engine.VECTOR), 0.0)
    total_s = 0.0
    for layer, count in zip(layers, counts, strict=True):
        phases = (layer.forward, layer.backward)
        total_s += count * sum(phase.schedule.makespan_s for phase in phases)
        for phase, engine in product(phases, critical_s):
            critical_s[engine] += count * _critical_s(phase, engine)
    cores = [_TENSOR, _VECTOR] if critical_s[Engine.TENSOR] >= critical_s[Engine.VECTOR] else [_VECTOR, _TENSOR]
    return total_s, [*cores, _BUFFER]


def _critical_s(phase: PhaseSchedule, engine: Engine) -> float:
    """Return the seconds of an engine on the critical path: back from the end, each task ends where the next began."""
    items = sorted(phase.schedule.assignments, key=lambda item: -item.end_s)
    reach, found_s = phase.schedule.makespan_s, 0.0
    for item in items:
        if item.end_s <= reach * (1 + 1e-9) and item.end_s >= reach * (1 - 1e-9):
            if phase.engines[item.task] in (engine, Engine.BOTH):
                found_s += item.end_s - item.start_s
            reach = item.start_s
    return found_s
