"""Schedule small operator graphs under PHAZE's rules; one JSON line a case.

python benchmarks/scheduling_reference.py FILE...
"""

from __future__ import annotations

import json
import sys
import time

from reference_format import BadCase, fail, load, schedule_problem

from hardplace.design.scheduling.exact import schedule

WORK = 4.0  # deterministic seconds of the solver a case: half a minute at most
GAP = 1e-6


def main(paths: list[str]) -> None:
    if not paths:
        fail("scheduling_reference.py", "expected files to solve")
    for path in paths:
        cases = load(path)
        if isinstance(cases, dict):
            cases = [cases]
        if not isinstance(cases, list):
            fail(path, "expected a list of cases")
        problems = []
        for index, case in enumerate(cases):
            try:
                problems.append(schedule_problem(case))
            except BadCase as problem:
                fail(path, f"case {index}: {problem}")
        seen: set[str] = set()
        for index, (case, one) in enumerate(zip(cases, problems, strict=True)):
            name = f"{case.get('graph', 'case')}_{one.tensor_cores}tc_{one.vector_cores}vc"
            name = f"{name}_{index}" if name in seen else name
            seen.add(name)
            start = time.perf_counter()
            found = schedule(one, gap=GAP, work=WORK)
            line = {
                "case": name,
                "makespan": found.makespan_s,
                "bound": found.bound_s,
                "status": found.status.value,
                "seconds": time.perf_counter() - start,
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
