"""Random small graphs on unlike devices against every split of them (`tests/oracles_split.py`): five problems a graph.

    python benchmarks/certificates_split.py 500 --seed 1000

Prints each contradiction and a line of counts; exit code 1 if any.
"""

from __future__ import annotations

import argparse
import importlib
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from hardplace.graph_split.load_model import LoadSplit, least_load
from hardplace.graph_split.split import MemoryShortage, split_latency, split_pipeline
from hardplace.graph_split.staged import SplitShape

oracles = importlib.import_module("oracles_split")


def contradictions(seed: int) -> Iterator[str]:
    """Yield what of the answers about a random graph is not the best of every split of it."""
    staged = oracles.staged_graph(seed, training=seed % 2 == 1)
    splits = list(oracles.staged_splits(staged, host=False))
    for shape, allowed in (
        (SplitShape.ORDERED, [one for one in splits if oracles.in_a_line(staged, one)]),
        (SplitShape.CONVEX, [one for one in splits if staged.convex(one)]),
        (SplitShape.ANY, splits),
    ):
        split = least_load(staged, shape, limit_s=10)
        best = min(map(staged.max_load, allowed), default=math.inf)
        load, bound = (split.load, split.bound) if isinstance(split, LoadSplit) else (math.inf, math.inf)
        if load != best and not abs(load - best) <= 1e-6:
            yield f"{shape.value}: {load}: expected {best}"
        if bound > best + 1e-6:
            yield f"{shape.value}: bound {bound} above {best}"
    unlike = oracles.unlike_graph(seed)
    for solve, least in ((split_latency, oracles.least_makespan), (split_pipeline, oracles.least_busiest)):
        found, value = solve(unlike, limit_s=10), least(unlike)
        known = bound = math.inf
        if not isinstance(found, MemoryShortage):
            known, bound = found.value_s, found.bound_s
        if known != value and not abs(known - value) <= 1e-9:
            yield f"{solve.__name__}: {known}: expected {value}"
        if bound > value + 1e-9:
            yield f"{solve.__name__}: bound {bound} above {value}"


def main() -> None:
    """Compare so many graphs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    wrong, began_s = 0, time.process_time()
    for seed in range(given.seed, given.seed + given.count):
        said = list(contradictions(seed))
        wrong += bool(said)
        for text in said:
            print(f"{seed}: {text}", flush=True)
    spent_s = time.process_time() - began_s
    print(f"{given.count} graphs, five problems each: {wrong} wrong, {spent_s:.0f} s of processor time")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
