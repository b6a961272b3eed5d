"""`hardplace runs`: the answers in a folder, how far each search got, and its evaluations as a table."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hardplace.cli import folders, options
from hardplace.cli.app import BAD_INPUT, app
from hardplace.cli.printing import json_asked, say, say_json
from hardplace.errors import BadInput


@app.command()
@click.argument("folder", type=click.Path(path_type=Path), default=folders.OUT)
@click.option("--parquet", type=click.Path(dir_okay=False, path_type=Path), help="Write every evaluation to this file.")
@options.as_json
def runs(folder: Path, parquet: Path | None) -> None:
    """List the answers in FOLDER (hardplace-out) and below: of searches, also of shapes, and of compare, the model,
    incumbent, bound, gap, evaluations and why each ended; of other verbs the command.

    A search without an end is still running, or was killed: start it again with the same command, and it resumes
    there. A damaged journal is named on standard error; the others are listed, and the exit code is 2.
    """
    from hardplace.design.journal_rows import FILES, run
    from hardplace.files import write_bytes
    from hardplace.report.runs import show, table

    if not folder.is_dir() and folder != folders.OUT:
        raise BadInput(f"{folder}: expected a folder that `hardplace search` wrote")
    searches, problems = [], []
    for path in sorted(one for file in FILES for one in folder.rglob(file)):
        try:
            searches.append(run(path))
        except BadInput as problem:
            problems.append(str(problem))
    answers = tuple(
        folders.answer(path)
        for path in sorted(folder.rglob(f"*{folders.ASKED}"))
        if not any(
            (path.parent / file).exists() and path.name == f"{asked}{folders.ASKED}" for file, asked in FILES.items()
        )
    )
    found = tuple(searches)
    if parquet is not None:
        write_bytes(parquet, table(found))
    if json_asked():
        say_json((*found, *answers))
    else:
        show(found, answers, str(folder))
        if parquet is not None:
            say(f"written: {parquet}")
    for text in problems:
        say(f"hardplace: {text}", err=True)
    if problems:
        sys.exit(BAD_INPUT)
