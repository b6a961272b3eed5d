"""`hardplace validate` and `hardplace validate training`: published training runs through the model of plans."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hardplace.cli.printing import say_json
from hardplace.cli.validate import of_runs, validate
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hardplace.plans.published.scores import ErrorSummary, RunScore

_FIELDS = (
    "id",
    "predicted_s",
    "measured_s",
    "error",
    "not_modelled",
    "split",
    "counted",
    "memory_gib",
    "published_gib",
    "fits",
)
_PUBLISHED = Path("validation/training/training.csv")


@validate.command()
@of_runs
def training(data: Path | None, split: str, as_json: bool, markdown: bool) -> None:
    """Predict the step times of published training runs and print the errors by source.

    Rows of grade C, with a flag, without a measured time or not modelled do not count in the summaries; every row of
    the data has its line with --json. Efficiencies are fitted on the calibration split only.
    """
    show_runs(data, split, as_json=as_json, markdown=markdown)


def _published() -> Path:
    """Return the table of published runs, here or where this package's source is."""
    for folder in (Path(), Path(__file__).parents[3]):
        if (folder / _PUBLISHED).is_file():
            return folder / _PUBLISHED
    raise BadInput(f"validate: {_PUBLISHED}: not here: expected the repository's folder, or --data FILE.csv")


def show_runs(data: Path | None, split: str, *, as_json: bool, markdown: bool) -> None:
    """Print what is predicted of runs (None: the published ones)."""
    from hardplace.csv_table import parse
    from hardplace.files import read_text
    from hardplace.plans.fleet import Pricers
    from hardplace.plans.published.rows import rows_of
    from hardplace.plans.published.scores import score

    path = data or _published()
    known: Pricers = {}
    rows = [score(row, known) for row in rows_of(parse(read_text(path), str(path)))]
    rows = [one for one in rows if split == "all" or one.split == split]
    if as_json:
        say_json([{name: getattr(one, name) for name in _FIELDS} for one in rows])
        return
    for name in sorted({one.split for one in rows}, reverse=True):
        part = [one for one in rows if one.split == name]
        _print(f"Step times, {name} split", part, markdown=markdown)
        _print(f"Memory of the fullest stage, {name} split", part, memory=True, markdown=markdown)
    _reasons(rows, markdown=markdown)


def _print(title: str, rows: list[RunScore], *, memory: bool = False, markdown: bool) -> None:
    from hardplace.plans.published.scores import by_source

    found = by_source(rows, memory=memory)
    heading = ("source", "rows", "mean", "median", "worst", "which", "bias", "rank correlation")
    cells = [_cells(one) for one in found]
    if len(found) > 2:
        mean = sum(one.mean for one in found[:-1]) / (len(found) - 1)
        cells.append(("mean of the sources' means", "", f"{mean:.1%}", "", "", "", "", ""))
    if cells:
        _table(title, heading, cells, markdown=markdown)


def _cells(one: ErrorSummary) -> tuple[str, ...]:
    rank = "" if one.rank is None else f"{one.rank:.3f}"
    shares = (f"{one.mean:.1%}", f"{one.median:.1%}", f"{one.worst:.1%}")
    return (one.name, str(one.rows), *shares, one.worst_id, f"{one.bias:+.1%}", rank)


def _reasons(rows: list[RunScore], *, markdown: bool) -> None:
    from collections import Counter

    reasons = Counter(one.not_modelled for one in rows if one.not_modelled)
    cells = [(reason, str(count)) for reason, count in reasons.most_common()]
    room = [one for one in rows if one.fits is not None]
    cells.append((f"ran out of memory, {sum(one.oom for one in room)} runs: fit by the model", _count(room, oom=True)))
    cells.append((f"ran, {sum(not one.oom for one in room)} runs: do not fit by the model", _count(room, oom=False)))
    short = [one for one in room if not one.oom and not one.fits]
    cells.append(
        ("of these, on TPUs, or recompute or offload not stated by the source", str(sum(one.unstated for one in short)))
    )
    left = sum(not one.counted and not one.not_modelled for one in rows)
    cells.append(("predicted, not counted: grade C, flagged, or nothing measured", str(left)))
    _table(f"Not modelled, {sum(reasons.values())} of {len(rows)} rows", ("reason", "rows"), cells, markdown=markdown)


def _count(rows: list[RunScore], *, oom: bool) -> str:
    return str(sum(one.oom is oom and one.fits is oom for one in rows))


def _table(title: str, heading: tuple[str, ...], cells: Sequence[tuple[str, ...]], *, markdown: bool) -> None:
    if markdown:
        lines = [f"**{title}**", "", "| " + " | ".join(heading) + " |", "|---|" + "---:|" * (len(heading) - 1)]
        click.echo("\n".join([*lines, *("| " + " | ".join(row) + " |" for row in cells), ""]))
        return
    from rich.table import Table

    from hardplace.report.console import screen

    table = Table(*heading, box=None, title=title, title_justify="left")
    for row in cells:
        table.add_row(*row)
    screen().print(table)
