"""`hardplace calibrate`: fit the GPU model on measured kernels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hardplace.cli import options
from hardplace.cli.app import app
from hardplace.cli.printing import say_json

if TYPE_CHECKING:
    from hardplace.cost.gpu.types import GpuModel


@app.command()
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--device", "name", required=True, help="GPU that was measured: a name of the catalogue or a TOML file.")
@click.option("--relative", help="GPU whose figures stand in for what DATA lacks.  [default: itself, or the nearest]")
@click.option("--source", default="", help="Where the data are from, for the provenance.  [default: the file names]")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write.  [default: DEVICE.gpu.json]"
)
@options.as_json
def calibrate(
    data: tuple[Path, ...], name: str, relative: str | None, source: str, out: Path | None, as_json: bool
) -> None:
    """Fit the times of kernels on a GPU to DATA, CSV files as `hardplace verify` and its script write them.

    One (n, k) in four is never fitted, by its hash; the errors printed are on those. With few rows only three figures
    are fitted and the rest is of the nearest relative; with fewer still all is, and both are said.
    """
    from hardplace.cost.gpu.datasheet import datasheet
    from hardplace.cost.gpu.datasheet import gpu as find
    from hardplace.cost.gpu.fitting import calibrate as fitting
    from hardplace.cost.gpu.models import fitted_names, relative_of, shipped
    from hardplace.files import read_text, write

    sheet = datasheet(find(name))
    known = fitted_names()
    if relative is None and known:
        relative = sheet.name if sheet.name in known else relative_of(sheet, known)
    files = [(str(path), read_text(path)) for path in data]
    found = fitting.calibrate(
        sheet, files, shipped(relative) if relative else None, source or ", ".join(path.name for path in data)
    )
    where = out or Path(f"{sheet.name}.gpu.json")
    write(where, found)
    if as_json:
        say_json(found.fits)
    else:
        _show(found, where)


def _show(found: GpuModel, where: Path) -> None:
    """Print the parts, how each was had, and its held-out error."""
    from rich.table import Table

    from hardplace.report.console import screen

    table = Table("part", "how", "rows", "held out", "error", "error, large", "noise", box=None)
    for fit in found.fits:
        shares = (fit.held_out_error, fit.held_out_error_large, fit.noise)
        cells = ("" if share is None else f"{share:.1%}" for share in shares)
        table.add_row(fit.part, fit.method, str(fit.rows), str(fit.held_out_rows), *cells)
    screen(soft_wrap=True).print(table)
    click.echo(f"written: {where}")
