"""PHAZE's space and area model, against its own coefficients."""

import json
from pathlib import Path

import numpy as np
import pytest

from hardplace.errors import BadInput
from hardplace.hardware.phaze import default_budget, name, phaze_points, phaze_space, tpuv4
from hardplace.hardware.settings import settings, with_devices
from hardplace.hardware.types import Budget

COEFFICIENTS = json.loads((Path(__file__).parent / "data/phaze_area_um2.json").read_text())


def test_points_and_kept() -> None:
    kept = phaze_space(default_budget())
    assert len(phaze_points()) == 75_712
    assert len(kept) == 29_360
    assert round(kept.area_mm2.min(), 2) == 3.36
    assert round(kept.area_mm2.max(), 2) == 278.83
    assert round(float(np.median(kept.area_mm2)), 1) == 127.6
    with_buffer = (kept.tensor_cores, kept.array_rows, kept.array_columns, kept.buffer_bytes)
    assert len(np.unique(np.stack(with_buffer), axis=1).T) == 4_186
    assert len(np.unique(np.stack((kept.vector_cores, kept.vector_lanes, kept.buffer_bytes)), axis=1).T) == 697


def test_area_equals_the_linear_model_chip_by_chip() -> None:
    chips = phaze_points()
    for index in range(0, len(chips), 997):
        lanes = int(chips.array_rows[index] * chips.array_columns[index])
        vector = int(chips.vector_lanes[index])
        expected = (
            COEFFICIENTS["pe_tc"] * chips.tensor_cores[index] * lanes
            + COEFFICIENTS["pe_vc"] * chips.vector_cores[index] * vector
            + chips.tensor_cores[index] * COEFFICIENTS[f"L2_{max(1024, lanes * 16)}"]
            + chips.vector_cores[index] * COEFFICIENTS[f"L2_{max(1024, vector * 16)}"]
            + COEFFICIENTS[f"GLB_{chips.buffer_bytes[index] // 2**20}"]
        )
        assert chips.area_mm2[index] == pytest.approx(expected / 1e6, rel=1e-13)


def test_tpuv4_sets_the_budget_and_is_in_the_space() -> None:
    space = phaze_space(default_budget())
    names = {name(space, index) for index in range(len(space))}
    assert name(tpuv4(), 0) == "8x128x128-2x128-128MiB"
    assert name(tpuv4(), 0) in names


def test_a_budget_that_no_chip_meets_says_what_the_smallest_takes() -> None:
    with pytest.raises(BadInput, match=r"area budget 1 mm2: no chip .* 3\.36 mm2"):
        phaze_space(Budget(area_mm2=1.0))


@pytest.mark.parametrize("devices", [1, 4, 8, 16, 2048])
def test_levels_follow_the_number_of_devices(devices: int) -> None:
    for one in settings():
        cluster = with_devices(one, devices).cluster
        assert cluster.levels[-1].devices == cluster.devices == devices
        assert all(level.devices < devices for level in cluster.levels[:-1])
