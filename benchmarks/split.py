"""The released graphs of dnn-partitioning: `split.py [SECONDS]`. Random small ones: `certificates_split.py`.

Prints a line for each instance: value, bound, seconds, the released value.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def main(seconds: float) -> None:
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


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0)
