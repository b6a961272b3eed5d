"""Matmul cycles and traffic: brute force over tilings, peers' figures, physics."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardplace.cost.arrays.tensor import array_cycles
from hardplace.cost.arrays.tiling import traffic_bytes
from hardplace.cost.precision import PRECISIONS, Precision
from hardplace.cost.types import Dataflow, Matmul

DATA = Path(__file__).parents[1] / "data"


def cycles(matmul: Matmul, cores: int, rows: int, columns: int) -> float:
    return float(array_cycles((matmul,), np.array([cores]), np.array([rows]), np.array([columns]))[0, 0])


def traffic(matmul: Matmul, buffer_bytes: int) -> float:
    return float(traffic_bytes((matmul,), np.array([buffer_bytes]))[0, 0])


shape = st.builds(Matmul, batch=st.integers(1, 3), m=st.integers(1, 200), n=st.integers(1, 200), k=st.integers(1, 200))


@settings(max_examples=100, deadline=None)
@given(shape, st.sampled_from([1, 2, 4, 16]), st.sampled_from([2, 8, 64]), st.sampled_from([2, 8, 64]))
def test_cycles_never_undercut_the_multiply_accumulates(matmul: Matmul, cores: int, rows: int, columns: int) -> None:
    assert cycles(matmul, cores, rows, columns) >= matmul.macs / (cores * rows * columns)
    assert cycles(matmul, cores, rows, columns) <= cycles(matmul, 1, rows, columns)


def test_cycles_by_hand() -> None:
    # 4 x 4 tiles of 32 x 32, 100 rows stream past each; fill and drain 2 * 32 + 32 - 2.
    assert cycles(Matmul(batch=1, m=100, n=128, k=128), 1, 32, 32) == 4 * 4 * 100 + 94
    # 16 streams of 7 are hidden behind loading 32 rows, so the 7 x 128 outputs are held instead: 4 tiles of k = 128.
    assert cycles(Matmul(batch=1, m=7, n=128, k=128), 1, 32, 32) == 4 * 128 + 94
    # Four cores take one column of tiles each.
    assert cycles(Matmul(batch=1, m=100, n=128, k=128), 4, 32, 32) == 4 * 100 + 94
    # Of a column of 8 tiles they take 2 each, weights held, and add up their sums; were the stream cut, 32 rows or more
    # flow past all 8.
    long, chip = Matmul(batch=1, m=100, n=32, k=8 * 32), [np.array([one]) for one in (4, 32, 32)]
    assert array_cycles((long,), *chip, dataflows=(Dataflow.WEIGHT,))[0, 0] == 2 * 100 + 94
    assert array_cycles((replace(long, m=30),), *chip, dataflows=(Dataflow.WEIGHT,))[0, 0] == 2 * 32 + 94


SERIAL = [(Dataflow.WEIGHT, "ss_ws_nostall"), (Dataflow.OUTPUT, "ss_os_nostall")]


@pytest.mark.parametrize(("dataflow", "key"), SERIAL)
def test_scale_sims_cycles_exactly(dataflow: Dataflow, key: str) -> None:
    rows = [row for row in json.loads((DATA / "gemm_peers.json").read_text())["rows"] if key in row]
    assert len(rows) >= 6
    for row in rows:
        matmul, side = Matmul(batch=1, m=row["M"], n=row["N"], k=row["K"]), np.array([row["A"]])
        ours = array_cycles((matmul,), np.array([1]), side, side, dataflows=(dataflow,), double_buffered=False)
        assert ours[0, 0] - 1 == row[key]


def test_compute_bound_peers_agree() -> None:
    rows = json.loads((DATA / "gemm_peers.json").read_text())["rows"]
    ours = np.array([cycles(Matmul(batch=1, m=r["M"], n=r["N"], k=r["K"]), 1, r["A"], r["A"]) for r in rows])
    assert np.median(np.abs(ours / [r["af"] for r in rows] - 1)) < 0.001
    zigzag = np.abs(ours / [r["zz"] for r in rows] - 1)
    assert np.median(zigzag) < 0.015
    assert zigzag.max() < 0.07


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=lambda one: one.name)
@settings(max_examples=40, deadline=None)
@given(matmul=shape, cores=st.integers(1, 70), rows=st.integers(1, 70), columns=st.integers(1, 70), data=st.data())
def test_halves_take_at_least_as_long_as_the_whole(
    precision: Precision, matmul: Matmul, cores: int, rows: int, columns: int, data: st.DataObject
) -> None:
    axis = data.draw(st.sampled_from(["batch", "m", "n", "k"]))
    whole = replace(matmul, **{axis: 2 * getattr(matmul, axis)})
    buffered = data.draw(st.booleans())
    chip = (np.array([cores]), np.array([rows]), np.array([columns]))
    times = array_cycles((matmul, whole), *chip, precision, double_buffered=buffered)[:, 0]
    assert 2 * times[0] >= times[1]
    assert times[1] >= whole.macs / (cores * rows * columns * precision.rate)


@settings(max_examples=100, deadline=None)
@given(matmul=shape, cores=st.integers(1, 70), rows=st.integers(1, 70), columns=st.integers(1, 70))
def test_more_cores_and_faster_exchange_never_take_longer(matmul: Matmul, cores: int, rows: int, columns: int) -> None:
    counts, sides = np.array([cores, cores + 1, 2 * cores]), (np.full(3, rows), np.full(3, columns))
    slow = array_cycles((matmul,), counts, *sides, exchange_bytes_per_cycle=64.0)[0]
    fast = array_cycles((matmul,), counts, *sides, exchange_bytes_per_cycle=128.0)[0]
    assert np.all(np.diff(slow) <= 0)
    assert np.all(fast <= slow)


def test_double_buffering_hides_loads() -> None:
    matmul, chip = Matmul(batch=1, m=512, n=1024, k=1024), (np.array([1]), np.array([32]), np.array([32]))
    assert array_cycles((matmul,), *chip)[0, 0] == 32 * 32 * 512 + 94
    assert array_cycles((matmul,), *chip, double_buffered=False)[0, 0] == 16 * 32 * (1024 + 32 + 32 - 2)


def test_a_long_reduction_is_split_over_cores() -> None:
    matmul, sides = Matmul(batch=1, m=64, n=64, k=2**20), (np.array([64]), np.array([64]))
    alone, together = (array_cycles((matmul,), np.array([count]), *sides)[0, 0] for count in (1, 16))
    assert together < alone / 15


def test_small_products_of_a_batch_share_an_array() -> None:
    # Sixteen 8 x 8 weight tiles fit on the diagonal of a 128 x 128 array.
    many = Matmul(batch=16, m=1000, n=8, k=8)
    assert cycles(many, 1, 128, 128) == cycles(replace(many, batch=1), 1, 128, 128)


def test_precisions_change_the_rate() -> None:
    matmul, chip = Matmul(batch=1, m=4096, n=4096, k=4096), (np.array([1]), np.array([128]), np.array([128]))
    times = {name: array_cycles((matmul,), *chip, one)[0, 0] for name, one in PRECISIONS.items()}
    assert times["fp8"] == pytest.approx(times["bf16"] / 2, rel=1e-3)
    assert times["fp32"] == pytest.approx(times["bf16"] * 4, rel=1e-3)


@pytest.mark.parametrize("side", [64, 1000])
def test_operands_that_fit_are_read_once(side: int) -> None:
    assert traffic(Matmul(batch=2, m=side, n=side, k=side), 2**26) == 2 * 2 * 3 * side * side
