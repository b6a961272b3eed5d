"""Random small changes of `replan` against brute force written from docs/model-replan.md: in how many the five best
plans are others. `python benchmarks/certificates_replan.py 300 --seed 1` prints each violation and a line."""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
oracles = importlib.import_module("oracles_replan")


def main() -> None:
    """Compare so many changes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=int, default=2_000, help="plans of a change; larger ones are left out")
    given = parser.parse_args()
    wrong = done = number = empty = 0
    start_s = time.process_time()
    while done < given.count:
        found = oracles.compared(oracles.random_event(random.Random(f"{given.seed}:{number}")), given.most)
        number += 1
        if found is None:
            continue
        done += 1
        empty += not found.options
        if found.wrong:
            wrong += 1
            print(f"{given.seed}:{number - 1}: {found.wrong}", flush=True)
    spent_s = time.process_time() - start_s
    print(f"{done} changes, {empty} without a plan: {wrong} wrong, {spent_s:.0f} s of processor time")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
