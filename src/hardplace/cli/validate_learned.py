"""`hardplace validate learned`: fp32 kernels of GPUs by equation and learned residual, beside what others published."""

from __future__ import annotations

from pathlib import Path

import click

from hardplace.cli import options
from hardplace.cli.printing import json_asked, say_json
from hardplace.cli.validate import validate
from hardplace.errors import BadInput


@validate.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--sheets", type=click.Path(path_type=Path), help="Sheets of the devices (CSV).  [default: the shipped]")
@click.option("--study", is_flag=True, help="Train and compare all predictors on all splits (extra learned; minutes).")
@click.option("--markdown", is_flag=True, help="Print the tables as docs/learned.md has them.")
@options.as_json
def learned(files: tuple[Path, ...], sheets: Path | None, study: bool, markdown: bool) -> None:
    """Compare the models of fp32 kernels with measured ones (CSV: op, device, b, m, n, k, h, latency_ms).

    Without FILES: NeuSight's test kernels, within this repository only. A device that was not measured is predicted
    from its sheet alone.
    """
    from hardplace.api.learned import kernel_scores, learned_study, published_kernels
    from hardplace.report.learned import published_table, score_table, show, study_tables

    if study and (files or sheets):
        raise BadInput("study", str((files or (sheets,))[0]), "no FILES and no sheets: the study has its own splits")
    if study:
        results = learned_study()
        say_json(results) if json_asked() else show(study_tables(results), markdown)
        return
    scores = kernel_scores(files, sheets)
    if json_asked():
        say_json(scores)
        return
    tables = [score_table(scores)]
    if not files and sheets is None:
        tables.append(published_table(scores, published_kernels() / "published.csv"))
    show(tables, markdown)
