"""Least traffic against every mapping of small loop nests, every tile of large ones, and AccelForge's search."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardplace.cost.arrays.mapspace import divisors, least_words
from hardplace.cost.arrays.tiling import traffic_bytes
from hardplace.cost.precision import PRECISIONS, Precision
from hardplace.cost.types import Matmul

DATA = Path(__file__).parents[1] / "data"
precisions = st.sampled_from(list(PRECISIONS.values()))
small = st.builds(Matmul, batch=st.just(1), m=st.integers(1, 9), n=st.integers(1, 9), k=st.integers(1, 9))
large = st.builds(Matmul, batch=st.just(1), m=st.integers(1, 3000), n=st.integers(1, 3000), k=st.integers(1, 3000))


def traffic(matmul: Matmul, size: int, precision: Precision, double_buffered: bool) -> float:
    return float(traffic_bytes((matmul,), np.array([size]), precision, double_buffered=double_buffered)[0, 0])


@settings(max_examples=150, deadline=None)
@given(small, precisions, st.booleans(), st.floats(0, 1))
def test_the_closed_set_holds_the_best_of_every_mapping(
    matmul: Matmul, precision: Precision, double_buffered: bool, fill: float
) -> None:
    m, n, k = matmul.m, matmul.n, matmul.k
    size = 1 + int(fill * (precision.operand_bytes * (m * k + k * n) + precision.sum_bytes * m * n + 8))
    words = least_words(
        matmul,
        size,
        (range(1, m + 1), range(1, n + 1), range(1, k + 1)),
        operand_bytes=precision.operand_bytes,
        sum_bytes=precision.sum_bytes,
        copies=2 if double_buffered else 1,
        spill=False,
    )
    best = precision.operand_bytes * (words - m * n) + precision.result_bytes * m * n
    assert traffic(matmul, size, precision, double_buffered) == best


def every_tile(matmul: Matmul, size: int, precision: Precision, copies: int) -> float:
    """The output tile with every width, the two strips; the other candidates only matter next to a whole operand."""
    m, n, k = matmul.m, matmul.n, matmul.k
    e, s, slices = precision.operand_bytes, precision.sum_bytes, precision.operand_bytes * min(k, copies)
    best = math.inf
    for across in range(1, n + 1):
        down = (size - slices * across) // (s * across + slices)
        if down >= 1:
            best = min(best, m * k * math.ceil(n / across) + k * n * math.ceil(m / down))
    for held, other in ((m, n), (n, m)):
        rows = (size - e * min(k, copies)) // (s + e * k)
        if rows >= 1:
            best = min(best, held * k + k * other * math.ceil(held / rows))
    return e * best + precision.result_bytes * m * n


@settings(max_examples=150, deadline=None)
@given(large, precisions, st.booleans(), st.integers(6, 22))
def test_the_window_of_cuts_misses_no_tile(
    matmul: Matmul, precision: Precision, double_buffered: bool, bits: int
) -> None:
    ours = traffic(matmul, 2**bits, precision, double_buffered)
    assert ours <= every_tile(matmul, 2**bits, precision, 2 if double_buffered else 1)
    least = precision.operand_bytes * (matmul.m + matmul.n) * matmul.k + precision.result_bytes * matmul.m * matmul.n
    assert ours >= least


@settings(max_examples=150, deadline=None)
@given(large, precisions, st.booleans(), st.integers(1, 2**24), st.integers(1, 2**24))
def test_a_larger_buffer_never_moves_more(
    matmul: Matmul, precision: Precision, double_buffered: bool, one: int, other: int
) -> None:
    sizes = np.array(sorted((one, other)))
    moved = traffic_bytes((matmul,), sizes, precision, double_buffered=double_buffered)[0]
    assert moved[1] <= moved[0]
    assert traffic(matmul, one, precision, False) <= traffic(matmul, one, precision, True)


def peers() -> list[tuple[dict[str, float], int, float]]:
    """AccelForge's rows: the shape and array, the buffer's bytes, the DRAM bytes."""
    first, second = (json.loads((DATA / name).read_text())["rows"] for name in NAMES)
    rows = [({**row, "side": row["A"]}, 16 * 2**20, row["af_dram"]) for row in first]
    return rows + [
        ({**row, "side": row["array"]}, row["glb_mb"] * 2**20, row["accelforge_dram_bytes"]) for row in second
    ]


NAMES = ("gemm_peers.json", "gemm_peers_bandwidth.json")


def test_every_mapping_in_accelforges_setting_is_its_traffic_to_the_byte() -> None:
    rows = peers()
    assert len(rows) == 28
    for row, size, theirs in rows:
        matmul, side = Matmul(batch=1, m=int(row["M"]), n=int(row["N"]), k=int(row["K"])), int(row["side"])
        tiles = (divisors(matmul.m), divisors(matmul.n, side), divisors(matmul.k, side))
        assert 2 * least_words(matmul, size, tiles, operand_bytes=2, sum_bytes=2, copies=1, spill=True) == theirs


def test_our_own_setting_is_within_a_third_of_accelforges_and_equal_in_the_median() -> None:
    # fp32 sums take twice the room of its 16-bit ones; tiles need not divide, so a few cases move less.
    ours = [
        traffic(Matmul(batch=1, m=int(row["M"]), n=int(row["N"]), k=int(row["K"])), size, PRECISIONS["bf16"], True)
        for row, size, _ in peers()
    ]
    ratios = np.array(ours) / [theirs for _, _, theirs in peers()]
    assert np.median(np.abs(ratios - 1)) == 0
    assert 0.95 < ratios.min() <= ratios.max() < 1.34


def test_an_unfolded_convolution_reads_its_image_not_its_windows() -> None:
    windows = Matmul(batch=1, m=50176, n=64, k=147, left_words=3 * 224 * 224)
    moved = traffic(windows, 2**26, PRECISIONS["bf16"], True)
    assert moved == 2 * (3 * 224 * 224 + 147 * 64 + 50176 * 64)


@pytest.mark.parametrize("size", [1, 7])
def test_a_buffer_below_one_element_of_each_holds_nothing(size: int) -> None:
    assert traffic(Matmul(batch=1, m=2, n=2, k=2), size, PRECISIONS["bf16"], False) == math.inf


def test_tiles_are_searched_from_the_least_point_of_their_bound() -> None:
    """Over every whole number of cuts the bound is least at the start or one before it: it is convex."""
    from hardplace.cost.arrays.tiling import _Shape, _start, _tile_bound

    random = np.random.default_rng(0)
    m, n, k = (random.integers(2, 120, 400).astype(float) for _ in range(3))
    size = random.integers(40, 4000, 400).astype(float)
    shape = _Shape(m=m, n=n, k=k, left=m * k, right=k * n, size=size, operand=2, total=4, copies=2)
    start = _start(shape)
    every = np.stack([np.where(cuts <= n, _tile_bound(shape, np.full_like(n, cuts)), np.inf) for cuts in range(1, 120)])
    least = every.min(axis=0)
    found = np.minimum(_tile_bound(shape, start), _tile_bound(shape, np.maximum(start - 1.0, 1.0)))
    some = np.isfinite(least)
    assert some.any()
    assert np.all(found[some] <= least[some] * (1 + 1e-9))


@pytest.mark.parametrize(("m", "n"), [(3, 2), (2, 3)])
def test_a_whole_operand_beside_one_row_of_the_other_is_read_once(m: int, n: int) -> None:
    """By hand, k = 2: the smaller operand is 4 words of 2 bytes, a row of the other 2 words, one sum 4 bytes: 16."""
    once = 2 * (m * 2 + 2 * n) + 2 * m * n
    assert traffic(Matmul(batch=1, m=m, n=n, k=2), 16, PRECISIONS["bf16"], True) == once
    assert traffic(Matmul(batch=1, m=m, n=n, k=2), 15, PRECISIONS["bf16"], True) > once
