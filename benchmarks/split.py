"""The released graphs of dnn-partitioning: `split.py [SECONDS]`; of Piper: `split.py piper`.

Random small ones: `certificates_split.py`. Prints a line for each instance: value, bound, seconds, the released value.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def main(seconds: float) -> None:
    from hardplace.files import read_json
    from hardplace.graph_split.latency_model import least_latency
    from hardplace.graph_split.load_model import LoadSplit, least_load
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
            assert isinstance(split, LoadSplit)
            assert problem.check(split.devices) is None
            value = f"{split.load:.6f}, bound {split.bound:.6f}, {split.seconds:.0f} s"
            print(f"{problem.name} {shape.value}: {value}; {told}", flush=True)


def piper() -> None:
    """Print each optimum of Piper's release beside ours."""
    from hardplace.files import read_json
    from hardplace.graph_split.stage_programme import StagePlan, best_stages
    from hardplace.graph_split.stage_ways import StageDimension, read_ways

    data = ROOT / "tests/graph_split/data/piper"
    forbidden = {"time_per_sample": (), "without_data_parallel": (StageDimension.DATA,)}
    forbidden |= {"without_tensor_parallel": (StageDimension.TENSOR,), "without_recompute": (StageDimension.RECOMPUTE,)}
    equal = 0
    for row in read_json(data / "results.json"):
        for what, without in forbidden.items():
            problem = read_ways(
                data / "bert32a100.json.gz", devices=row["devices"], memory_bytes=row["memory_gib"] * 2**30,
                without=frozenset(without),
            )  # fmt: skip
            began_s = time.process_time()
            found = best_stages(problem)
            spent_s = time.process_time() - began_s
            value = found.value_s if isinstance(found, StagePlan) else None
            same = (value is None and row[what] is None) or (
                value is not None and row[what] is not None and abs(value / row[what] - 1) < 1e-12
            )
            equal += same
            place = f"{row['memory_gib']:g} GiB x {row['devices']}, {what}"
            print(f"{place}: {value}, released {row[what]}, {spent_s:.1f} s of processor time", flush=True)
    print(f"{equal} equal")


if __name__ == "__main__":
    if sys.argv[1:] == ["piper"]:
        piper()
        sys.exit()
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0)
