"""Kernel times: physics is never undercut, and hand calculations hold."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardplace.cost.arrays.splits import split_seconds
from hardplace.cost.arrays.times import blocks, bytes_into, kernel_levels, kernel_times
from hardplace.cost.kernels.fusion import kernel_graph
from hardplace.cost.precision import PRECISIONS
from hardplace.cost.types import Engine, Kernel, Matmul, Reuse
from hardplace.hardware.phaze import default_budget, phaze_space, tpuv4
from hardplace.hardware.settings import HBM3
from hardplace.hardware.settings import settings as every_setting
from hardplace.hardware.types import Chips, Setting
from hardplace.workload.load import load
from hardplace.workload.sharding import tensor_parallel
from hardplace.workload.types import Phase

SPACE = phaze_space(default_budget())
CHIPS = SPACE.take(np.arange(0, len(SPACE), 37))
SHARD = tensor_parallel(load("llama2-7b"), 4)
KERNELS = tuple(
    kernel
    for layer in SHARD.layers
    for phase in (Phase.FORWARD, Phase.BACKWARD)
    for kernel in kernel_graph(layer, phase, 2, HBM3.function_cycles).kernels
)


@pytest.mark.parametrize("setting", every_setting(), ids=lambda one: one.name)
def test_no_kernel_beats_arrays_lanes_or_memory(setting: Setting) -> None:
    times = kernel_times(KERNELS, CHIPS, setting, 4)
    arrays = CHIPS.tensor_cores * CHIPS.array_rows * CHIPS.array_columns * setting.clock_hz
    lanes = CHIPS.vector_cores * CHIPS.vector_lanes * setting.clock_hz
    for index, kernel in enumerate(KERNELS):
        macs = sum(matmul.macs for matmul in kernel.matmuls)
        once = kernel.stream_bytes
        if kernel.tiled:
            one = kernel.matmuls[0]
            once += 2 * one.batch * (one.m * one.k + one.k * one.n + one.m * one.n)
        assert np.all(times.whole_s[index] >= macs / arrays * (1 - 1e-12))
        assert np.all(times.whole_s[index] >= kernel.lane_cycles / lanes * (1 - 1e-12))
        assert np.all(times.whole_s[index] >= once / setting.memory_bandwidth_bytes_per_s * (1 - 1e-12))
        assert np.all(times.single_s[index] >= times.whole_s[index])


def test_cores_side_by_side_never_use_more_memory_than_there_is() -> None:
    streaming = Kernel(name="copy", engine=Engine.VECTOR, lane_cycles=1, stream_bytes=10**9)
    both = Kernel(name="fused", engine=Engine.BOTH, lane_cycles=1, stream_bytes=10**9)
    times = kernel_times((streaming, both), CHIPS, HBM3, 1)
    cores = CHIPS.tensor_cores + CHIPS.vector_cores
    pairs = np.minimum(CHIPS.tensor_cores, CHIPS.vector_cores)
    rate = (cores - 2 * pairs) * 1e9 / times.single_s[0] + pairs * 1e9 / times.single_s[1]
    assert np.all(rate <= HBM3.memory_bandwidth_bytes_per_s * (1 + 1e-12))


def test_times_by_hand_on_tpuv4() -> None:
    matmul = Kernel(name="mm", engine=Engine.TENSOR, matmuls=(Matmul(batch=1, m=4096, n=4096, k=4096),), tiled=True)
    copy = Kernel(name="copy", engine=Engine.VECTOR, lane_cycles=256 * 1050, stream_bytes=3350)
    times = kernel_times((matmul, copy), tpuv4(), HBM3, 1)
    # 32 x 32 tiles, 4096 rows stream past each, 8 arrays; fill and drain 382 cycles.
    assert times.whole_s[0, 0] == pytest.approx((32 * 32 * 4096 / 8 + 382) / 1.05e9)
    assert times.single_s[0, 0] == pytest.approx((32 * 32 * 4096 + 382) / 1.05e9)
    assert times.whole_s[1, 0] == pytest.approx(1e-6)  # 1,050 cycles on 256 lanes; 1 ns of memory


def test_keys_are_streamed_again_only_where_a_head_does_not_fit() -> None:
    """By hand: 4 heads of 100 queries; keys and values of 64 KiB; 1 KiB of the buffer a query."""
    reuse = Reuse(heads=4, queries=100, row_bytes=1024, resident_bytes=64 * 1024)
    attention = Kernel(name="attention", engine=Engine.BOTH, reuse=reuse, stream_bytes=10**6)
    sizes = np.array([64 * 1024, 64 * 1024 - 1, 30 * 1024, 512])
    again = [0, 1, 3, 99]  # passes beyond the first: 63, 30 and 1 queries at a time
    expected = [10**6 + one * 4 * 64 * 1024 for one in again]
    assert bytes_into((attention,), sizes)[0].tolist() == expected


def test_a_shared_buffer_gives_so_many_bytes_a_cycle() -> None:
    """A copy of 5.5 MB that the buffer bounds, at the setting's clock and at twice that."""
    copy = Kernel(name="copy", engine=Engine.VECTOR, lane_cycles=1, stream_bytes=5_500_000)
    fast = replace(HBM3, memory_bandwidth_bytes_per_s=1e18)
    for times in (1.0, 2.0, 0.5):
        chip = replace(tpuv4(), clock_hz=np.array([times * HBM3.clock_hz]))
        assert kernel_times((copy,), chip, fast, 1).whole_s[0, 0] == pytest.approx(1e-6 / times)


