"""`hardplace anchor`: one to five measured steps of one's own system make its predictions surer."""

from __future__ import annotations

import math
from pathlib import Path

import click

from hardplace.cli import options
from hardplace.cli.app import app
from hardplace.cli.printing import say, say_json, say_written


@app.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), default="anchor.json", show_default=True,
    help="File to write, for --calibrated of place, estimate and replan.",
)  # fmt: skip
@options.as_json
def anchor(runs: Path, out: Path, as_json: bool) -> None:
    """Learn from measured steps of one system what its other plans take, and write it as a file. RUNS: a CSV with the
    columns of validation/training/training.csv, seconds in target_iter_s.

    \b
    hardplace anchor my-runs.csv --out my-cluster.json
    hardplace place llama3-70b --device h100-sxm --devices 256 --batch 512 --calibrated my-cluster.json
    """
    from hardplace.csv_table import parse
    from hardplace.files import read_text, write
    from hardplace.plans.anchoring import anchored
    from hardplace.plans.published.own import measured_runs, next_runs
    from hardplace.plans.published.rows import rows_of

    rows = rows_of(parse(read_text(runs), str(runs)))
    found, odd = anchored(measured_runs(rows, str(runs)), next_runs(rows))
    write(out, found)
    if as_json:
        say_json(found)
        return
    said = f"with {found.software}" if found.software else "no software named"
    say(f"{found.device} {said}: {found.runs} measured steps")
    say(f"80 % interval of a like step: a factor {math.exp(found.half):.3f} either way")
    say("figures over the shipped ones: " + ", ".join(f"{one.figure} {one.value:.3g}" for one in found.factors))
    if found.next_run:
        say(f"would tell most: {found.next_run}")
    for line in odd:
        say(f"note: {line}")
    say_written(f"{out}")
