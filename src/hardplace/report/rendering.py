"""Templates to HTML: what every page shares is in base.html, how a chart is drawn in chart.html."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from hardplace.certificate import percent_at_most
from hardplace.report import text as words
from hardplace.report.chart_layout import placed
from hardplace.units import format_quantity, percent


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("hardplace.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(
        quantity=format_quantity,
        number=words.number,
        count=words.count,
        percent=percent,
        percent_at_most=percent_at_most,
        area=words.area,
        gib=words.gib,
        placed=placed,
    )
    return environment


_HASHES = "@script-hashes@"
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_SECTION = re.compile(r"<section(?: id=\"([\w-]+)\")?>\s*<h2>(.*?)</h2>", re.DOTALL)

_DRAWING = re.compile(r'(<svg viewBox="[^"]*" role="img" aria-label="([^"]*)".*?</svg>)', re.DOTALL)


def rendered(template: str, **values: Any) -> str:
    """Return the self-contained page that a template of base.html makes of these values.

    Its own scripts run by their hashes, nothing else does; its sections are listed below its heading.
    """
    page = _environment().get_template(template).render(**values, script_hashes=_HASHES)
    hashes = (base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in _SCRIPT.findall(page))
    return _with_contents(page.replace(_HASHES, " ".join(f"'sha256-{one}'" for one in hashes), 1))


def _with_contents(page: str) -> str:
    """Return a page with a list of its sections after its header, and a name for each of them."""
    links: list[str] = []

    def named(found: re.Match[str]) -> str:
        name = found[1] or f"part-{len(links) + 1}"
        links.append(f'<li><a href="#{name}">{re.sub("<.*?>", "", found[2])}</a></li>')
        return f'<section id="{name}">\n<h2>{found[2]}</h2>'

    page = _DRAWING.sub(r'<div class="draw" tabindex="0" role="group" aria-label="\2">\1</div>', page)
    page = _SECTION.sub(named, page)
    if len(links) < 3:
        return page
    return page.replace(
        "</header>", f'</header>\n<nav class="contents" aria-label="Contents"><ol>{"".join(links)}</ol></nav>', 1
    )
