"""What worker processes could gain in `place`: processor seconds of what must run one after the other, and of the rest.

One after the other: entering the degrees, pricing the partitions of a plan (each changes what the next must beat), and
the estimates of the answer. The rest, refinements that only make bounds, is taken to divide without any loss.

    python benchmarks/place_workers.py
"""

from __future__ import annotations

import cProfile
import pstats
import subprocess
import sys
import time

import hardplace as hp

QUESTIONS = (
    ("llama2-7b", "h100-sxm", 64, 512),
    ("gpt3-175b", "a100-80gb-sxm", 1024, 1536),
    ("llama3-405b", "h100-sxm", 4096, 2048),
    ("deepseek-v3", "h100-sxm", 2048, 8192),
)
SERIAL = ("cells", "_enter", "_price", "_answer")  # of Divisions and PlanSearch


def start_s() -> float:
    """Processor seconds of a process that could refine: Python, numpy, the plans' modules."""
    code = "import time, hardplace.plans.placement.search; print(time.process_time())"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    begin_s = start_s()
    print(f"a process begins in {begin_s:.2f} s")
    for model, device, devices, batch in QUESTIONS:
        workload = hp.load(model)
        begun = time.process_time()
        hp.place(workload, device, devices, batch=batch)
        whole_s = time.process_time() - begun
        profile = cProfile.Profile(time.process_time)
        profile.runcall(hp.place, workload, device, devices, batch=batch)
        stats = pstats.Stats(profile)
        rows = stats.stats.items()  # type: ignore[attr-defined]
        serial_s = sum(row[3] for (_, _, name), row in rows if name in SERIAL)
        share = serial_s / stats.total_tt  # type: ignore[attr-defined]
        gains = ", ".join(
            f"{1 / (share + (1 - share) / count + begin_s / whole_s):.2f} x with {count}" for count in (2, 4, 8)
        )
        print(f"{model} on {devices} {device}: {whole_s:.2f} s, {share:.0%} one after the other: at most {gains}")


if __name__ == "__main__":
    main()
