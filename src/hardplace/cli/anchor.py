"""`hardplace anchor`: one to five measured steps of one's own system make its predictions surer."""

from __future__ import annotations

from pathlib import Path

import click

from hardplace.cli import options
from hardplace.cli.app import app
from hardplace.cli.printing import json_asked, say, say_json, say_written


@app.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), default="anchor.json", show_default=True,
    help="File to write, for --calibrated of place, estimate, replan and shape.",
)  # fmt: skip
@options.as_json
def anchor(runs: Path, out: Path) -> None:
    """Fit the model to a few measured steps of your system, and write the result to a file. RUNS: a CSV with the
    columns of validation/training/training.csv, seconds in target_iter_s; or with the columns plan (a plan's file) and
    target_iter_s, and model, device, node, memory_gb (GiB) where there are any.

    \b
    hardplace anchor my-runs.csv --out my-cluster.json
    hardplace place llama3-70b --device h100-sxm --devices 256 --batch 512 --calibrated my-cluster.json
    """
    from hardplace.api.measurements import anchored_steps
    from hardplace.files import write
    from hardplace.report.anchor import anchor_lines

    found, odd = anchored_steps(runs)
    write(out, found)
    if json_asked():
        say_json(found)
        return
    for line in anchor_lines(found, odd):
        say(line)
    say_written(f"{out}")
