"""`hardplace validate`: the models against published or own measurements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hardplace.cli import folders, options
from hardplace.cli.app import app
from hardplace.cli.printing import json_asked, say_json, say_written
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_FILES = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
_DEVICE = click.option(
    "--device", required=True, help="GPU: a name, a device's TOML file, or a calibrated model's file."
)
_ALL = click.option("--all-rows", is_flag=True, help="Evaluate all rows, not only those that no fit has seen.")
_RUNS = (
    click.option("--data", type=click.Path(path_type=Path), help="Runs (CSV).  [default: the published ones]"),
    click.option("--split", type=click.Choice(["test", "calibration", "all"]), default="all", show_default=True),
    options.as_json_option("Print a line of JSON a row."),
    click.option("--markdown", is_flag=True, help="Print the tables as docs/validation.md has them."),
    click.option(
        "--page", "page_path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
        help="Write a page: predicted against measured, by source, and every run.",
    ),
)  # fmt: skip


def _of_runs(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of `validate training`."""
    for option in reversed(_RUNS):
        command = option(command)
    return command


@app.group(invoke_without_command=True)
@_of_runs
@click.pass_context
def validate(context: click.Context, data: Path | None, split: str, markdown: bool, page_path: Path | None) -> None:
    """Compare the models with measurements; without a command: published training runs (`validate training`)."""
    if context.invoked_subcommand is None:
        _runs(data, split, page_path, markdown=markdown)
    elif data is not None or split != "all" or json_asked() or markdown or page_path is not None:
        raise BadInput(f"validate: expected options after {context.invoked_subcommand}, not before it")


@validate.command()
@_of_runs
def training(data: Path | None, split: str, markdown: bool, page_path: Path | None) -> None:
    """Predict the step times of published training runs and print the errors by source.

    Rows of grade C, with a flag, without a measured time or not modelled do not count in the summaries; every row of
    the data has its line with --json. Efficiencies are fitted on the calibration split only.
    """
    _runs(data, split, page_path, markdown=markdown)


def _runs(data: Path | None, split: str, page_path: Path | None, *, markdown: bool) -> None:
    from hardplace.api.measurements import PUBLISHED, scored_runs
    from hardplace.files import write_text
    from hardplace.report.validation import run_records, show_runs

    found = scored_runs(data, split)
    say_json(run_records(found)) if json_asked() else show_runs(found, markdown=markdown)
    if page_path is not None:
        from hardplace.report.validation_page import page

        write_text(page_path, page(found, f"the runs of {(data or PUBLISHED).name}", folders.command()))
        say_written(f"{page_path} (open it in a browser)")


@validate.command()
@_FILES
@_DEVICE
@_ALL
@click.option("--transfer", metavar="NAME", help="Use the figures of this GPU with DEVICE's datasheet.")
@click.option("--scaled", is_flag=True, help="Divide out the median ratio first (data of another absolute speed).")
@options.as_json
def gemm(files: tuple[Path, ...], device: str, all_rows: bool, transfer: str | None, scaled: bool) -> None:
    """Compare the GEMM model with measured GEMMs (CSV)."""
    from hardplace.api.measurements import gemm_comparison
    from hardplace.report.validation import show_errors

    found = gemm_comparison(files, device, transfer=transfer, every_row=all_rows, scaled=scaled)
    say_json(tuple(found)) if json_asked() else show_errors(found)


@validate.command()
@_FILES
@_DEVICE
@_ALL
@options.as_json
def attention(files: tuple[Path, ...], device: str, all_rows: bool) -> None:
    """Compare the attention model with measured attention kernels (CSV), by backend."""
    from hardplace.api.measurements import attention_comparison
    from hardplace.report.validation import show_errors

    found = attention_comparison(files, device, every_row=all_rows)
    say_json(tuple(found)) if json_asked() else show_errors(found)


@validate.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def gpu(folder: Path) -> None:
    """Print a Markdown table of all files gemm_DEVICE.csv.gz and attention_DEVICE.csv.gz in FOLDER, and of transfer."""
    from hardplace.api.measurements import gpu_comparison
    from hardplace.report.validation import gpu_markdown

    click.echo(gpu_markdown(*gpu_comparison(folder)))
