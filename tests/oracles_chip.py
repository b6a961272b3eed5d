"""Seconds and joules of small layers on one chip, from docs/model-cost.md and docs/model-search.md alone.

Nothing of `hardplace.cost` or `hardplace.design` prices anything here: kernels are written down by hand, products are
split over cores and tiled by trying every size, schedules are the brute force of `oracles_scheduling`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from hardplace.cost.types import Engine
from hardplace.design.scheduling.types import ScheduleProblem, TaskGraph
from hardplace.hardware.bill import Energies
from hardplace.hardware.types import Setting
from oracles_scheduling import best_makespan_s

OPERAND, SUM, RESULT, COPIES = 2, 4, 2, 2  # bytes of bf16 operands, fp32 sums, bf16 results; double-buffered
ROW_PARTS = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)
SUM_PARTS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, kw_only=True)
class Work:
    """A kernel by hand: a product, lane-cycles, bytes that it streams beside the product's, or an all-reduce."""

    product: tuple[int, int, int] | None = None  # rows, columns, depth
    lane_cycles: int = 0
    reductions: int = 0
    stream_bytes: int = 0
    reduced_bytes: int = 0
    after: tuple[int, ...] = ()

    @property
    def engine(self) -> Engine:
        if self.reduced_bytes:
            return Engine.NETWORK
        if self.product:
            return Engine.BOTH if self.lane_cycles else Engine.TENSOR
        return Engine.VECTOR


@dataclass(frozen=True, kw_only=True)
class Chip:
    """One chip of a space with its memory and links."""

    arrays: int
    rows: int
    columns: int
    vector_cores: int
    lanes: int
    buffer_bytes: int
    clock_hz: float
    memory_bytes: float
    memory_bytes_per_s: float
    link_bytes_per_s: float
    energies: Energies | None = field(default=None, compare=False)

    @property
    def own_bytes(self) -> int:
        return max(1024, 16 * self.rows * self.columns)


