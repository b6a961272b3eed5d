"""Grouped products of ragged rows on chips with arrays: tiles of one kernel over the edges of its groups."""

from dataclasses import replace

import numpy as np
import pytest

from hardplace.cost.arrays.machine import machine
from hardplace.cost.arrays.timer import ArrayTimer
from hardplace.cost.layers.decoder import block
from hardplace.cost.layers.types import Layout, Stream
from hardplace.cost.layers.work import GemmWork, StreamWork
from hardplace.hardware.catalogue import device
from hardplace.plans.plan import Plan
from hardplace.plans.pricing import pricer_of
from hardplace.workload.decoder import DecoderShape, Degrees, Experts
from hardplace.workload.types import Recompute

# DeepSeek-V3's experts on a TPU7x with 16 sequences of 4,096 tokens, 8 of 256 each.
UP = GemmWork(m=2048, n=2048, k=7168, batch=256, grouped=True, ragged=True)
TILES = (256, 512)


def alone_s(timer: ArrayTimer, work: GemmWork) -> float:
    return float(timer.products_s(work, np.array([work.m]), np.array([work.n]), np.array([work.k]))[0])


def tiles_run(sizes: np.ndarray, tile: int) -> int:
    """Count the tiles of a kernel over groups one behind the other: each group runs every tile that it has a row of."""
    ends = np.cumsum(sizes)
    return int(sum(-(-end // tile) - (end - size) // tile for end, size in zip(ends, sizes, strict=True) if size))


@pytest.mark.parametrize(("rows", "tile"), [(1024, 256), (1024, 512), (2560, 256), (300, 512)])
def test_a_kernel_runs_a_tile_more_for_each_group_but_one(rows: int, tile: int) -> None:
    """Against counted tiles of random groups of 256 experts, as balanced as a random routing makes them."""
    rng = np.random.default_rng(0)
    counted = [tiles_run(rng.multinomial(256 * rows, np.full(256, 1 / 256)), tile) for _ in range(20)]
    assert 256 * rows / tile + 255 == pytest.approx(np.mean(counted), rel=0.01)


@pytest.mark.parametrize("layout", [Layout.TN, Layout.NN, Layout.NT])
def test_each_device_of_a_chip_runs_its_own_rows_of_every_group(layout: Layout) -> None:
    """On TPU7x, two devices: as twice as many groups of 1,024 rows, and 255 tiles more of 256 or 512 in 256 groups."""
    timer = ArrayTimer(machine=machine(device("tpu-v7x"), "bf16"), group_rows=TILES)
    work = replace(UP, layout=layout)
    tile = TILES[layout is Layout.NT]
    padded = 1024 + tile * 255 // 256
    if layout is Layout.NT:
        work, whole = replace(work, m=7168, k=2048), replace(work, m=7168, k=padded)
    else:
        whole = replace(work, m=padded)
    expected = alone_s(timer, replace(whole, batch=512, ragged=False))
    assert alone_s(timer, work) == pytest.approx(expected, rel=2e-3)
    assert alone_s(timer, work) > 1.15 * alone_s(timer, replace(work, ragged=False))


def test_groups_with_rows_of_their_own_and_software_without_such_a_kernel_waste_none() -> None:
    on = machine(device("tpu-v5p"), "bf16")
    filled = replace(UP, ragged=False)
    without = alone_s(ArrayTimer(machine=on), UP)
    assert (
        alone_s(ArrayTimer(machine=on, group_rows=TILES), filled) == without == alone_s(ArrayTimer(machine=on), filled)
    )
    for name, chip, tiles in (("", "tpu-v6e", TILES), ("", "trainium2", (0, 0)), ("gaudi", "gaudi2", (0, 0))):
        timer = pricer_of(device(chip), Plan(global_batch=1, software=name)).timer
        assert isinstance(timer, ArrayTimer)
        assert timer.group_rows == tiles


def test_maxtext_passes_over_its_copies_of_tokens_thirteen_times() -> None:
    """Forward: written, read, sorted, read, sorted back, added up; backward: their gradients and the router's, the same
    way back. Elsewhere a kernel reads and writes them before and after the experts, in both passes."""
    shape = DecoderShape(
        layers=1, hidden=256, heads=4, kv_heads=4, head_dim=64, ffn=512, gated=True, vocab=1024,
        sequence=128, experts=Experts(count=8, chosen=2, ffn=512),
    )  # fmt: skip
    copies_bytes = 2.0 * 128 * 2 * 256
    for sorts, forward, backward in ((True, 6, 7), (False, 4, 4)):
        layer = block(shape, Degrees(sorts_copies=sorts), Recompute.NONE)
        passes = [
            sum(one.bytes for one in work if isinstance(one, StreamWork) and one.kind is Stream.DISPATCH) / copies_bytes
            for work in (layer.forward, layer.backward)
        ]
        assert passes == [forward, backward]
