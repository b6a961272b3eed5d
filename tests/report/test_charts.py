"""Charts: ticks and places of values, and drawings that hold all of their parts."""

import pytest

from hardplace.report.chart_layout import at, ink_on, placed, ticks
from hardplace.report.charts import Chart, ChartAxis, Level, LineKind, Mark, Panel, Series, row_bar


@pytest.mark.parametrize(
    ("axis", "value", "share"),
    [
        (ChartAxis(low=0.0, high=10.0), 2.5, 0.25),
        (ChartAxis(low=1.0, high=100.0, log=True), 10.0, 0.5),
        (ChartAxis(low=1.0, high=100.0, log=True), 0.0, 0.0),
        (ChartAxis(low=0.0, high=10.0), 11.0, 1.0),
        (ChartAxis(low=3.0, high=3.0), 3.0, 0.5),
        (ChartAxis(names=("a", "b")), 1.0, 0.75),
    ],
)
def test_where_a_value_lies(axis, value, share):
    assert at(axis, value) == pytest.approx(share)


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (0.0, 6892.9), (400.0, 912.0), (-3.0, 1e6), (1e-9, 4e-9), (5.0, 5.0)]
)
@pytest.mark.parametrize("log", [False, True])
def test_ticks_are_few_round_and_on_the_axis(low, high, log):
    if log and low <= 0.0:
        return
    found = ticks(ChartAxis(low=low, high=high, log=log))
    assert 1 <= len(found) <= 12
    assert all(low - 1e-9 * abs(high) <= one <= high * (1.0 + 1e-9) for one in found)
    assert list(found) == sorted(set(found))


def test_a_drawing_holds_its_parts_and_escapes_nothing_by_itself():
    names = ("one", "a row with a long name")
    bars = (row_bar(0, 0.0, 3.0, "#3f7fbf", name="work", label="fits", title="t"),
            row_bar(1, 3.0, 3.001, "#d9822b", name="work", label="does not fit"))  # fmt: skip
    marks = tuple(Mark(x=x, y=x * x, title=f"{x}") for x in (0.5, 1.0, 2.0))
    line = Series(name="line", colour="#8a6fc0", marks=marks, line=LineKind.STEPS)
    chart = Chart(
        label="two panels",
        panels=(
            Panel(x=ChartAxis(high=4.0), y=ChartAxis(names=names), height=60.0, bars=bars),
            Panel(x=ChartAxis(high=2.0), y=ChartAxis(high=4.0), height=90.0, series=(line,),
                  levels=(Level(value=3.0, label="limit"),)),
        ),
    )  # fmt: skip
    drawn = placed(chart)
    assert [key.name for key in drawn.legend] == ["work", "line"]
    assert [bar.label for bar in drawn.panels[0].bars] == ["fits", ""]
    for panel in drawn.panels:
        places = [(text.x, text.y) for text in panel.texts]
        places += [(mark.x, mark.y) for one in panel.series for mark in one.marks]
        places += [(bar.box.x + bar.box.width, bar.box.y + bar.box.height) for bar in panel.bars]
        assert all(0.0 <= x <= drawn.width and 0.0 <= y <= drawn.height for x, y in places)
    heights = [mark.y for mark in drawn.panels[1].series[0].marks]
    assert heights == sorted(heights, reverse=True)  # up is more


def test_a_label_has_contrast_on_every_colour():
    from hardplace.report import style

    assert {ink_on(colour) for colour in style.PALETTE} <= {"#ffffff", "#101418"}
    assert ink_on("#000000") == "#ffffff"
    assert ink_on("#ffffff") == "#101418"