def over_levels(setting: Setting, link_bytes_per_s: float, group: int, stride: int) -> tuple[float, float]:
    """Return seconds a byte and of latency of a reduce-scatter: each level scatters what the one inside left."""
    levels = setting.cluster.levels
    per_byte, latency_s, share = 0.0, 0.0, 1.0
    for number, level in enumerate(levels):
        last = number == len(levels) - 1
        members = group if last else math.gcd(group, max(1, level.devices // stride))
        bandwidth = link_bytes_per_s if number == 0 else level.bandwidth_bytes_per_s
        per_byte += share * (members - 1) / members / bandwidth
        latency_s += math.ceil(math.log2(members)) * level.latency_s
        share, group, stride = share / members, group // members, stride * members
    return per_byte, latency_s


@cache
def array_cycles(m: int, n: int, k: int, arrays: int, rows: int, columns: int, exchanged_per_cycle: float) -> float:
    """Return the least cycles over dataflows and splits (docs/model-cost.md, "Tensor core")."""

    def step(x: int) -> int:
        return max(x, rows)

    exchange = 2.0 * SUM * m * n / exchanged_per_cycle
    best = math.inf
    depth = math.ceil(k / rows)
    for streamed, held in ((m, n), (n, m)):
        jobs = math.ceil(held / columns)
        for parts in {*ROW_PARTS, arrays}:
            if parts <= arrays:
                best = min(best, math.ceil(jobs * parts / arrays) * depth * step(math.ceil(streamed / parts)))
        for parts in SUM_PARTS:
            if parts <= arrays:
                rounds = math.ceil(jobs * parts / arrays) * math.ceil(depth / parts)
                best = min(best, rounds * step(streamed) + (parts - 1) * exchange)
    jobs = math.ceil(m / rows) * math.ceil(n / columns)
    for parts in SUM_PARTS:
        if parts <= arrays:
            best = min(best, math.ceil(jobs * parts / arrays) * step(math.ceil(k / parts)) + (parts - 1) * exchange)
    return best + 2 * rows + columns - 2


@cache
def traffic_bytes(m: int, n: int, k: int, size: int) -> float:
    """Return the least bytes of operands and result through a buffer: every scheme with every tile."""
    left, right = m * k, k * n
    best = math.inf

    def copies(x: int) -> int:
        return min(x, COPIES)

    def offer(reads: np.ndarray, room: np.ndarray) -> None:
        nonlocal best
        fits = room <= size
        if fits.any():
            best = min(best, float(np.broadcast_to(reads, fits.shape)[fits].min()))

    for rows, columns, own, other in ((m, n, left, right), (n, m, right, left)):
        whole = (
            SUM + OPERAND * (other + k), SUM * columns + OPERAND * (other + 1),
            SUM * m * n + OPERAND * (1 + min(m, n)),
        )  # fmt: skip
        offer(np.full(3, left + right), np.array(whole))
        a = np.arange(1, rows + 1)
        reads = own + other * np.ceil(rows / a)
        offer(reads, SUM * a + OPERAND * (a * own / rows + copies(k)))
        offer(reads, SUM * a * columns + OPERAND * (a + copies(columns)))
    a, b = np.arange(1, m + 1)[:, None], np.arange(1, n + 1)[None, :]
    offer(left * np.ceil(n / b) + right * np.ceil(m / a), SUM * a * b + OPERAND * copies(k) * (a + b))
    return OPERAND * best + RESULT * m * n


def _bytes(work: Work, size: int) -> float:
    return work.stream_bytes + (traffic_bytes(*work.product, size) if work.product else 0.0)


def kernel_s(work: Work, chip: Chip, setting: Setting, tensor: int) -> tuple[float, float]:
    """Return seconds on one core of its kind, and on all of them (docs/model-cost.md, "Kernels")."""
    if work.reduced_bytes:
        per_byte, latency_s = over_levels(setting, chip.link_bytes_per_s, tensor, 1)
        seconds = 2.0 * (per_byte * work.reduced_bytes + latency_s)
        return seconds, seconds
    per_cycle = setting.buffer_bandwidth_bytes_per_s / setting.clock_hz
    cores = chip.arrays + chip.vector_cores
    share = (2.0 if work.engine is Engine.BOTH else 1.0) / cores

    def on(arrays: int, vector_cores: int, size: int, part: float) -> float:
        array = array_cycles(*work.product, arrays, chip.rows, chip.columns, per_cycle) if work.product else 0.0
        lanes = math.ceil(work.lane_cycles / (vector_cores * chip.lanes))
        lanes += work.reductions * math.ceil(math.log2(chip.lanes))
        return max(
            array / chip.clock_hz,
            lanes / chip.clock_hz,
            _bytes(work, size) / (chip.memory_bytes_per_s * part),
            _bytes(work, chip.own_bytes) / (per_cycle * chip.clock_hz * part),
        )

    single_s = on(1, 1, chip.buffer_bytes // cores, share)
    return single_s, min(single_s, on(chip.arrays, chip.vector_cores, chip.buffer_bytes, 1.0))


@cache
def makespan_s(
    engines: tuple[Engine, ...], after: tuple[tuple[int, ...], ...], single_s: tuple[float, ...],
    whole_s: tuple[float, ...], cores: tuple[int, int],
) -> float:  # fmt: skip
    """Return the least makespan under the exclusive rule; as many cores as there are tasks are enough."""
    chained = all(number == 0 or after[number] == (number - 1,) for number in range(len(after)))
    if chained:
        return sum(whole_s)
    few = tuple(min(count, len(engines)) for count in cores)
    graph = TaskGraph(names=tuple(map(str, range(len(engines)))), engines=engines, predecessors=after)
    return best_makespan_s(
        ScheduleProblem(graph=graph, tensor_cores=few[0], vector_cores=few[1], single_s=single_s, whole_s=whole_s)
    )


def phase_s(phase: tuple[Work, ...], chip: Chip, setting: Setting, tensor: int) -> float:
    """Return the least seconds of one phase of a layer."""
    times = [kernel_s(work, chip, setting, tensor) for work in phase]
    return makespan_s(
        tuple(work.engine for work in phase), tuple(work.after for work in phase),
        tuple(one for one, _ in times), tuple(one for _, one in times), (chip.arrays, chip.vector_cores),
    )  # fmt: skip


def phase_j(phase: tuple[Work, ...], chip: Chip) -> float:
    """Return joules of one phase on one device, with the whole chip's traffic (docs/model-search.md, "Energy")."""
    each = chip.energies
    assert each is not None
    fed = 2.0 / chip.columns + 8.0 / chip.rows + 2.0 / 256  # bytes a multiply-accumulate from the array's own buffer
    macs = sum(math.prod(work.product) for work in phase if work.product)
    lanes = sum(work.lane_cycles for work in phase)
    own = sum(_bytes(work, chip.own_bytes) for work in phase)
    memory = sum(_bytes(work, chip.buffer_bytes) for work in phase)
    on_die = macs * (each.mac_j + fed * each.feed_j_per_byte) + lanes * each.vector_j
    on_die += own * each.shared_j_per_byte + memory * each.wire_j_per_byte
    return float(np.asarray(1.1 * on_die + memory * each.memory_j_per_byte).reshape(-1)[0])
