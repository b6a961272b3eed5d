"""All plans of tests/run_cases.py on 4 processes: errors of loss and gradients, bytes that differ, seconds.

python benchmarks/run_plans.py [NAME ...]
"""

import importlib
import sys
import time
from pathlib import Path
from typing import Any

from hardplace.run.execute import executed

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "examples")]


def main() -> None:
    cases: Any = importlib.import_module("run_cases")
    models: Any = importlib.import_module("tiny_models")
    start_s, failed = time.perf_counter(), 0
    for name in sys.argv[1:] or cases.CASES:
        model, plan = cases.CASES[name]
        begun_s = time.perf_counter()
        found = executed(plan, cases.workload_of(model), cases.kept_of(model), getattr(models, model), 3)
        assert found is not None
        wrong = cases.differences(name, found)
        failed += bool(wrong) or max(found.loss_error, found.gradient_error) > 1e-5
        said = "bytes as predicted or explained" if not wrong else "; ".join(wrong[:2])
        print(
            f"{name:22} {model:8} losses within {found.loss_error:.1e}, gradients within {found.gradient_error:.1e}, "
            f"{said}, {time.perf_counter() - begun_s:.1f} s",
            flush=True,
        )
    print(f"{failed} failed; {time.perf_counter() - start_s:.0f} s in all")


if __name__ == "__main__":
    main()
