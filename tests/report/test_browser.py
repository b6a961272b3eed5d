"""The pages in a headless Chromium: no error, no request, marks that speak, tables that sort, filter and open; dark,
print and a telephone's width; axe finds nothing serious. Screenshots go to .artefacts/pages.

Chromium is Debian's (`apt-get install chromium`, which ./check does where it may) or any other one on the path.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hardplace as hp
from hardplace.hardware.catalogue import device
from hardplace.hardware.sheet import sheet

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / ".artefacts" / "pages"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = [name for name in ("playwright", "axe_playwright_python") if importlib.util.find_spec(name) is None]
MISSING += [] if CHROMIUM else ["chromium"]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"{', '.join(MISSING)} not installed: THE PAGES ARE NOT TESTED IN A BROWSER"
)
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run", "--disable-quic",
)  # fmt: skip
EVIL = "<script>window.evil = 1</script><img src=x onerror='window.evil = 1'> שלום {{ 7 * 7 }} " + "x" * 60
PAGES = ("place", "search", "operators", "shape", "audit", "chip", "workload", "schedule", "split", "describe",
         "estimate", "replan", "runs")  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each verb; of those that take a Workload, under a name with markup."""
    from hardplace.api.measurements import scored_runs
    from hardplace.report import (
        audit,
        chip,
        described,
        estimated_page,
        layers,
        operators,
        page,
        placed_page,
        replan_page,
        schedule,
        shape,
        split,
        validation_page,
        workload,
    )
    from hardplace.workload.sharding.degrees import rank_layers
    from hardplace.workload.summary import summarise
    from hardplace.workload.types import Parallelism

    odd = replace(hp.load("opt-350m"), name=EVIL)
    fixed = {"zero": (0, 1), "recompute": "none", "micro_batch": (1, 2)}
    placed = hp.place(hp.load("llama2-7b"), "h100-sxm", 16, batch=32, fixed=fixed)
    small = hp.search(odd, space="phaze", limits={"area": 20.0}, devices=8, batch=32, micro_batch=1, tensor=1)
    one_rank = Parallelism()
    ranks, whole = rank_layers(odd, one_rank)
    summary = summarise(odd, one_rank, 1, ranks, whole)
    running = hp.Plan(global_batch=32, tensor=2, pipeline=2, data=4)
    costs = hp.estimate("llama2-7b", running, "h100-sxm")
    went = hp.replan(running, model="llama2-7b", device="h100-sxm", lost="12-15")
    texts = {
        "place": placed_page.page(replace(placed, title=f"{EVIL} on 16 devices"), f"hardplace place '{EVIL}'"),
        "search": page.page(small),
        "operators": operators.page(hp.operators(odd, "tpu-v4")),
        "shape": shape.page(hp.shapes("gpt3-2.7b", "h100-sxm", freeze=("vocab", "layers"))),
        "audit": audit.page(hp.audit("gpt3-2.7b", "a100-80gb-sxm")),
        "chip": chip.page(sheet(replace(device("h100-sxm"), title=EVIL))),
        "workload": workload.page(summary, layers.drawing(odd, ranks, summary)),
        "schedule": schedule.page(hp.schedule(odd, "4x128x128-2x128-32MiB", gap=0.05, seconds=2.0)),
        "split": split.page(hp.split(ROOT / "examples/split/inception-block.json", ("cpu", "gpu"), seconds=1.0)),
        "estimate": estimated_page.page(replace(costs, title=f"{EVIL} on 16 devices")),
        "replan": replan_page.page(went),
        "runs": validation_page.page(
            scored_runs(ROOT / "validation/training/torchtitan.csv"), EVIL, "hardplace validate"
        ),
        "describe": described.page(hp.describe("systolic", layers=("product:64,64,64",))),
    }
    assert set(texts) == set(PAGES)
    folder = tmp_path_factory.mktemp("pages")
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text)
    return {name: folder / f"{name}.html" for name in texts}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield found
        found.close()


ROWS = "#plans > .wide > table > tbody > tr:not(.more)"


def seconds(text: str) -> float:
    number, unit = text.split()
    return float(number) * {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}[unit]


