"""fp32 kernels of GPUs predicted from their sheets, judged on measured ones; the study of learned models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hardplace.errors import BadInput

if TYPE_CHECKING:
    from hardplace.cost.learned.judge import FamilyScore
    from hardplace.cost.learned.study.types import StudyResults

_FOLDER = Path("validation/learned")


def published_kernels() -> Path:
    """Return the folder of published fp32 kernels, here or where this package's source is; BadInput without one."""
    for folder in (Path(), Path(__file__).parents[3]):
        if (folder / _FOLDER).is_dir():
            return folder / _FOLDER
    raise BadInput(f"validate learned: {_FOLDER}: not here: expected the repository's folder, or FILES and sheets")


def kernel_scores(files: Sequence[Path] = (), sheets: Path | None = None) -> tuple[FamilyScore, ...]:
    """Return how the models of fp32 kernels meet measured ones, by family and device.

    Args:
        files: CSV files of kernels (docs/learned.md); none: NeuSight's test kernels, within this repository only.
        sheets: CSV file of the devices' sheets; None: those of validation/learned.

    Raises:
        BadInput: For a file with a fault, by line and column, and a device without a sheet.
    """
    from hardplace.cost.learned.judge import shipped_scores
    from hardplace.cost.learned.measured import read_kernels, read_sheets
    from hardplace.cost.learned.predict import shipped_vector_model
    from hardplace.files import read_text

    kernels = tuple(files) or (published_kernels() / "kernels_test.csv.gz",)
    where = sheets or published_kernels() / "devices.csv"
    rows = read_kernels([(str(path), read_text(path)) for path in kernels])
    known = read_sheets(read_text(where), str(where))
    for device in rows.devices:
        if device not in known:
            raise BadInput(f"{where}: device {device!r}: missing; expected the sheet of every device of the kernels")
    return shipped_scores(rows, known, shipped_vector_model())


def learned_study() -> StudyResults:
    """Return the study of equation, residual and learned models on all splits; needs the extra `learned`, minutes."""
    from hardplace.cost.learned.study.study import whole_study

    folder = published_kernels()
    return whole_study(folder, folder.parent / "gpu")
