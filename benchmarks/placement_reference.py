"""Solve placement cases in PHAZE's format under its rules; one JSON line a case.

python benchmarks/placement_reference.py FILE...
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from reference_format import BadCase, fail, load, placement_problem

from hardplace.design.partition.programme import place
from hardplace.design.partition.types import PipelinePartition
from hardplace.errors import BadInput


def main(paths: list[str]) -> None:
    if not paths:
        fail("placement_reference.py", "expected files to solve")
    for path in paths:
        try:
            problem, ids = placement_problem(load(path))
            start = time.perf_counter()
            found = place(problem)
        except (BadCase, BadInput, ValueError) as problem_:
            fail(path, problem_)
        line: dict[str, object] = {"case": Path(path).stem, "optimal_time_per_batch_s": None, "plan": None}
        if isinstance(found, PipelinePartition):
            names = ids[found.tensor_parallel]
            line["optimal_time_per_batch_s"] = found.batch_s
            line["plan"] = {
                "tensor_parallel": found.tensor_parallel,
                "data_parallel": found.data_parallel,
                "stages": [[names[layer] for layer in stage.layers] for stage in found.stages],
            }
        elif found is not None:
            line["infeasible"] = asdict(found)
        line["seconds"] = time.perf_counter() - start
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
