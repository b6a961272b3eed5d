"""`hardplace validate`: the models against published or own measurements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hardplace.cli import options
from hardplace.cli.app import app
from hardplace.cli.printing import say_json
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from hardplace.cost.gpu.fitting.errors import ErrorTable
    from hardplace.cost.gpu.types import GpuModel

_FILES = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
_DEVICE = click.option(
    "--device", required=True, help="GPU: a name, a device's TOML file, or a calibrated model's file."
)
_ALL = click.option("--all-rows", is_flag=True, help="Judge on all rows, not only on those that no fit has seen.")


_RUNS = (
    click.option("--data", type=click.Path(path_type=Path), help="Runs (CSV).  [default: the published ones]"),
    click.option("--split", type=click.Choice(["test", "calibration", "all"]), default="all", show_default=True),
    click.option("--json", "as_json", is_flag=True, help="Print a line of JSON a row."),
    click.option("--markdown", is_flag=True, help="Print the tables as docs/validation.md has them."),
)


def of_runs(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of `validate training`."""
    for option in reversed(_RUNS):
        command = option(command)
    return command


@app.group(invoke_without_command=True)
@of_runs
@click.pass_context
def validate(context: click.Context, data: Path | None, split: str, as_json: bool, markdown: bool) -> None:
    """Compare the models with measurements; without a command: published training runs (`validate training`)."""
    if context.invoked_subcommand is None:
        from hardplace.cli.validate_training import show_runs

        show_runs(data, split, as_json=as_json, markdown=markdown)
    elif data is not None or split != "all" or as_json or markdown:
        raise BadInput(f"validate: expected options after {context.invoked_subcommand}, not before it")


@validate.command()
@_FILES
@_DEVICE
@_ALL
@click.option("--transfer", metavar="NAME", help="Use the figures of this GPU with DEVICE's datasheet.")
@click.option("--scaled", is_flag=True, help="Divide out the median ratio first (data of another absolute speed).")
@options.as_json
def gemm(
    files: tuple[Path, ...], device: str, all_rows: bool, transfer: str | None, scaled: bool, as_json: bool
) -> None:
    """Compare the GEMM model with measured GEMMs (CSV)."""
    from hardplace.cost.gpu.fitting.calibrate import check_units, least_s
    from hardplace.cost.gpu.fitting.errors import gemm_errors
    from hardplace.cost.gpu.measured import read_gemms

    model = _model(device, transfer)
    rows = read_gemms(_texts(files))
    if rows is None:
        raise BadInput(f"{files[0]}: no GEMMs: expected columns m, n, k and latencies")
    check_units(rows.time_s, least_s(rows, model.datasheet), model.datasheet, str(files[0]), rows.unit_s)
    _print([gemm_errors(model, rows, every_row=all_rows, scaled=scaled)], as_json)


@validate.command()
@_FILES
@_DEVICE
@_ALL
@options.as_json
def attention(files: tuple[Path, ...], device: str, all_rows: bool, as_json: bool) -> None:
    """Compare the attention model with measured attention kernels (CSV), by backend."""
    from hardplace.cost.gpu.fitting.calibrate import attention_least_s, check_units
    from hardplace.cost.gpu.fitting.errors import attention_errors
    from hardplace.cost.gpu.measured import read_attention

    model, rows = _model(device, None), read_attention(_texts(files))
    if rows is None:
        raise BadInput(f"{files[0]}: no attention: expected columns num_heads, head_dim, ... and us")
    check_units(rows.time_s, attention_least_s(rows, model.datasheet), model.datasheet, str(files[0]))
    _print(attention_errors(model, rows, every_row=all_rows), as_json)


@validate.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def gpu(folder: Path) -> None:
    """Print a Markdown table of all files gemm_DEVICE.csv.gz and attention_DEVICE.csv.gz in FOLDER, and of transfer."""
    from hardplace.cost.gpu.fitting.errors import attention_errors, gemm_errors, markdown
    from hardplace.cost.gpu.measured import read_attention, read_gemms
    from hardplace.cost.gpu.models import shipped, transferred

    tables, carried = [], []
    if not any(folder.glob("gemm_*.csv.gz")) and not any(folder.glob("attention_*.csv.gz")):
        raise BadInput(f"validate gpu: {folder}: expected files gemm_DEVICE.csv.gz or attention_DEVICE.csv.gz in it")
    for path in sorted(folder.glob("gemm_*.csv.gz")):
        name = path.name.removeprefix("gemm_").removesuffix(".csv.gz")
        rows = read_gemms(_texts([path]))
        if rows is not None:
            tables.append(gemm_errors(shipped(name), rows, every_row=False))
            for other in _fully_fitted():
                if other != name:
                    model = transferred(shipped(name).datasheet, other)
                    plain, scaled = (gemm_errors(model, rows, every_row=False, scaled=one) for one in (False, True))
                    carried.append((name, other, plain.rows[1], scaled.rows[1].mean))
    for path in sorted(folder.glob("attention_*.csv.gz")):
        name = path.name.removeprefix("attention_").removesuffix(".csv.gz")
        kernels = read_attention(_texts([path]))
        if kernels is not None:
            tables += attention_errors(shipped(name), kernels, every_row=False)
    click.echo(f"## Held-out shapes\n\n{markdown(tables)}\n\n## Transfer\n")
    click.echo("m >= 1024, n and k >= 512; figures of another GPU with the device's own datasheet, no row measured.\n")
    click.echo("| device | figures of | mean error | bias | after one scalar |\n|---|---|--:|--:|--:|")
    for name, other, row, scaled_mean in carried:
        click.echo(f"| {name} | {other} | {row.mean:.1%} | {row.bias:+.1%} | {scaled_mean:.1%} |")


def _fully_fitted() -> tuple[str, ...]:
    from hardplace.cost.gpu.models import fitted_names, shipped

    return tuple(name for name in fitted_names() if shipped(name).residual is not None)


def _model(device: str, transfer: str | None) -> GpuModel:
    from hardplace.cost.gpu.models import gpu_model, transferred

    model = gpu_model(device)
    return model if transfer is None else transferred(model.datasheet, transfer)


def _texts(files: Sequence[Path]) -> list[tuple[str, str]]:
    from hardplace.files import read_text

    return [(str(path), read_text(path)) for path in files]


def _print(tables: Sequence[ErrorTable], as_json: bool) -> None:

    if as_json:
        say_json(tuple(tables))
        return
    from rich.table import Table

    from hardplace.report.console import screen

    for table in tables:
        seen = "shapes that no fit has seen" if table.held_out else "all rows"
        shown = Table("class", "rows", "mean", "worst", "bias", "no residual", "roofline", "noise", box=None)
        for row in table.rows:
            shares = (row.mean, row.worst, row.bias, row.without_residual, row.roofline, row.noise)
            shown.add_row(row.name, str(row.rows), *("" if one is None else f"{one:.1%}" for one in shares))
        scale = f", times {table.scale:.3f}" if table.scale != 1.0 else ""
        click.echo(f"{table.device}, {table.what}: {seen}{scale}")
        screen().print(shown)
