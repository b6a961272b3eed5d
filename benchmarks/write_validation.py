"""Write the training tables of docs/validation.md, its figure and its worst rows, from one pricing of every run.

    python benchmarks/write_validation.py

Reasons of the worst rows: validation/training/reasons.csv (a regular expression of ids, why). After
benchmarks/fit_training.py, benchmarks/alike_runs.py and benchmarks/memory_spread.py, whose tables it takes.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
from schedule_ratios import text as schedule_gains
from training_tables import FOLDER, GATHERED

from hardplace.csv_table import parse
from hardplace.hardware.catalogue import device
from hardplace.plans.fleet import Pricers
from hardplace.plans.published.rows import rows_of
from hardplace.plans.published.scores import RunScore, by_source, score
from hardplace.report.drawing import LogAxis
from hardplace.report.validation import show_runs

ROOT = Path(__file__).parent.parent
DOCUMENT, FIGURE = ROOT / "docs/validation.md", ROOT / "docs/images/validation.svg"
FIRST = "**Sources left out of the fit, calibration splits**"
UNSEEN = "**torchtitan (torchtitan.csv), a source that no fit has seen**"
MEMORY = "**Memory of two more sources (memory.csv), that no fit has seen**"
SCHEDULES = "**Pipeline schedules (schedules.csv), a source that no fit has seen**"
OTHERS = "**More runs (runs-2026b.csv), whole sources**"
WORST = 20
COLOURS = ("#4477aa", "#ee6677", "#228833", "#b8860b", "#66ccee", "#aa3377", "#555555", "#e07b39")  # Tol's bright
SHAPES = ("circle", "square", "triangle", "diamond")
MOST = 1.8  # ratio at the top of the figure


def scores(name: str, known: Pricers) -> list[RunScore]:
    """Return every row of a table of runs beside its prediction."""
    path = FOLDER / name
    return [score(row, known) for row in rows_of(parse(path.read_text(), str(path)))]


def printed(rows: Sequence[RunScore]) -> str:
    """Return what `hardplace validate training --markdown` prints of rows."""
    with redirect_stdout(io.StringIO()) as text:
        show_runs(rows, markdown=True)
    return text.getvalue().strip()


def worst(rows: Sequence[RunScore]) -> str:
    """Return the table of the rows that are most off, and why."""
    with (FOLDER / "reasons.csv").open() as text:
        reasons = [(re.compile(row["ids"]), row["reason"]) for row in csv.DictReader(text)]
    lines = [
        f"**The {WORST} worst rows of all that count**",
        "",
        "| row | split | predicted, s | measured, s | off | why |",
        "|---|---|---:|---:|---:|---|",
    ]
    listed = [(one.error, one) for one in rows if one.counted and one.error is not None]
    for error, one in sorted(listed, key=lambda item: -abs(item[0]))[:WORST]:
        why = next((reason for pattern, reason in reasons if pattern.fullmatch(one.id)), "not known")
        seconds = f"{one.predicted_s:.4g} | {one.measured_s:.4g}"
        lines.append(f"| {one.id} | {one.split} | {seconds} | {error:+.1%} | {why} |")
    return "\n".join(lines)


def unfitted(rows: Sequence[RunScore]) -> str:
    """Return the table of gathered runs that are in no fit, by source, and how many of their steps lie in their 80 %
    intervals."""
    counted = [one for one in rows if one.counted and one.error is not None and one.split != "calibration"]
    *sources, whole = by_source(counted)
    inside = {name: [one.inside for one in counted if one.source == name] for name in (one.name for one in sources)}
    shares = {name: sum(map(bool, own)) / len(own) for name, own in inside.items()}
    nvidia = by_source(one for one in counted if one.run and device(one.run.device).vendor == "NVIDIA")[:-1]
    lines = [
        "**Gathered runs that are in no fit, by source**",
        "",
        "| source | rows | mean | bias | inside their 80 % interval |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {one.name} | {one.rows} | {one.mean:.1%} | {one.bias:+.1%} | {shares[one.name]:.0%} |"
            for one in sources
        ),
        f"| all {len(sources)} sources, mean | {whole.rows} | {np.mean([one.mean for one in sources]):.1%} | "
        f"| {np.mean(list(shares.values())):.0%} |",
        f"| all {len(sources)} sources, median | | {np.median([one.mean for one in sources]):.1%} | | |",
    ]
    for what, found in (("mean", np.mean), ("median", np.median)):
        named = f"{len(nvidia)} of NVIDIA's GPUs, {what}"
        lines.append(f"| {named} | {sum(one.rows for one in nvidia)} | {found([one.mean for one in nvidia]):.1%} | | |")
    return "\n".join(lines)


def mark(shape: str, x: float, y: float, colour: str, *, filled: bool) -> str:
    """Return a point of the figure."""
    paint = f'fill="{colour if filled else "none"}" stroke="{colour}"'
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" {paint}/>'
    corners = {
        "square": ((-3, -3), (3, -3), (3, 3), (-3, 3)),
        "triangle": ((0, -4), (3.5, 3), (-3.5, 3)),
        "diamond": ((0, -4), (4, 0), (0, 4), (-4, 0)),
    }[shape]
    return f'<polygon points="{" ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)}" {paint}/>'


def figure(rows: Sequence[RunScore]) -> str:
    """Return the drawing of predicted over measured seconds, a point a row, a colour and a shape a source."""
    counted = [one for one in rows if one.counted and one.predicted_s and one.measured_s]
    across = LogAxis(low=0.05, high=1000.0, start=60.0, end=640.0)
    up = LogAxis(low=1.0 / MOST, high=MOST, start=420.0, end=30.0)
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 980 470" font-family="sans-serif" font-size="11">',
        "<title>Predicted over measured seconds of a step, by source</title>",
        '<rect width="980" height="470" fill="white"/>',
    ]
    for ratio in (0.6, 0.8, 0.9, 1.0, 1.1, 1.25, 1.6):
        y, dark = up.at(ratio), "#333" if ratio == 1.0 else "#ddd"
        parts.append(f'<line x1="60" x2="640" y1="{y:.1f}" y2="{y:.1f}" stroke="{dark}"/>')
        parts.append(f'<text x="52" y="{y + 4:.1f}" text-anchor="end">{ratio - 1.0:+.0%}</text>')
    for seconds in across.ticks():
        x = across.at(seconds)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="30" y2="420" stroke="#eee"/>')
        parts.append(f'<text x="{x:.1f}" y="436" text-anchor="middle">{seconds:g}</text>')
    parts.append('<text x="350" y="456" text-anchor="middle">measured seconds of a step</text>')
    parts.append('<text x="60" y="20">predicted over measured; filled: test split, hollow: the fit has seen it</text>')
    for place, source in enumerate(dict.fromkeys(one.source for one in counted)):
        colour, shape = COLOURS[place % len(COLOURS)], SHAPES[(place // len(COLOURS) + place) % len(SHAPES)]
        own = [one for one in counted if one.source == source]
        for one in own:
            ratio = (one.predicted_s or 0.0) / (one.measured_s or math.inf)
            x, y = across.at(one.measured_s or 0.05), up.at(ratio)
            parts.append(mark(shape, x, y, colour, filled=one.split == "test"))
        name = source.removeprefix("github.com/").partition("@")[0]
        parts.append(mark(shape, 664, 40 + 19 * place, colour, filled=True))
        parts.append(f'<text x="676" y="{44 + 19 * place}">{name}, {len(own)} rows</text>')
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    before, _, tables = DOCUMENT.read_text().partition(FIRST)
    _, heading, after = tables.partition("\n## ")
    known: Pricers = {}
    own, more = scores("training.csv", known), scores("runs-2026b.csv", known)
    gathered = {path.name: scores(path.name, known) for path in GATHERED}
    parts = [
        (FOLDER / "left_out.md").read_text().strip(),
        "![Predicted over measured seconds of a step, by source](images/validation.svg)",
        worst([*own, *more]),
        (FOLDER / "alike.md").read_text().strip(),
        printed(own),
        (FOLDER / "memory.md").read_text().strip(),
        OTHERS,
        printed(more),
        UNSEEN,
        printed(scores("torchtitan.csv", known)),
        MEMORY,
        printed(scores("memory.csv", known)),
        SCHEDULES,
        printed(scores("schedules.csv", known)),
        schedule_gains().strip(),
        unfitted([one for rows in gathered.values() for one in rows]),
        *(
            part
            for name, rows in gathered.items()
            for part in (f"**Gathered runs ({name}), whole sources**", printed(rows))
        ),
    ]
    DOCUMENT.write_text(before + "\n\n".join(parts) + "\n" + heading + after)
    FIGURE.write_text(figure([*own, *more]))


if __name__ == "__main__":
    main()
