"""Draws the README's picture: the least step priced of each pair of degrees, and the ten best plans.

python -m benchmarks.readme_picture        writes docs/images/place.svg
"""

from __future__ import annotations

from html import escape
from pathlib import Path

import hardplace as hp
from hardplace.plans.placement.result import PlacementResult
from hardplace.report.placed_page import degree_figure, scatter

FILE = Path(__file__).parents[1] / "docs/images/place.svg"
QUESTION = 'hp.place("llama2-7b", "h100-sxm", 64, batch=64)'
_INK, _QUIET, _LINE = "#1b1f24", "#59626d", "#d9dde2"


def picture() -> str:
    """Return the picture as SVG."""
    found = hp.place("llama2-7b", "h100-sxm", 64, batch=64)
    assert isinstance(found, PlacementResult)
    figure, lines = degree_figure(found), []
    high = figure.height + 320.0

    def text(x: float, y: float, said: str, *, size: int = 12, colour: str = _INK, anchor: str = "start") -> None:
        lines.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}">'
            f"{escape(said)}</text>"
        )

    text(16, 28, f"{found.title}: the least step priced of every pair of degrees", size=15)
    lines.append('<g transform="translate(0 36)">')
    for value, x in figure.columns:
        text(x + 36, 20, f"pipeline {value}", colour=_QUIET, anchor="middle")
    for value, y in figure.rows:
        text(82, y + 23, f"tensor {value}", colour=_QUIET, anchor="end")
    for cell in figure.cells:
        lines.append(
            f'<rect x="{cell.x:.1f}" y="{cell.y:.1f}" width="72" height="36" fill="{cell.fill}" '
            f'fill-opacity="{cell.opacity:.3f}" stroke="{_LINE}"/>'
        )
        text(cell.x + 36, cell.y + 16, cell.text, anchor="middle")
        text(cell.x + 36, cell.y + 30, cell.note if cell.text else "", size=10, anchor="middle")
    lines.append("</g>")
    top = figure.height + 60.0
    text(16, top, "The ten best plans: step against memory of the fullest device", size=15)
    lines.append(f'<g transform="translate(0 {top:.0f})">')
    lines.append(
        f'<path d="M80 20 H700" stroke="{_INK}" stroke-dasharray="4 3"/><path d="M80 220 H700" stroke="{_LINE}"/>'
    )
    text(74, 24, "80 GB", colour=_QUIET, anchor="end")
    text(74, 224, "0", colour=_QUIET, anchor="end")
    text(390, 246, f"step, from {found.best[0].step_s:.4g} s", colour=_QUIET, anchor="middle")
    for x, y, number, _ in scatter(found):
        lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="9" fill="#3f7fbf" fill-opacity="0.45"/>')
        text(x, y + 4, number, size=10, anchor="middle")
    lines.append("</g>")
    pattern = (
        '<defs><pattern id="hatched" width="7" height="7" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><rect width="7" height="7" fill="#f4f6f8"/>'
        f'<rect width="2" height="7" fill="{_QUIET}"/></pattern></defs>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {figure.width:.0f} {high:.0f}" '
        f'font-family="system-ui, sans-serif">{pattern}<rect width="100%" height="100%" fill="#ffffff"/>\n'
        + "\n".join(lines)
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    FILE.write_text(picture(), encoding="utf-8")
    print(f"written: {FILE}")
