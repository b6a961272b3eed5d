"""`hardplace calibrate`: fit the GPU model on measured kernels."""

from __future__ import annotations

from pathlib import Path

import click

from hardplace.cli import options
from hardplace.cli.app import app
from hardplace.cli.printing import json_asked, say_json


@app.command()
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--device", "name", required=True, help="GPU that was measured: a name of the catalogue or a TOML file.")
@click.option("--relative", help="GPU whose figures stand in for what DATA lacks.  [default: itself, or the nearest]")
@click.option("--source", default="", help="Where the data are from, for the provenance.  [default: the file names]")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write.  [default: DEVICE.gpu.json]"
)
@options.as_json
def calibrate(data: tuple[Path, ...], name: str, relative: str | None, source: str, out: Path | None) -> None:
    """Fit the kernel times of a GPU to DATA: CSV files from the script that `hardplace verify` writes.

    One (n, k) in four, by its hash, is held out; the errors printed are of these. With few rows only three figures
    are fitted and the rest is of the nearest relative; with fewer still all is, and both are said.
    """
    from hardplace.api.measurements import calibrated_gpu
    from hardplace.files import write
    from hardplace.report.validation import show_fits

    found = calibrated_gpu(data, name, relative=relative, source=source)
    where = out or Path(f"{found.datasheet.name}.gpu.json")
    write(where, found)
    if json_asked():
        say_json(found.fits)
        return
    show_fits(found)
    click.echo(f"written: {where}")
