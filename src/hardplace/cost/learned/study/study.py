"""Run the whole study."""

from __future__ import annotations

from pathlib import Path

from hardplace.cost.learned.measured import read_kernels, read_sheets
from hardplace.cost.learned.predict import shipped_vector_model
from hardplace.cost.learned.study.attention_splits import attention_splits
from hardplace.cost.learned.study.fusion_splits import fusion_splits
from hardplace.cost.learned.study.gemm_splits import gemm_splits
from hardplace.cost.learned.study.mapping_splits import mapping_splits
from hardplace.cost.learned.study.types import StudyResults
from hardplace.cost.learned.study.vector_splits import unseen_device, unseen_kinds, unseen_shapes
from hardplace.files import read_text


def whole_study(vector: Path, gemms: Path) -> StudyResults:
    """Return the results of all splits; folders validation/learned and validation/gpu."""
    train, test = (
        read_kernels([(str(path), read_text(path))])
        for path in (vector / "kernels_train.csv.gz", vector / "kernels_test.csv.gz")
    )
    sheets = read_sheets(read_text(vector / "devices.csv"), str(vector / "devices.csv"))
    model = shipped_vector_model()
    return StudyResults(
        splits=(
            *unseen_shapes(train, test, sheets, model),
            *unseen_kinds(train, test, sheets, model),
            *unseen_device(train, test, sheets),
            *gemm_splits(gemms),
            *attention_splits(gemms),
        ),
        mappings=tuple(mapping_splits()),
        fusions=tuple(fusion_splits()),
    )
