"""Fit the fp32 kernel models on validation/learned and write the file that ships: `python -m benchmarks.learned_fit`.

Needs the extra `learned`. Deterministic for one version of scikit-learn.
"""

from __future__ import annotations

import time
from pathlib import Path

from hardplace.cost.learned.fitting.fit_vector import fit_vector_model
from hardplace.cost.learned.measured import read_kernels, read_sheets
from hardplace.files import read_text, write

_ROOT = Path(__file__).parents[1]
_DATA = _ROOT / "validation" / "learned"
_OUT = _ROOT / "src" / "hardplace" / "cost" / "learned" / "data" / "fp32.json.gz"


def main() -> None:
    import sklearn

    kernels, sheets = _DATA / "kernels_train.csv.gz", _DATA / "devices.csv"
    begin = time.process_time()
    rows = read_kernels([(str(kernels), read_text(kernels))])
    model = fit_vector_model(
        rows, read_sheets(read_text(sheets), str(sheets)),
        "sitar-lab/NeuSight @6945927 (ASPLOS 2025, MIT), kernels_train; python -m benchmarks.learned_fit, "
        f"scikit-learn {sklearn.__version__}",
    )  # fmt: skip
    write(_OUT, model)
    print(f"{len(rows.time_s)} rows, {_OUT.stat().st_size} bytes, {time.process_time() - begin:.0f} s of processor")
    for name, family in model.families.items():
        print(f"{name}: {family.choice}; residual {'ships' if family.residual else 'does not ship'}")
    print(f"reach {model.reach:.2f}")


if __name__ == "__main__":
    main()
