"""Random questions of `search` about models of a few layers against a brute force that prices every chip with every
plan by docs/model*.md alone (`tests/oracles_search.py`): objectives, frontiers, limits, several models, fleets.

    python benchmarks/certificates_search_small.py 300 --seed 0

Prints each violation and a line of counts; exit code 1 if any. `certificates_search.py` asks about shipped models,
priced by the package itself.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
oracles = importlib.import_module("oracles_search")


def main() -> None:
    """Compare so many questions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    wrong = feasible = 0
    start_s = time.process_time()
    for number in range(given.count):
        draw = random.Random(f"{given.seed}:{number}")
        found = oracles.compared(oracles.random_asked(draw), draw.choice((1e-6, 0.01, 0.05)))
        feasible += found.feasible
        if found.wrong:
            wrong += 1
            print(f"{given.seed}:{number}: {found.wrong}", flush=True)
    spent_s = time.process_time() - start_s
    print(f"{given.count} questions, {feasible} with an answer: {wrong} wrong, {spent_s:.0f} s of processor time")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