@pytest.mark.parametrize("bound", ["memory", "buffer"])
def test_k_cores_have_k_shares_of_bandwidth_and_a_fused_kernel_two_each(bound: str) -> None:
    """By hand: 8 tensor and 8 vector cores, so 16 shares."""
    streams = [
        Kernel(name=one.value, engine=one, lane_cycles=1, stream_bytes=10**6) for one in (Engine.VECTOR, Engine.BOTH)
    ]
    chip = replace(tpuv4(), vector_cores=np.array([8]))
    slow = {f"{bound}_bandwidth_bytes_per_s": 1e9}
    setting = replace(HBM3, **{"memory_bandwidth_bytes_per_s": 1e18, "buffer_bandwidth_bytes_per_s": 1e18, **slow})
    found = split_seconds(tuple(streams), chip, setting, 1, (2, 4))[:, :, 0]
    assert found.ravel().tolist() == pytest.approx([8e-3, 4e-3, 4e-3, 2e-3])


def test_a_shared_buffer_cannot_feed_thousands_of_tiny_arrays() -> None:
    tiny = (SPACE.tensor_cores >= 2048) & (SPACE.array_rows * SPACE.array_columns == 64)
    few = (SPACE.tensor_cores == 16) & (SPACE.array_rows == 128) & (SPACE.array_columns == 128)
    matmul = Kernel(name="mm", engine=Engine.TENSOR, matmuls=(Matmul(batch=1, m=4096, n=4096, k=4096),), tiled=True)
    slow = kernel_times((matmul,), SPACE.take(np.flatnonzero(tiny)), HBM3, 1).whole_s.min()
    fast = kernel_times((matmul,), SPACE.take(np.flatnonzero(few)), HBM3, 1).whole_s.min()
    assert slow > 5 * fast


MATMULS = st.builds(
    Matmul, batch=st.integers(1, 9), m=st.integers(1, 5000), n=st.integers(1, 5000), k=st.integers(1, 5000)
)
KERNEL = st.builds(
    Kernel,
    name=st.just("any"),
    engine=st.sampled_from([Engine.TENSOR, Engine.VECTOR, Engine.BOTH]),
    matmuls=st.tuples() | st.tuples(MATMULS) | st.tuples(MATMULS, MATMULS),
    tiled=st.booleans(),
    lane_cycles=st.integers(0, 10**9),
    reductions=st.integers(0, 3),
    stream_bytes=st.integers(0, 10**9),
)
SIZES = {
    "tensor_cores": st.integers(1, 64),
    "array_rows": st.sampled_from([8, 16, 100, 128]),
    "array_columns": st.sampled_from([8, 16, 100, 128]),
    "vector_cores": st.integers(1, 64),
    "vector_lanes": st.sampled_from([8, 16, 128]),
    "buffer_bytes": st.integers(2**20, 2**26),
}
CHIP = st.fixed_dictionaries(SIZES)


def as_chips(*sizes: dict[str, int]) -> Chips:
    columns = {name: np.array([one[name] for one in sizes]) for name in SIZES}
    return Chips(**columns, area_mm2=np.ones(len(sizes)))


