"""`hardplace runs`: the searches that left a journal, how far each got, and their evaluations as a table."""

from __future__ import annotations

from pathlib import Path

import click

from hardplace.cli import folders, options
from hardplace.cli.app import app
from hardplace.errors import BadInput


@app.command()
@click.argument("folder", type=click.Path(path_type=Path), default=folders.OUT)
@click.option("--parquet", type=click.Path(dir_okay=False, path_type=Path), help="Write every evaluation to this file.")
@options.as_json
def runs(folder: Path, parquet: Path | None, as_json: bool) -> None:
    """List the runs in FOLDER (hardplace-out) and below: model, incumbent, bound, gap, evaluations, why each ended.

    A run without an end still goes on, or was killed: start it again with the same command, and it goes on from there.
    """
    from hardplace.design.journal import FILE, run
    from hardplace.files import dumps, write_bytes
    from hardplace.report.runs import show, table

    if not folder.is_dir() and folder != folders.OUT:
        raise BadInput(f"{folder}: expected a folder that `hardplace search` wrote")
    paths = sorted(folder.rglob(FILE))
    found = tuple(run(path) for path in paths)
    if parquet is not None:
        write_bytes(parquet, table(found))
    if as_json:
        click.echo(dumps(found))
    else:
        show(found, str(folder))
        if parquet is not None:
            click.echo(f"written: {parquet}")
