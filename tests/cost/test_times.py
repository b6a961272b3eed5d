"""Kernel times: physics is never undercut, and hand calculations hold."""

from dataclasses import replace

import numpy as np
import pytest

from hardplace.cost.fusion import kernel_graph
from hardplace.cost.times import kernel_times
from hardplace.cost.types import Engine, Kernel, Matmul
from hardplace.hardware.settings import HBM3, settings
from hardplace.hardware.space import default_budget, phaze_space, tpuv4
from hardplace.hardware.types import Setting
from hardplace.workload.load import load
from hardplace.workload.types import Phase

SPACE = phaze_space(default_budget())
CHIPS = SPACE.take(np.arange(0, len(SPACE), 37))
SHARD = load("llama2-7b").shard(4)
KERNELS = tuple(
    kernel
    for layer in SHARD.layers
    for phase in (Phase.FORWARD, Phase.BACKWARD)
    for kernel in kernel_graph(layer, phase, 2, HBM3.function_cycles).kernels
)


@pytest.mark.parametrize("setting", settings(), ids=lambda one: one.name)
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


def test_a_shared_buffer_cannot_feed_thousands_of_tiny_arrays() -> None:
    tiny = (SPACE.tensor_cores >= 2048) & (SPACE.array_rows * SPACE.array_columns == 64)
    few = (SPACE.tensor_cores == 16) & (SPACE.array_rows == 128) & (SPACE.array_columns == 128)
    matmul = Kernel(name="mm", engine=Engine.TENSOR, matmuls=(Matmul(batch=1, m=4096, n=4096, k=4096),), tiled=True)
    slow = kernel_times((matmul,), SPACE.take(np.flatnonzero(tiny)), HBM3, 1).whole_s.min()
    fast = kernel_times((matmul,), SPACE.take(np.flatnonzero(few)), HBM3, 1).whole_s.min()
    assert slow > 5 * fast


@pytest.mark.parametrize("field", ["memory_bandwidth_bytes_per_s", "buffer_bandwidth_bytes_per_s", "clock_hz"])
def test_more_is_never_slower(field: str) -> None:
    before = kernel_times(KERNELS, CHIPS, HBM3, 4)
    after = kernel_times(KERNELS, CHIPS, replace(HBM3, **{field: 2 * getattr(HBM3, field)}), 4)
    assert np.all(after.whole_s <= before.whole_s)
    assert np.all(after.single_s <= before.single_s)
