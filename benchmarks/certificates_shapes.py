"""Random questions of `search --shapes` about a small decoder against every shape with every chip and every plan
(`tests/oracles_shapes.py`).

    python benchmarks/certificates_shapes.py 40 --seed 0 --work 1

--work: effort on the schedules that a shape is tried with (0: list schedules; 1: as an answer's). Prints each violation
and a line of counts; exit code 1 if any.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
oracles = importlib.import_module("oracles_shapes")


def main() -> None:
    """Compare so many questions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=float, default=0.0)
    given = parser.parse_args()
    wrong = feasible = shapes = 0
    start_s = time.process_time()
    for number in range(given.count):
        draw = random.Random(f"{given.seed}:{number}")
        asked = oracles.random_shapes(draw)
        found = oracles.compared_shapes(asked, draw.choice((0.01, 0.05)), given.work)
        feasible += found.feasible
        shapes += found.shapes
        if found.wrong:
            wrong += 1
            print(f"{given.seed}:{number}: {found.wrong}", flush=True)
    spent_s = time.process_time() - start_s
    print(
        f"{given.count} questions, {shapes} shapes, {feasible} with an answer: {wrong} wrong, "
        f"{spent_s:.0f} s of processor time"
    )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
