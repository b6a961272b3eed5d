"""Public tools beside the cost model on the same GEMMs: seconds of a process of its own, its imports with them.

HARDPLACE_PEERS names the Python of an environment with the extra `peers`, which pins an old NumPy; without it this
Python is asked. A tool that is not there is skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import children_s, peak_mib

SCRIPT = Path(__file__).parent / "peer.py"
PYTHON = os.environ.get("HARDPLACE_PEERS", sys.executable)
TOOLS = {
    "hardplace": ("hardplace", (128, 512)),
    "scale_sim": ("SCALE-Sim", (128, 256)),
    "zigzag": ("ZigZag", (128, 512)),
}
MODULES = {"hardplace": "numpy", "scale_sim": "scalesim.scale_sim", "zigzag": "zigzag.api"}


@pytest.mark.parametrize(("tool", "size"), [(tool, size) for tool, (_, sizes) in TOOLS.items() for size in sizes])
@pytest.mark.benchmark(timer=children_s, min_rounds=1, warmup=False, group="beside public tools, one GEMM")
def test_gemm(benchmark: Any, tmp_path: Path, tool: str, size: int) -> None:
    """A GEMM of three equal sizes on an array of 32 x 32."""
    if subprocess.run([PYTHON, "-c", f"import {MODULES[tool]}"], capture_output=True).returncode:
        pytest.skip(f"{PYTHON} has no {MODULES[tool]}")
    peaks: list[float] = []
    words = [PYTHON, str(SCRIPT), tool, "32", str(size)]
    benchmark.pedantic(lambda: peaks.append(peak_mib(words, tmp_path)), rounds=1, iterations=1)
    name = TOOLS[tool][0]
    benchmark.extra_info.update(
        what=f"{name}: {size} × {size} × {size} on 32 × 32", peak_mib=max(peaks), series=name, size=size**3
    )