@settings(max_examples=150, deadline=None)
@given(KERNEL, CHIP, st.sampled_from(["tensor_cores", "vector_cores", "vector_lanes", "buffer_bytes"]), st.booleans())
def test_more_of_a_chip_is_never_slower(kernel: Kernel, chip: dict[str, int], what: str, buffered: bool) -> None:
    more = chip | {what: 2 * chip[what]} if what == "vector_lanes" else chip | {what: chip[what] + 1 + chip[what] // 3}
    kernel = replace(kernel, reductions=0 if what == "vector_lanes" else kernel.reductions)
    times = kernel_times((kernel,), as_chips(chip, more), HBM3, 1, double_buffered=buffered).whole_s[0]
    assert times[1] <= times[0] * (1 + 1e-12)


@settings(max_examples=150, deadline=None)
@given(
    KERNEL,
    CHIP,
    st.sampled_from(["memory_bandwidth_bytes_per_s", "buffer_bandwidth_bytes_per_s", "clock_hz"]),
    st.floats(1, 4),
    st.booleans(),
)
def test_a_faster_memory_buffer_or_clock_is_never_slower(
    kernel: Kernel, chip: dict[str, int], field: str, factor: float, buffered: bool
) -> None:
    better = replace(HBM3, **{field: factor * getattr(HBM3, field)})
    before, after = (
        kernel_times((kernel,), as_chips(chip), one, 1, double_buffered=buffered) for one in (HBM3, better)
    )
    assert after.whole_s[0, 0] <= before.whole_s[0, 0] * (1 + 1e-12)
    assert after.single_s[0, 0] <= before.single_s[0, 0] * (1 + 1e-12)


@settings(max_examples=150, deadline=None)
@given(KERNEL, CHIP, st.sampled_from(sorted(PRECISIONS)), st.booleans())
def test_no_kernel_beats_peak_or_compulsory_bytes(
    kernel: Kernel, chip: dict[str, int], name: str, buffered: bool
) -> None:
    precision = PRECISIONS[name]
    times = kernel_times((kernel,), as_chips(chip), HBM3, 1, precision=precision, double_buffered=buffered)
    array = chip["array_rows"] * chip["array_columns"] * chip["tensor_cores"] * precision.rate
    lanes = chip["vector_cores"] * chip["vector_lanes"]
    once = kernel.stream_bytes
    if kernel.tiled:
        once += sum(
            one.batch * (precision.operand_bytes * (one.m + one.n) * one.k + precision.result_bytes * one.m * one.n)
            for one in kernel.matmuls
        )
    least = max(
        sum(one.macs for one in kernel.matmuls) / array / HBM3.clock_hz,
        kernel.lane_cycles / lanes / HBM3.clock_hz,
        once / HBM3.memory_bandwidth_bytes_per_s,
    )
    assert times.whole_s[0, 0] >= least * (1 - 1e-12)
    assert times.single_s[0, 0] >= times.whole_s[0, 0]


def test_blocks_change_nothing_and_bound_the_memory() -> None:
    some = KERNELS[:8]
    many = SPACE.take(np.resize(np.arange(len(SPACE)), 2**18 // len(some) * 2 + 7))
    together = kernel_times(some, many, HBM3, 4)
    alone = kernel_times(some, many.take(np.array([len(many) - 1])), HBM3, 4)
    assert np.array_equal(together.whole_s[:, -1:], alone.whole_s)
    assert [part.stop - part.start for part in blocks(8, len(many))] == [2**15] * 3
    tracemalloc.start()
    kernel_times(some, many, HBM3, 4)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * together.whole_s.nbytes + 40 * 8 * 2**18


def test_the_slowest_level_is_the_time() -> None:
    levels = kernel_levels(KERNELS, CHIPS, HBM3)
    slowest = np.max([levels.array_s, levels.lane_s, levels.memory_s, levels.buffer_s], axis=0)
    whole = kernel_times(KERNELS, CHIPS, HBM3, 4).whole_s
    compute = np.array([kernel.engine is not Engine.NETWORK for kernel in KERNELS])
    assert np.array_equal(whole[compute], slowest[compute])
    # What a larger buffer spares the memory, the shared buffer moves into the cores all the same.
    assert np.all(levels.buffer_bytes >= levels.memory_bytes * (CHIPS.buffer_bytes >= CHIPS.core_buffer_bytes))


def test_without_double_buffering_the_levels_take_turns() -> None:
    matmul = Kernel(name="mm", engine=Engine.TENSOR, matmuls=(Matmul(batch=1, m=4096, n=4096, k=4096),), tiled=True)
    overlapped = kernel_times((matmul,), tpuv4(), HBM3, 1).whole_s[0, 0]
    in_turn = kernel_times((matmul,), tpuv4(), HBM3, 1, double_buffered=False).whole_s[0, 0]
    assert in_turn > overlapped + 3 * 2 * 4096 * 4096 / HBM3.memory_bandwidth_bytes_per_s


@pytest.mark.parametrize("field", ["memory_bandwidth_bytes_per_s", "buffer_bandwidth_bytes_per_s", "clock_hz"])
def test_more_is_never_slower(field: str) -> None:
    before = kernel_times(KERNELS, CHIPS, HBM3, 4)
    after = kernel_times(KERNELS, CHIPS, replace(HBM3, **{field: 2 * getattr(HBM3, field)}), 4)
    assert np.all(after.whole_s <= before.whole_s)
    assert np.all(after.single_s <= before.single_s)
