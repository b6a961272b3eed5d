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
FIRST = "**Step times, test split**"


def main() -> None:
    data = ROOT / "validation/training/training.csv"
    done = CliRunner().invoke(app, ["validate", "training", "--data", str(data), "--markdown"])
    assert done.exit_code == 0, done.output
    before, _, _ = DOCUMENT.read_text().partition(FIRST)
    DOCUMENT.write_text(before + done.output.strip() + "\n")


if __name__ == "__main__":
    main()
