"""WHAM's search (arXiv 2404.14632), on this package's schedules: cores grow where the critical path is.

For each shape of a core it starts from one core of each kind and adds cores of the kind that holds most of the
schedule's critical path until nothing helps or the area is spent; a pruner drops smaller shapes of a branch that stop
helping; the k best designs of each pipeline stage (here: of each distinct layer) are then evaluated on the whole model.
WHAM fixes the buffer by its template; here it grows like the cores.
"""

from __future__ import annotations

import heapq
from itertools import product, zip_longest

import numpy as np

from hardplace.cost.types import Engine
from hardplace.design.exact.layer_kernels import LayerKernels
from hardplace.design.scheduling.lists import best_list_schedule
from hardplace.design.strategies.oracle import Oracle, Row
from hardplace.design.types import PhaseSchedule
from hardplace.hardware.phaze import chips_from_rows

SOURCE = "arXiv 2404.14632"
_BEST = 4  # designs kept for each stage
_HYSTERESIS = 1  # shapes in a row that may be worse before the smaller ones of a branch are dropped
_TENSOR, _VECTOR, _BUFFER = 0, 3, 5  # places in a row of what can grow


def search(oracle: Oracle, seed: int) -> None:
    """Grow designs for the plan family with the smallest micro-batch of each width, then evaluate the best exactly.

    seed changes nothing.
    """
    del seed
    widths = {family.tensor_parallel: family for family in reversed(oracle.families)}
    for _, family in sorted(widths.items()):
        kernels = oracle.search.scoring.models[0].kernels[family.micro_batch, family.tensor_parallel]
        kept: dict[int, list[tuple[float, Row]]] = {}
        for columns in sorted(oracle.axes[2], reverse=True):
            _branch(oracle, kernels, columns, kept)
        families = tuple(one for one in oracle.families if one.tensor_parallel == family.tensor_parallel)
        # The slowest stage first, and the best design of each before the second best of any.
        ranked = [sorted(heap, reverse=True) for _, heap in sorted(kept.items(), key=lambda item: min(item[1]))]
        for row in dict.fromkeys(row for rank in zip_longest(*ranked) for _, row in filter(None, rank)):
            oracle.most(oracle.places[row], families)


def _branch(oracle: Oracle, kernels: LayerKernels, columns: int, kept: dict[int, list[tuple[float, Row]]]) -> None:
    """Grow designs of one array width, tall arrays first, until they stop helping."""
    best, worse = np.inf, 0
    for depth in sorted({row[1] for row in oracle.places if row[2] == columns}, reverse=True):
        seconds = _grow(oracle, kernels, (1, depth, columns, 1, columns, _least_buffer(oracle)), kept)
        worse = 0 if seconds < best else worse + 1
        best = min(best, seconds)
        if worse > _HYSTERESIS:
            return


def _grow(oracle: Oracle, kernels: LayerKernels, row: Row, kept: dict[int, list[tuple[float, Row]]]) -> float:
    """Grow one design while it gets faster; keep every one that is a chip of the space; return its seconds."""
    most_mm2 = float(oracle.chips.area_mm2.max())
    seconds, order = _scheduled(oracle, kernels, row, kept)
    growing = True
    while growing:
        growing = False
        for place in order:
            larger: Row = (*row[:place], 2 * row[place], *row[place + 1 :])  # type: ignore[assignment]
            if not _possible(oracle, larger, most_mm2):
                continue
            faster, next_order = _scheduled(oracle, kernels, larger, kept)
            if faster < seconds:
                row, seconds, order, growing = larger, faster, next_order, True
                break
    return seconds


def _possible(oracle: Oracle, row: Row, most_mm2: float) -> bool:
    """Return whether the space has these numbers of cores and this buffer, and the area for them together."""
    if any(row[place] not in oracle.axes[place] for place in (_TENSOR, _VECTOR, _BUFFER)):
        return False
    return float(chips_from_rows(np.array([row])).area_mm2[0]) <= most_mm2 * (1 + 1e-9)


def _least_buffer(oracle: Oracle) -> int:
    return int(oracle.chips.buffer_bytes.min())


def _scheduled(
    oracle: Oracle, kernels: LayerKernels, row: Row, kept: dict[int, list[tuple[float, Row]]]
) -> tuple[float, list[int]]:
    """Schedule the layers on a design; return the model's seconds and what to grow first."""
    oracle.check()
    layers = kernels.schedules(chips_from_rows(np.array([row])), oracle.search.question.setting, best_list_schedule)
    critical_s = dict.fromkeys((Engine.TENSOR, Engine.VECTOR), 0.0)
    total_s = 0.0
    counts = np.bincount(np.array(oracle.search.question.workloads[0].order), minlength=len(layers))
    for stage, (layer, count) in enumerate(zip(layers, counts.tolist(), strict=True)):
        phases = (layer.forward, layer.backward)
        stage_s = sum(phase.schedule.makespan_s for phase in phases)
        total_s += count * stage_s
        for phase, engine in product(phases, critical_s):
            critical_s[engine] += count * _critical_s(phase, engine)
        if row in oracle.places:
            heap = kept.setdefault(stage, [])
            heapq.heappush(heap, (-stage_s, row))
            if len(heap) > _BEST:
                heapq.heappop(heap)
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
