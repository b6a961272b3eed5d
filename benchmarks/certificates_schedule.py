"""Schedules and their bounds against brute force, each method alone; one JSON line a contradiction.

Random instances of one to five tasks, every other one with times of zero and infinity among them.

python benchmarks/certificates_schedule.py [N] [--seed S]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from oracles_events import random_problem  # type: ignore[import-not-found]
from schedule_contradictions import contradictions  # type: ignore[import-not-found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    wrong, start_s = 0, time.process_time()
    for seed in range(options.seed, options.seed + options.count):
        found = list(contradictions(random_problem(seed, extremes=bool(seed % 2))))
        wrong += bool(found)
        for text in found:
            print(json.dumps({"seed": seed, "wrong": text}), flush=True)
    print(f"{options.count} instances: {wrong} wrong, {time.process_time() - start_s:.0f} s of processor time")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
