from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from hardplace.branch_and_bound.types import Stop
from hardplace.cost.types import Engine
from hardplace.report import cloud, gantt
from hardplace.report import text as words
from hardplace.report.breakdown import memory_figure, search_figure, time_figure
from hardplace.report.page import command, comparison, layer_rows, page
from report import example

FIGURES = (
    "throughput of each chip under the chosen plan against its area",
    "kernels of one layer on the cores of the chip over time",
    "what each pipeline stage does during a batch",
    "time of a batch by cause",
    "memory of a device of each pipeline stage against its capacity",
    "best found and bound over the time of the search",
)


class Reader(HTMLParser):
    """Collects attributes that load something, the text outside scripts, and the charts with their marks."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.text: list[str] = []
        self.charts: dict[str, int] = {}
        self.scripts = 0
        self.open: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.loads += [found[name] or "" for name in ("src", "href", "action", "data") if name in found]
        self.scripts += tag == "script"
        if tag == "svg" and found.get("class") == "chart":
            self.charts[found.get("aria-label") or ""] = 0
        elif (
            self.charts and tag in ("circle", "rect", "path") and "x" in {*found, *("x" for _ in found.get("d") or ())}
        ):
            self.charts[next(reversed(self.charts))] += 1
        if tag in ("script", "style"):
            self.open.append((tag, found.get("id") or ""))

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1][0] == tag:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open:
            self.text.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert not reader.open
    return reader


def plain(reader: Reader) -> str:
    return re.sub(r"\s+", " ", "".join(reader.text))


@pytest.fixture(scope="module")
def html() -> str:
    return page(example.exploration())


def test_the_page_loads_nothing(html: str) -> None:
    assert all(one.startswith(("#", "data:")) for one in read(html).loads)  # a part of the page, or a file within it
    assert "default-src 'none'" in html
    own = html[: html.index("<script>")] + html[html.rindex("<script>") :]
    assert not re.search(r'(src|href)\s*="(?!#|data:)|url\((?!#)|@import|https?://', own)


def test_sections_stand_in_order(html: str) -> None:
    assert re.findall(r'<section id="(\w+)">', html) == [
        "answer", "chips", "layer", "timeline", "causes", "search", "notes", "again",
    ]  # fmt: skip
    assert [heading[0] for heading in re.findall(r"<h2>(.)", html)] == list("1234567H")


def test_every_chart_stands_with_its_marks(html: str) -> None:
    charts = read(html).charts
    assert tuple(charts) == FIGURES
    assert min(charts.values()) > 0


def test_numbers_of_the_answer_appear(html: str) -> None:
    best = example.evaluation()
    text = plain(read(html))
    for expected in (
        "4 tensor cores of 128×128, 2 vector cores of 128 lanes, 32 MiB buffer",
        "250.0 mm² of 278.8 mm²",
        "tensor parallel 2 × pipeline 3 × data parallel 64 = 384 of 1,024 devices",
        f"{best.samples_per_s:,.0f}",
        "41.3 %",
        "752 ms",
        "6.74 billion parameters",
        "can be more than 0.73 % faster",
        "roofline: 4,000 of 4,800",
        "does not fit: memory of a device needs 105 GiB, 80 GiB available; shard the states",
        "40 of 40 chips",
        "block, 12 of the model's 14",
        "no less than 3.430 ms",
        "cumsum",
        "hardplace 0.1.0",
    ):
        assert expected in text.replace("\u00a0", " "), expected


def test_names_from_outside_are_escaped() -> None:
    evil = "<script>alert(1)</script>"
    before = example.exploration()
    kinds = tuple(
        replace(kind, layer=evil, forward=replace(kind.forward, kernels=(evil,) * len(kind.forward.kernels)))
        for kind in before.best.layers
    )
    best = replace(before.best, layers=kinds)
    baselines = tuple(replace(baseline, name=evil) for baseline in before.baselines)
    labels = replace(before.cloud, label=(evil,) * len(before.cloud.label))
    html = page(replace(before, model=evil, best=best, baselines=baselines, notes=(evil,), cloud=labels))
    assert "<script>alert" not in html
    assert read(html).scripts == read(page(before)).scripts
    assert plain(read(html)).count(evil) >= 4


def test_the_certificate_is_rounded_up_and_knows_the_optimum() -> None:
    found = example.exploration()
    close = replace(found, bound=found.best.samples_per_s * 1.00001)
    assert "more than 0.01\u00a0% faster" in words.certificate(close)
    proven = replace(found, bound=found.best.samples_per_s, stop=Stop.OPTIMAL)
    assert words.certificate(proven).startswith("None of the 4,800 candidates")


def test_the_comparison_names_the_answer_each_baseline_and_what_is_short() -> None:
    rows = comparison(example.exploration())
    assert [row.name for row in rows] == ["the answer", "TPUv4", "pure data parallel"]
    assert rows[1].speed_up == "1.00×"
    assert not rows[1].short
    assert "105 GiB" in rows[2].short


def test_the_page_says_what_was_searched_for(html: str) -> None:
    assert "<h1>Which chip and plan for llama2-7b: the fastest chip and plan within 278.8\u00a0mm²?</h1>" in html
    budget = replace(example.exploration().budget, tdp_w=300.0, step_s=1.5)
    found = replace(
        example.exploration(), objective="energy", unit="J/sample", inverse=True, score=0.1, bound=0.125, budget=budget
    )
    other = page(found)
    assert "the chip and plan with the best energy within 278.8\u00a0mm², 300 W, 1.50 s a step?</h1>" in other
    assert "Energy 10 J/sample, bound 8 J/sample." in other


def test_layers_are_counted() -> None:
    assert [(row.layer, row.count) for row in layer_rows(example.evaluation())] == [
        ("embedding", 1), ("block", 12), ("head", 1),
    ]  # fmt: skip


def test_the_command_asks_the_same_question() -> None:
    assert command(example.exploration(model="my model.json")) == (
        "hardplace search 'my model.json' --setting hbm3 --space phaze --area 278.83 --devices 1024 --batch 768 "
        "--gap 0.01 --memory 80GiB --micro-batch 1 --micro-batch 2 --tensor-parallel 1 --tensor-parallel 2 "
        "--recompute none --recompute full"
    )


def test_many_chips_are_thinned_but_the_frontier_and_the_answer_stay() -> None:
    found = example.exploration(points=9000)
    index = cloud.drawn(found)
    assert len(index) <= cloud.DRAWN
    assert 0 in index
    assert found.cloud.label[0] == found.best.chip.name


def test_a_kernel_on_all_cores_fills_their_rows() -> None:
    best = example.evaluation()
    layer, count = gantt.most_repeated(best)
    assert (layer.layer, count) == ("block", 12)
    bars = gantt.bars(layer.forward, best.chip)
    attention = next(i for i, engine in enumerate(layer.forward.engines) if engine is Engine.BOTH)
    assert {bar.row for bar in bars if bar.task == attention} == {
        *(f"tensor core {core}" for core in range(4)), "vector core 0", "vector core 1",
    }  # fmt: skip
    assert [bar.row for bar in bars if bar.task == 1] == ["tensor core 0"]
    assert {bar.row for bar in bars} <= set(gantt.rows(layer.forward, best.chip))


def test_many_cores_share_a_row() -> None:
    best = example.evaluation(on=example.chip(4096, 64))
    layer, _ = gantt.most_repeated(best)
    assert gantt.rows(layer.forward, best.chip) == (
        "all 4,096 tensor cores", "tensor core 0", "tensor core 1", "tensor core 2",
        "all 64 vector cores", "vector core 0", "vector core 1", "network",
    )  # fmt: skip


def test_figures_add_up() -> None:
    found = example.exploration()
    seconds = sum(bar.right - bar.left for bar in time_figure(found).panels[0].bars if bar.low < 0.0) / 1e3
    assert seconds == pytest.approx(found.best.placement.batch_s)
    bars = memory_figure(found.best).panels[0].bars
    held = [sum(bar.high - bar.low for bar in bars if round(bar.left) == stage) for stage in range(3)]
    assert held == pytest.approx([stage.memory_bytes / 2**30 for stage in found.best.placement.stages])
    bound, best = search_figure(found).panels[0].series
    assert bound.marks[-1].y == pytest.approx(found.bound)
    assert best.marks[-1].y == pytest.approx(found.best.samples_per_s)
    assert min(mark.y for mark in best.marks) > 0


@pytest.mark.parametrize(
    "found",
    [
        example.exploration(points=1, best=example.evaluation(stages=1, micro_batches=1, recompute=False)),
        replace(example.exploration(), baselines=(), notes=(), progress=(), levels=()),
        example.exploration(best=example.evaluation(stages=24, micro_batches=300)),
    ],
    ids=["smallest", "bare", "deep"],
)
def test_odd_explorations_have_a_page(found: example.Exploration) -> None:
    assert tuple(read(page(found)).charts) == FIGURES


def test_importing_hardplace_does_not_load_the_page() -> None:
    code = "import sys, hardplace.report; print([m for m in ('plotly', 'jinja2', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
