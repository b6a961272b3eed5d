"""Tables of published runs in validation/training: those with calibration rows, and all that publish memory."""

from pathlib import Path

FOLDER = Path(__file__).parent.parent / "validation/training"
GATHERED = tuple(sorted(FOLDER.glob("gathered-*.csv")))
FITTED = (FOLDER / "training.csv", FOLDER / "runs-2026b.csv", *GATHERED)
WITH_MEMORY = (*FITTED, FOLDER / "torchtitan.csv", FOLDER / "memory.csv")
