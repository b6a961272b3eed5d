"""Random small questions of `place` against brute force written from docs/model-placement.md: how many certificates
and lists of ten are wrong. Of three one holds fields that change numerics or how plans are run, or allows some plans
only, and one has V-shaped schedules; with `--context` all have context parallelism, with `--low` all are in fp8.
`python benchmarks/certificates_place.py 300 --seed 1` prints each violation and a line."""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
oracles = importlib.import_module("oracles_plans")
wider = importlib.import_module("oracles_wider_plans")


def main() -> None:
    """Compare so many questions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=int, default=30_000, help="plans of a question; larger ones are left out")
    parser.add_argument("--context", action="store_true", help="only questions with context parallelism")
    parser.add_argument("--low", action="store_true", help="only questions in fp8")
    parser.add_argument("--verbose", action="store_true", help="a line for each question")
    given = parser.parse_args()
    wrong = plans = done = number = 0
    kinds = [oracles.random_question, wider.wider_question, wider.folded_question]
    if given.context:
        kinds = [wider.context_question]
    if given.low:
        kinds = [wider.low_question]
    start_s = time.process_time()
    while done < given.count:
        question = kinds[number % len(kinds)]
        asked = question(random.Random(f"{given.seed}:{number}"))
        number += 1
        begin_s = time.process_time()
        found = oracles.checked(asked, random.Random(number), given.most)
        if given.verbose:
            took_s = time.process_time() - begin_s
            print(number - 1, asked.workload.name, asked.batch, asked.fixed, found and found.plans, f"{took_s:.1f} s")
        if found is None:
            continue
        done += 1
        plans += found.plans
        if found.wrong:
            wrong += 1
            print(f"{given.seed}:{number - 1}: {found.wrong}", flush=True)
    spent_s = time.process_time() - start_s
    print(f"{done} questions, {plans:,} plans: {wrong} wrong, {spent_s:.0f} s of processor time")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
