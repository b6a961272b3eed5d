"""Scores of fp32 kernel models, of the study of learned models, for the terminal or as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich.table import Table

from hardplace.cost.learned.judge import FamilyScore, PredictorScore, pooled_score
from hardplace.cost.learned.study.types import RegretScore, StudyResults
from hardplace.csv_table import parse
from hardplace.files import read_text
from hardplace.report.console import screen
from hardplace.units import percent

_PUBLISHED_NAMES = ("Roofline", "Habitat", "Li et al.", "NeuSight")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTable:
    """A table of texts: a title, a head, rows; cells from the third on are numbers."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def score_table(scores: Sequence[FamilyScore]) -> ScoreTable:
    """Return the table of the shipped model's errors by family and device."""
    names = [one.predictor for one in scores[0].scores]
    rows = [
        (
            of.family, of.device, of.how, f"{of.distance:.1f}", str(of.scores[-1].rows),
            *(percent(one.mape) for one in of.scores), _interval(of.scores[-1]), f"{of.scores[-1].tau:.3f}",
        )
        for of in scores
    ]  # fmt: skip
    head = ("kernels", "device", "figures", "distance", "rows", *names, "95 %", "tau")
    return ScoreTable(title="Mean absolute error", head=head, rows=tuple(rows))


def published_table(scores: Sequence[FamilyScore], published: Path) -> ScoreTable:
    """Return ours beside the published errors of other methods, devices measured and not."""
    table = parse(read_text(published), str(published))
    cells = zip(*(table.texts(name) for name in ("method", "set", "op", "mape_percent")), strict=True)
    theirs = {(method, where, op): f"{float(value):.1f} %" for method, where, op, value in cells}
    rows = []
    for where, title in (("in_distribution", "measured"), ("out_of_distribution", "not measured")):
        for family in dict.fromkeys(of.family for of in scores):
            chosen = [of for of in scores if of.family == family and (of.how == "all") == (title == "not measured")]
            if not chosen:
                continue
            count, mean = pooled_score(chosen, "shipped")
            others = (theirs.get((name, where, family), "-") for name in _PUBLISHED_NAMES)
            rows.append((title, family, str(count), percent(mean), *others))
    return ScoreTable(
        title="Beside NeuSight's release (its devices not measured: L4, A100 80 GB, H100; ours: L4)",
        head=("device", "kernels", "rows", "ours", *_PUBLISHED_NAMES), rows=tuple(rows),
    )  # fmt: skip


def study_tables(results: StudyResults) -> tuple[ScoreTable, ...]:
    """Return a table for each question of the study: mean error (95 % interval), Kendall's tau; regrets of mappings."""
    tables = []
    for question in dict.fromkeys(result.question for result in results.splits):
        of = [result for result in results.splits if result.question == question]
        names = list(dict.fromkeys(one.predictor for result in of for one in result.scores))
        rows = []
        for result in of:
            known = {one.predictor: one for one in result.scores}
            cells = [_cell(known.get(name)) for name in names]
            rows.append((result.split, str(result.rows), *cells))
        tables.append(ScoreTable(title=question, head=("split", "rows", *names), rows=tuple(rows)))
    for question in dict.fromkeys(result.question for result in results.mappings):
        chosen = [result for result in results.mappings if result.question == question]
        names = [one.predictor for one in chosen[0].scores]
        lines = [
            (result.split, f"{result.layers} / {result.mappings}", *(_regret(one) for one in result.scores))
            for result in chosen
        ]
        head = ("accelerator", "layers / mappings", *names)
        title = f"{question}: cycles beyond the best, first choice (worst layer) / best of five, tau"
        tables.append(ScoreTable(title=title, head=head, rows=tuple(lines)))
    if results.fusions:
        head = ("accelerator", "block", "groups that fit", *(one.predictor for one in results.fusions[0].scores))
        fused = tuple(
            (of.accelerator, of.block, str(of.ways), *(f"{percent(one.regret)}, {one.groups}" for one in of.scores))
            for of in results.fusions
        )
        title = "fusions: cycles beyond the best grouping's, and groups chosen"
        tables.append(ScoreTable(title=title, head=head, rows=fused))
    return tuple(tables)


def _regret(one: RegretScore) -> str:
    return f"{percent(one.top1)} ({percent(one.worst1, 0)}) / {percent(one.top5)}, {one.tau:.2f}"


def show(tables: Sequence[ScoreTable], markdown: bool) -> None:
    """Print tables."""
    for table in tables:
        if markdown:
            click.echo(f"{table.title}\n\n| {' | '.join(table.head)} |\n|{'---|' * len(table.head)}")
            click.echo("\n".join(f"| {' | '.join(row)} |" for row in table.rows) + "\n")
            continue
        shown = Table(box=None, title=table.title, title_justify="left")
        for place, name in enumerate(table.head):
            shown.add_column(name, justify="left" if place < 2 else "right")
        for row in table.rows:
            shown.add_row(*row)
        screen().print(shown)


def _interval(one: PredictorScore) -> str:
    return f"{percent(one.low)} to {percent(one.high)}"


def _cell(one: PredictorScore | None) -> str:
    return "-" if one is None else f"{percent(one.mape)} ({_interval(one)}), {one.tau:.2f}"
