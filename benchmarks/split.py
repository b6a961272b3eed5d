"""The released graphs of dnn-partitioning, and random small graphs against every split of them: `split.py
[SECONDS] [GRAPHS]`.

Prints a line for each instance: value, bound, seconds, the released value.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))


def main(seconds: float, graphs: int) -> None:
    from hardplace.files import read_json
    from hardplace.graph_split.latency_model import least_latency
    from hardplace.graph_split.load_model import least_load
    from hardplace.graph_split.staged import SplitShape, read_staged

    for path in sorted((ROOT / "tests/graph_split/data").glob("*.json.gz")):
        problem = read_staged(path)
        known: dict[str, Any] = read_json(path)["reference"]
        told = {name: one["value"] for name, one in known.items() if isinstance(one, dict) and "value" in one}
        if path.name.startswith("latency"):
            found = least_latency(problem, limit_s=seconds)
            print(
                f"{problem.name} latency: {found.latency:.6g}, bound {found.bound:.6g}, {found.seconds:.0f} s; {told}"
            )
            continue
        for shape in SplitShape:
            split = least_load(problem, shape, limit_s=seconds)
            assert split is not None
            assert problem.check(split.devices) is None
            value = f"{split.load:.6f}, bound {split.bound:.6f}, {split.seconds:.0f} s"
            print(f"{problem.name} {shape.value}: {value}; {told}", flush=True)
    _random(graphs)


def _random(graphs: int) -> None:
    from hardplace.graph_split.load_model import least_load
    from hardplace.graph_split.split import MemoryShortage, split_latency, split_pipeline
    from hardplace.graph_split.staged import SplitShape
    from oracles_split import (  # type: ignore[import-not-found]
        in_a_line,
        least_busiest,
        least_makespan,
        staged_graph,
        staged_splits,
        unlike_graph,
    )

    began_s, wrong = time.process_time(), 0
    for seed in range(1000, 1000 + graphs):
        staged = staged_graph(seed, training=seed % 2 == 1)
        splits = list(staged_splits(staged, host=False))
        for shape, allowed in (
            (SplitShape.ORDERED, [one for one in splits if in_a_line(staged, one)]),
            (SplitShape.CONVEX, [one for one in splits if staged.convex(one)]),
            (SplitShape.ANY, splits),
        ):
            split = least_load(staged, shape, limit_s=10)
            best = min(map(staged.max_load, allowed)) if allowed else None
            wrong += (split is None) != (best is None) or (split is not None and abs(split.load - (best or 0.0)) > 1e-6)
        unlike = unlike_graph(seed)
        for solve, least in ((split_latency, least_makespan), (split_pipeline, least_busiest)):
            found, value = solve(unlike, limit_s=10), least(unlike)
            known = float("inf") if isinstance(found, MemoryShortage) else found.value_s
            wrong += known != value and not abs(known - value) <= 1e-9
    print(f"{graphs} random graphs, five problems each: {wrong} wrong, {time.process_time() - began_s:.0f} CPU seconds")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0, int(sys.argv[2]) if len(sys.argv) > 2 else 500)
