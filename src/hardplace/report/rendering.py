"""Templates to HTML: what every page shares is in base.html, what those with figures share in figures.html."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hardplace.certificate import percent_at_most
from hardplace.report import text as words
from hardplace.units import format_quantity

if TYPE_CHECKING:
    import plotly.graph_objects as go


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
        percent=words.percent,
        percent_at_most=percent_at_most,
        area=words.area,
    )
    return environment


def rendered(template: str, **values: Any) -> str:
    """Return the self-contained page that a template of base.html makes of these values."""
    return _environment().get_template(template).render(**values)


def rendered_with_figures(template: str, figures: dict[str, go.Figure], **values: Any) -> str:
    """Return the page of a template of figures.html; a figure goes where the element figure-NAME stands."""
    from plotly.offline import get_plotlyjs

    # Plotly's encoder escapes <, > and /, so that a figure is safe within its script element.
    found = {name: Markup(figure.to_json()) for name, figure in figures.items()}
    return rendered(template, plotly=Markup(get_plotlyjs()), figures=found, **values)
