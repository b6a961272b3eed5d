"""`hardplace tables`: embedding tables on many devices."""

from __future__ import annotations

from pathlib import Path

import click

from hardplace.cli import folders, options
from hardplace.cli.app import app
from hardplace.cli.printing import end_infeasible, give_answer, say_written


@app.command()
@click.argument("file", metavar="FILE")
@click.option(
    "--sharding",
    multiple=True,
    help="A sharding that is allowed; repeat the option for more.  [default: the file's, or all]",
)
@click.option(
    "--prices",
    type=click.Choice(["torchrec", "step"]),
    default="torchrec",
    show_default=True,
    help="TorchRec's, of the busiest device; or ours, of the whole step.",
)
@click.option("--batch", type=click.IntRange(min=1), multiple=True, help="Of a device; again to search several.")
@click.option("--devices", type=click.IntRange(min=1), multiple=True, help="How many; again to search several.")
@options.seconds("Stop after about this many seconds.", 10.0)
@options.folder("Folder for tables.json.  [default: hardplace-out/FILE-tables]")
@options.as_json
def tables(
    file: str,
    sharding: tuple[str, ...],
    prices: str,
    batch: tuple[int, ...],
    devices: tuple[int, ...],
    limit_s: float,
    out: Path | None,
) -> None:
    """Shard the embedding tables of FILE over equal devices so that the busiest takes least, with a bound.

    FILE names devices, their HBM, the batch and the tables (docs/formats.md, "Embedding tables"). Prices are those of
    TorchRec's planner, or ours of the whole step (the file's `step` has the MLPs).
    """
    from hardplace import api
    from hardplace.answers import Infeasible
    from hardplace.report.tables import show_tables
    from hardplace.report.terminal import show_infeasible

    folders.check_writable(out)
    found = api.tables(file, sharding=sharding, prices=prices, batch=batch, devices=devices, seconds=limit_s)
    if isinstance(found, Infeasible):
        end_infeasible(found, show_infeasible)

    def keep() -> None:
        folder = folders.folder_of(f"{Path(file).name.split('.')[0]}-tables", out)
        found.save(folder / "tables.json")
        say_written(f"{folder}/tables.json")

    give_answer(found, show_tables, keep)
