"""Random small questions of `tables --prices step` against every plan of them (`tests/oracles_tables.py`).

python benchmarks/certificates_tables.py 300 --seed 0: prints each violation and a line of counts; exit code 1 if any.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
oracles = importlib.import_module("oracles_tables")


def main() -> None:
    """Compare so many questions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    wrong, start_s = 0, time.process_time()
    with TemporaryDirectory() as folder:
        for number in range(given.count):
            asked = oracles.random_tables(random.Random(f"{given.seed}:{number}"))
            if said := oracles.contradiction(asked, Path(folder) / "tables.json"):
                wrong += 1
                print(f"{given.seed}:{number}: {said}", flush=True)
    spent_s = time.process_time() - start_s
    print(f"{given.count} questions: {wrong} wrong, {spent_s:.0f} s of processor time")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
