"""Write the tables of docs/validation.md, as `hardplace validate training --markdown` prints them.

python benchmarks/write_validation.py
"""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from hardplace.cli import main as _joined  # noqa: F401  (joins the verbs)
from hardplace.cli.app import app

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs/validation.md"
FIRST = "**Sources left out of the fit, calibration splits**"
LEFT_OUT = ROOT / "validation/training/left_out.md"  # by benchmarks/fit_training.py
OTHERS = "**More runs (runs-2026b.csv), whole sources**"


def printed(name: str) -> str:
    """Return what the command prints of a table of runs."""
    done = CliRunner().invoke(app, ["validate", "training", "--data", str(ROOT / name), "--markdown"])
    assert done.exit_code == 0, done.output
    return done.output.strip()


def main() -> None:
    before, _, _ = DOCUMENT.read_text().partition(FIRST)
    parts = [
        LEFT_OUT.read_text().strip(),
        printed("validation/training/training.csv"),
        OTHERS,
        printed("validation/training/runs-2026b.csv"),
    ]
    DOCUMENT.write_text(before + "\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
