"""Measurements: published runs scored, kernels of a GPU compared with its model, a model calibrated, own steps learned
from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hardplace.errors import BadInput

if TYPE_CHECKING:
    from hardplace.cost.gpu.fitting.errors import ErrorTable, TransferError
    from hardplace.cost.gpu.types import GpuModel
    from hardplace.plans.anchors import Anchor
    from hardplace.plans.published.scores import RunScore

PUBLISHED = Path("validation/training/training.csv")  # in the repository, not in the package


def published_runs() -> Path:
    """Return the table of published training runs, here or where this package's source is.

    Raises:
        BadInput: Where there is none.
    """
    for folder in (Path(), Path(__file__).parents[3]):
        if (folder / PUBLISHED).is_file():
            return folder / PUBLISHED
    raise BadInput("data", f"{PUBLISHED} is not here", "the repository's folder, or a CSV of your own")


def scored_runs(data: Path | None = None, split: str = "all") -> list[RunScore]:
    """Predict training runs and compare them with what was measured.

    Args:
        data: A CSV with the columns of `validation/training/training.csv`. None: that one.
        split: test, calibration or all.

    Raises:
        BadInput: For a table without a column, or with a cell that is none, by row and column.
    """
    from hardplace.csv_table import parse
    from hardplace.files import read_text
    from hardplace.plans.fleet import Pricers
    from hardplace.plans.published.rows import rows_of
    from hardplace.plans.published.scores import score

    path = data or published_runs()
    known: Pricers = {}
    rows = rows_of(parse(read_text(path), str(path)))
    return [score(row, known) for row in rows if split in ("all", row["split"])]


def gemm_comparison(
    files: Sequence[Path], device: str, *, transfer: str | None = None, every_row: bool = False, scaled: bool = False
) -> list[ErrorTable]:
    """Compare the model of GEMMs with measured ones.

    Args:
        files: CSV files with columns m, n, k and latencies.
        device: GPU: a name, a device's TOML file, or a calibrated model's file.
        transfer: GPU whose figures are used with the datasheet of `device`. None: its own.
        every_row: Judge on all rows, not only on those that no fit has seen.
        scaled: Divide out the median ratio first.

    Raises:
        BadInput: For files without GEMMs, and for times that no unit explains.
    """
    from hardplace.cost.gpu.fitting.calibrate import check_units, least_s
    from hardplace.cost.gpu.fitting.errors import gemm_errors
    from hardplace.cost.gpu.measured import read_gemms

    model = _model(device, transfer)
    rows = read_gemms(_texts(files))
    if rows is None:
        raise BadInput(f"{files[0]}: no GEMMs: expected columns m, n, k and latencies")
    check_units(rows.time_s, least_s(rows, model.datasheet), model.datasheet, str(files[0]), rows.unit_s)
    return [gemm_errors(model, rows, every_row=every_row, scaled=scaled)]


def attention_comparison(files: Sequence[Path], device: str, *, every_row: bool = False) -> list[ErrorTable]:
    """Compare the model of attention with measured kernels, by backend; arguments as for `gemm_comparison`.

    Raises:
        BadInput: For files without attention, and for times that no unit explains.
    """
    from hardplace.cost.gpu.fitting.calibrate import attention_least_s, check_units
    from hardplace.cost.gpu.fitting.errors import attention_errors
    from hardplace.cost.gpu.measured import read_attention

    model, rows = _model(device, None), read_attention(_texts(files))
    if rows is None:
        raise BadInput(f"{files[0]}: no attention: expected columns num_heads, head_dim, ... and us")
    check_units(rows.time_s, attention_least_s(rows, model.datasheet), model.datasheet, str(files[0]))
    return list(attention_errors(model, rows, every_row=every_row))


def gpu_comparison(folder: Path) -> tuple[list[ErrorTable], list[TransferError]]:
    """Compare the shipped models with all measurements of a folder, and each GPU with the figures of the others.

    Args:
        folder: Files gemm_DEVICE.csv.gz and attention_DEVICE.csv.gz.

    Returns:
        Errors on held-out rows; errors of transferred figures.

    Raises:
        BadInput: For a folder without such files.
    """
    from hardplace.cost.gpu.fitting.errors import TransferError, attention_errors, gemm_errors
    from hardplace.cost.gpu.measured import read_attention, read_gemms
    from hardplace.cost.gpu.models import fitted_names, shipped, transferred

    tables: list[ErrorTable] = []
    carried: list[TransferError] = []
    gemms, kernels = sorted(folder.glob("gemm_*.csv.gz")), sorted(folder.glob("attention_*.csv.gz"))
    if not gemms and not kernels:
        raise BadInput(f"validate gpu: {folder}: expected files gemm_DEVICE.csv.gz or attention_DEVICE.csv.gz in it")
    whole = [name for name in fitted_names() if shipped(name).residual is not None]
    for path in gemms:
        name = path.name.removeprefix("gemm_").removesuffix(".csv.gz")
        rows = read_gemms(_texts([path]))
        if rows is None:
            continue
        tables.append(gemm_errors(shipped(name), rows, every_row=False))
        for other in whole:
            if other != name:
                model = transferred(shipped(name).datasheet, other)
                plain, scaled = (gemm_errors(model, rows, every_row=False, scaled=one) for one in (False, True))
                row, after = plain.rows[1], scaled.rows[1]
                carried.append(
                    TransferError(device=name, of=other, mean=row.mean, bias=row.bias, mean_scaled=after.mean)
                )
    for path in kernels:
        name = path.name.removeprefix("attention_").removesuffix(".csv.gz")
        measured = read_attention(_texts([path]))
        if measured is not None:
            tables += attention_errors(shipped(name), measured, every_row=False)
    return tables, carried


def calibrated_gpu(data: Sequence[Path], device: str, *, relative: str | None = None, source: str = "") -> GpuModel:
    """Fit the times of kernels on a GPU to measurements.

    Args:
        data: CSV files as the script of `verify` writes them.
        device: GPU that was measured: a name of the catalogue or a TOML file.
        relative: GPU whose figures stand in for what the data lack. None: itself, or the nearest.
        source: Where the data are from. Empty: the files' names.

    Returns:
        The model with its fits and their held-out errors.

    Raises:
        BadInput: For data that are no measurements of that GPU.
    """
    from hardplace.cost.gpu.datasheet import datasheet, gpu
    from hardplace.cost.gpu.fitting.calibrate import calibrate
    from hardplace.cost.gpu.models import fitted_names, relative_of, shipped

    sheet = datasheet(gpu(device))
    known = fitted_names()
    if relative is None and known:
        relative = sheet.name if sheet.name in known else relative_of(sheet, known)
    source = source or ", ".join(path.name for path in data)
    return calibrate(sheet, _texts(data), shipped(relative) if relative else None, source)


def anchored_steps(runs: Path) -> tuple[Anchor, tuple[str, ...]]:
    """Learn from measured steps of one system what its other plans take.

    Args:
        runs: A CSV with the columns of `validation/training/training.csv`, or with those of plans' files: plan,
            target_iter_s and what a plan's file does not say (`plans.published.own.planned_runs`).

    Returns:
        The factors on the shipped figures with the interval that they leave; what is odd about the steps.

    Raises:
        BadInput: For a row without a time, or that is not modelled.
    """
    from hardplace.csv_table import parse
    from hardplace.files import read_text
    from hardplace.plans.anchoring import anchored
    from hardplace.plans.published.own import measured_runs, next_runs, own_runs, planned_runs, unknown_software
    from hardplace.plans.published.rows import rows_of

    table = parse(read_text(runs), str(runs))
    rows = [] if "plan" in table.columns else rows_of(table)
    own = own_runs(rows, str(runs)) if rows else planned_runs(table)
    try:
        found, odd = anchored(measured_runs(own), next_runs(own))
    except BadInput as problem:
        raise BadInput(f"{runs}: {problem}") from None
    return found, (*unknown_software(rows), *odd)


def _model(device: str, transfer: str | None) -> GpuModel:
    from hardplace.cost.gpu.models import gpu_model, transferred

    model = gpu_model(device)
    return model if transfer is None else transferred(model.datasheet, transfer)


def _texts(files: Iterable[Path]) -> list[tuple[str, str]]:
    from hardplace.files import read_text

    return [(str(path), read_text(path)) for path in files]