class Opened:
    """A page that is open, with what went wrong on it and what it asked for."""

    def __init__(self, browser: Any, path: Path, **how: Any) -> None:
        self.page = browser.new_context(**how).new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda one: self.errors.append(one.text) if one.type == "error" else None)
        self.page.on("pageerror", lambda one: self.errors.append(str(one)))
        self.page.on("request", lambda one: self.requests.append(one.url))
        self.page.goto(path.as_uri())

    def close(self) -> None:
        self.page.context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_in_both_colours_on_a_telephone_and_on_paper(
    name: str, pages: dict[str, Path], browser: Any
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    one = Opened(browser, pages[name], viewport={"width": 1280, "height": 900})
    try:
        page = one.page
        found = Axe().run(page).response["violations"]
        assert not [
            (each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")
        ]
        assert page.evaluate("window.evil") is None
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.screenshot(path=SHOTS / f"{name}-light.png", full_page=True)
        page.emulate_media(color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
        page.screenshot(path=SHOTS / f"{name}-dark.png", full_page=True)
        page.emulate_media(color_scheme="light", media="print")
        page.screenshot(path=SHOTS / f"{name}-print.png")
        page.emulate_media(media="screen")
        page.set_viewport_size({"width": 390, "height": 844})
        page.reload()
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        page.screenshot(path=SHOTS / f"{name}-phone.png")
        drawings = page.locator("svg[role=img]")
        for place in range(drawings.count()):
            assert drawings.nth(place).locator("rect, circle, path, line, polyline").count() > 0
        assert page.locator("h1").inner_text().strip()
        assert not one.errors
        assert not [url for url in one.requests if not url.startswith(("file:", "data:", "blob:"))]
        assert pages[name].stat().st_size < 2_000_000
    finally:
        one.close()


def test_rows_open_sort_and_filter_and_marks_speak(pages: dict[str, Path], browser: Any) -> None:
    one = Opened(browser, pages["place"], viewport={"width": 1280, "height": 900})
    try:
        page, plans = one.page, one.page.locator(ROWS)
        assert plans.count() == 10
        assert EVIL in page.locator("h1").text_content()
        more = page.locator("#plans tr.more")
        assert not more.nth(1).is_visible()
        page.locator("#plans button.open").nth(1).focus()
        page.keyboard.press("Enter")
        assert more.nth(1).is_visible()
        page.keyboard.press("Enter")
        assert not more.nth(1).is_visible()
        head = page.locator("#plans thead button", has_text="step, s")
        head.click()
        head.click()
        assert page.locator("#plans th[aria-sort=descending]").inner_text().startswith("step, s")
        steps = [float(text) for text in page.locator(f"{ROWS} > td:nth-child(2)").all_inner_texts()]
        assert steps == sorted(steps, reverse=True)
        assert steps != sorted(steps)
        page.locator("#plans ~ * input, #plans input").first.fill("no such plan")
        assert page.locator(f"{ROWS}:visible").count() == 0
        page.locator("#degrees svg g").first.hover()
        assert page.locator("#tip").inner_text().startswith("tensor ")
        with page.expect_download() as got:
            page.locator("a[download='table.csv']").click()
        assert len(Path(got.value.path()).read_text().splitlines()) == 11
        assert not one.errors
    finally:
        one.close()


def test_kernels_sort_by_time_and_dots_say_what_they_are(pages: dict[str, Path], browser: Any) -> None:
    one = Opened(browser, pages["operators"], viewport={"width": 1280, "height": 900})
    try:
        page = one.page
        rows = page.locator("table.sortable tbody tr")
        whole = rows.count()
        head = page.locator("thead button", has_text="time")
        head.click()
        head.click()
        times = [seconds(rows.nth(place).locator("td").nth(3).inner_text()) for place in (0, 1, 2, whole - 1)]
        assert times == sorted(times, reverse=True)
        assert times[0] > times[-1]
        page.locator("input[type=search]").fill("backward block")
        shown = page.locator("table.sortable tbody tr:visible").count()
        assert 0 < shown < whole
        assert page.locator("label.filter").inner_text().endswith(f"{shown} of {whole}")
        page.locator("svg circle").last.hover()
        assert "of the time, bound by" in page.locator("#tip").inner_text()
    finally:
        one.close()


def test_a_point_of_the_cloud_says_its_chip_and_is_linked_with_its_row(pages: dict[str, Path], browser: Any) -> None:
    one = Opened(browser, pages["search"], viewport={"width": 1280, "height": 1200})
    try:
        page, rows = one.page, one.page.locator("table.rows tbody tr")
        assert page.locator("svg.chart").count() == 6
        point = page.locator("#chips [data-verb] [data-row]").first
        number, chip = point.get_attribute("data-row"), (point.get_attribute("data-tip") or "").split(", ")[0]
        point.dispatch_event("click")
        assert page.locator("p.chosen code").inner_text() == f"hardplace chip {chip}"
        assert page.locator("table.rows tr.best").get_attribute("data-row") == number
        assert page.locator("table.rows tr.best th").inner_text() == chip
        rows.last.focus()
        page.keyboard.press("Enter")
        assert rows.last.get_attribute("class") == "best"
        assert rows.last.locator("th").inner_text() in page.locator("p.chosen").inner_text()
        assert not one.errors
    finally:
        one.close()


@pytest.mark.parametrize(
    ("name", "said"), [("schedule", "on all:"), ("split", "starts"), ("describe", " to "), ("replan", "to move")]
)
def test_marks_of_a_drawing_speak(name: str, said: str, pages: dict[str, Path], browser: Any) -> None:
    one = Opened(browser, pages[name], viewport={"width": 1280, "height": 1200})
    try:
        tips = one.page.locator(f"svg[role=img] [data-tip*='{said}']")
        assert tips.count() > 0
        tips.first.hover(force=True)
        assert said in one.page.locator("#tip").inner_text()
        assert one.page.locator("h1").inner_text().endswith("?")
        assert one.page.locator("#again a[download]").count() == 2
        assert not one.errors
    finally:
        one.close()


def test_nothing_runs_but_by_its_hash(pages: dict[str, Path], browser: Any, tmp_path: Path) -> None:
    text = pages["place"].read_text()
    assert "'unsafe-inline'; img-src data:; script-src 'sha256-" in text
    path = tmp_path / "changed.html"
    path.write_text(text.replace("</main>", "</main><script>window.evil = 1</script>"))
    one = Opened(browser, path)
    try:
        assert one.page.evaluate("window.evil") is None
        assert any("Content Security Policy" in error for error in one.errors)
    finally:
        one.close()
