"""The models that ship with the package, as a table in the terminal and as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Table

from hardplace.report.console import screen
from hardplace.units import format_quantity
from hardplace.workload.listing import CatalogueModel


def model_rows(models: Sequence[CatalogueModel]) -> list[dict[str, object]]:
    """Return the models of the catalogue as plain values."""
    return [asdict(one) for one in models]


def show_models(models: Sequence[CatalogueModel]) -> None:
    """Print the models of the catalogue."""
    table = Table("model", "parameters", "sequence", "FLOPs a sample", "layers", "distinct", "recorded from")
    for one in models:
        table.add_row(
            one.name,
            f"{one.parameters:,}",
            str(one.sequence_length),
            format_quantity(one.flops_per_sample, "FLOP"),
            str(one.layers),
            str(one.distinct_layers),
            one.source,
        )
    screen().print(table)
