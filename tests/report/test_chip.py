"""The drawing of a chip: areas to scale, nothing outside the frame, a page that stands alone; and its sheet."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardplace.errors import BadInput
from hardplace.files import dumps
from hardplace.hardware.catalogue import device, device_names
from hardplace.hardware.sheet import OTHER, find, sheet
from hardplace.report.chip import page, roofline, tiles
from hardplace.report.drawing import LogAxis, treemap


@given(
    st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=20),
    st.floats(1, 1000),
    st.floats(1, 1000),
)
def test_boxes_are_to_scale_and_fill_the_frame_without_overlap(
    values: list[float], width: float, height: float
) -> None:
    values = sorted(values, reverse=True)
    boxes = treemap(values, width, height)
    for value, box in zip(values, boxes, strict=True):
        assert box.width * box.height == pytest.approx(value / sum(values) * width * height, rel=1e-6)
        assert box.x >= -1e-6 * width
        assert box.x + box.width <= width * (1 + 1e-6)
        assert box.y >= -1e-6 * height
        assert box.y + box.height <= height * (1 + 1e-6)
    for index, a in enumerate(boxes):
        for b in boxes[index + 1 :]:
            across = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
            down = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
            assert across <= 1e-6 * width or down <= 1e-6 * height


def test_a_log_axis_spaces_decades_evenly_and_keeps_within() -> None:
    axis = LogAxis(low=0.1, high=1000, start=0, end=400)
    assert [round(axis.at(tick), 6) for tick in axis.ticks()] == [0, 100, 200, 300, 400]
    assert axis.at(1e9) == 400


@pytest.mark.parametrize("name", device_names())
def test_parts_add_up_to_the_published_total_or_the_model_s(name: str) -> None:
    found = sheet(device(name))
    for parts, model, published in (
        (found.area, found.model_die_mm2, found.published_die_mm2),
        (found.power, found.model_tdp_w, found.published_tdp_w),
    ):
        assert sum(part.value for part in parts) == pytest.approx(max(model, published or 0))
        assert all(part.value > 0 for part in parts)
        assert OTHER not in [part.name for part in parts[:-1]]


def test_ridge_points_are_peak_over_bandwidth_and_lie_on_the_slope() -> None:
    found = sheet(device("h100-sxm"))
    bf16 = next(peak for peak in found.peaks if peak.dtype == "bf16")
    assert bf16.ridge_flops_per_byte == pytest.approx(989.4e12 / 3.35e12, rel=1e-3)
    drawn = roofline(found)
    x0, y0, x1, y1 = drawn.slope
    assert len(drawn.roofs) == 4
    for roof in drawn.roofs:
        assert (roof.y - y0) / (roof.x - x0) == pytest.approx((y1 - y0) / (x1 - x0), rel=1e-6)


@pytest.mark.parametrize("name", ["h100-sxm", "tpu-v4", "t4", "8x128x128-2x128-128MiB"])
def test_the_page_stands_alone_and_has_every_part(name: str) -> None:
    found = sheet(find(name))
    text = page(found)
    assert not re.search(r'(src|href)="(?!#|data:)|https?://', text)
    assert text.count("<script>") == 1
    for part in (*found.area, *found.power):
        assert f"<title>{part.name}: " in text
    assert text.count("<svg") == text.count("</svg>") == 3
    assert found.title in text


def test_labels_fit_their_tiles() -> None:
    for name in device_names():
        for tile in tiles(sheet(device(name)).area, "mm²"):
            assert not tile.lines or max(map(len, tile.lines)) * 7.2 + 10 <= tile.width


def test_markup_in_an_own_chip_s_title_is_shown_as_it_is() -> None:
    from dataclasses import replace

    assert "<b>x</b>" not in page(sheet(replace(device("t4"), title="<b>x</b>")))


def test_another_node_leaves_out_what_was_published_and_shrinks_the_parts() -> None:
    here, there = sheet(device("tpu-v4")), sheet(device("tpu-v4"), node_nm=5)
    assert there.published_die_mm2 is None
    assert there.model_die_mm2 < here.model_die_mm2
    assert there.model_tdp_w < here.model_tdp_w
    assert any("another node" in note for note in there.notes)


def test_the_sheet_is_json() -> None:
    assert '"ridge_flops_per_byte"' in dumps(sheet(device("mi300x")))


@pytest.mark.parametrize(
    ("name", "node_nm", "dtype", "words"),
    [
        ("h100", None, None, "unknown device 'h100'; did you mean h100-"),
        ("dgx-h100", None, None, "dgx-h100 is a node, not a chip; expected its device, h100-sxm"),
        ("h100-sxm", 6.0, None, "technology node 6 nm: expected one of 45"),
        ("v100-sxm2", None, "bf16", "v100-sxm2: operands of bf16"),
        ("0x128x128-2x128-128MiB", None, None, "expected numbers from 1 to 65536"),
    ],
)
def test_bad_input_is_one_line(name: str, node_nm: float | None, dtype: str | None, words: str) -> None:
    with pytest.raises(BadInput, match=re.escape(words)) as caught:
        sheet(find(name), node_nm, dtype)
    assert "\n" not in str(caught.value)
