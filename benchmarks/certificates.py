"""Every certificate against brute force, verb by verb: random small instances, and a table of how many were wrong.

    python benchmarks/certificates.py [--scale 1.0] [--seed 0] [--only search] [--out certificates.jsonl]

2,300 instances at scale 1, about 15 minutes of one processor. Instances come in parts, each a command of its own whose
violations are printed; --out keeps a line a part, and parts that it has are not run again. Exit code 1 if anything was
wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
# Verb, benchmark, instances, and how many a part has.
VERBS = (
    ("search: frontiers, fleets, limits", "certificates_search_small.py", 500, 25),
    ("search: shipped models", "certificates_search.py", 20, 5),
    ("search --shapes", "certificates_shapes.py", 20, 4),
    ("schedule", "certificates_schedule.py", 240, 40),
    ("partition into stages", "certificates_placement.py", 800, 80),
    ("place", "certificates_place.py", 120, 10),
    ("replan", "certificates_replan.py", 120, 10),
    ("split", "certificates_split.py", 240, 40),
    ("tables", "certificates_tables.py", 240, 80),
)
_LAST = re.compile(r"^([\d,]+) .*: (\d+) wrong, (\d+) s of processor time$", re.MULTILINE)


def main() -> None:
    """Run every part and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="verbs whose name has this")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    known = (
        [json.loads(line) for line in given.out.read_text().splitlines()] if given.out and given.out.exists() else []
    )
    done = {(one["benchmark"], one["seed"]): one for one in known}
    total: dict[str, Counter[str]] = {}
    for verb, benchmark, count, size in VERBS:
        if given.only not in verb:
            continue
        total[verb] = Counter()
        for part in range(max(1, round(given.scale * count / size))):
            seed = 1_000_000 * given.seed + 10_000 * part
            one = done.get((benchmark, seed)) or _run(benchmark, size, seed)
            total[verb].update({name: one[name] for name in ("instances", "wrong", "seconds", "failed")})
            if given.out and (benchmark, seed) not in done:
                with given.out.open("a") as out:
                    out.write(json.dumps(one) + "\n")
    print(f"{'verb':36} {'instances':>9} {'wrong':>6} {'failed':>6} {'CPU s':>6}")
    every: Counter[str] = Counter()
    for verb, counts in total.items():
        every.update(counts)
        print(_row(verb, counts))
    print(_row("all", every))
    sys.exit(1 if every["wrong"] or every["failed"] else 0)


def _row(name: str, counts: Counter[str]) -> str:
    columns = f"{counts['instances']:9,} {counts['wrong']:6} {counts['failed']:6} {counts['seconds']:6}"
    return f"{name:36} {columns}"


def _run(benchmark: str, count: int, seed: int) -> dict[str, int | str]:
    """Run a part; one that ends without its line of counts has failed."""
    command = [sys.executable, str(HERE / benchmark), str(count), "--seed", str(seed)]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    last = _LAST.search(ended.stdout)
    if last is None or int(last[2]):
        print(f"{benchmark} {count} --seed {seed}:\n{ended.stdout}{ended.stderr[-2000:]}", flush=True)
    counts = [int(one.replace(",", "")) for one in last.groups()] if last else [0, 0, 0]
    return {
        "benchmark": benchmark, "seed": seed, "instances": counts[0], "wrong": counts[1], "seconds": counts[2],
        "failed": int(last is None),
    }  # fmt: skip


if __name__ == "__main__":
    main()
