"""How long `hardplace replan` takes for GPT-3 175B on 4,096 devices. Prints; never gates.

python benchmarks/replan.py [--times 5]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

PLAN = "examples/gpt3-175b-4096.json"
CASES = {
    "4,088 left": ["--devices", "4088"],
    "4,080 left": ["--devices", "4080"],
    "4,032 left": ["--devices", "4032"],
    "links at a quarter": ["--cluster", "examples/dgx-h100-slow-links.toml"],
}
WITHIN = """
import sys, time
from hardplace.cost.gpu.datasheet import gpu
from hardplace.hardware.catalogue import node
from hardplace.plans.plan_files import read_plan
from hardplace.plans.replanning.running import running_of
from hardplace.plans.replanning.replan import Change, replan
from hardplace.workload.load import load
from pathlib import Path
running = running_of(sys.argv[1], read_plan(Path(sys.argv[1])), None, None, None)
chip, before = gpu(running.device), node(running.node)
now = node(sys.argv[3]) if len(sys.argv) > 3 else before
left = int(sys.argv[2])
change = Change(devices=left, lost=frozenset(range(left, 4096)), node=now, horizon_s=4 * 3600.0)
start, cpu = time.perf_counter(), time.process_time()
replan(load(running.model), chip, running.plan, before, change)
print(time.perf_counter() - start, time.process_time() - cpu)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    times = parser.parse_args().times
    os.chdir(Path(__file__).parent.parent)
    print(f"{'least of ' + str(times):20} {'search: wall s':>15} {'CPU s':>8} {'command: wall s':>16} {'CPU s':>8}")
    for name, options in CASES.items():
        left, links = (options[1], []) if options[0] == "--devices" else ("4096", options[1:])
        inner, outer = [], []
        for _ in range(times):
            done = subprocess.run(
                [sys.executable, "-c", WITHIN, PLAN, left, *links], check=True, capture_output=True, text=True
            )
            inner.append([float(one) for one in done.stdout.split()])
            start, before = time.perf_counter(), os.times()
            subprocess.run(
                [sys.executable, "-m", "hardplace", "replan", PLAN, *options], check=True, capture_output=True
            )
            after = os.times()
            cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
            outer.append([time.perf_counter() - start, cpu_s])
        found = [min(one[index] for one in some) for some in (inner, outer) for index in (0, 1)]
        print(f"{name:20} {found[0]:15.2f} {found[1]:8.2f} {found[2]:16.2f} {found[3]:8.2f}")


if __name__ == "__main__":
    main()
