"""Attention over context-parallel ranks, as the cost model has it alone, beside Transformer Engine's own benchmark
(validation/attention): mean, least and largest error by device, kernels, exchange and ranks.
`python benchmarks/context_attention.py`."""

from __future__ import annotations

import importlib
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
measured = importlib.import_module("attention_measured")


def main() -> None:
    """Print a line for each device, kernels, exchange and number of ranks."""
    errors: defaultdict[tuple[str, str, str, int], list[float]] = defaultdict(list)
    for row in measured.ROWS:
        errors[row.device, row.kernels, row.exchange, row.context].append(
            measured.predicted_s(row) / row.measured_s - 1.0
        )
    print("| device | kernels | exchange | ranks | mean | least | most |\n|---|---|---|---:|---:|---:|---:|")
    for (chip, kernels, exchange, ranks), found in errors.items():
        mean = sum(found) / len(found)
        shares = " | ".join(f"{100 * one:+.1f} %" for one in (mean, min(found), max(found)))
        print(f"| {chip} | {kernels} | {exchange} | {ranks} | {shares} |")


if __name__ == "__main__":
    main()
