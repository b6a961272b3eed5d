"""Mutated files of every kind through the commands that read them: tracebacks, hangs, memory.

python benchmarks/fuzz.py 10000 --seed 0: each case in a forked child with limits (CPU seconds, address space).
Prints a line a kind: cases, answered, refused in one line, and what was wrong with how many.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
import traceback
from collections import Counter
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from fuzzing import KINDS, Kind, complaint, tried  # type: ignore[import-not-found]

_SECONDS = 10  # of CPU; what takes longer hangs
_SLOW_S = 2.0  # of CPU, to refuse
_ANSWER_S = 5.0  # and to answer
_BYTES = 2**30  # more than a sound case needs


def _child(kind: Kind, seed: int, folder: Path, writing: int) -> None:
    """Run one case and tell how it ended."""
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _BYTES, used + _BYTES))  # beside what is imported
    start = time.process_time()
    try:
        words, ended = tried(kind, seed, folder)
        text = complaint(ended) or ("answered" if ended.code != 2 else "refused")
    except BaseException:
        words, text = "", "traceback: " + traceback.format_exc().strip().splitlines()[-1]
        if os.environ.get("FUZZ_TRACEBACK"):
            traceback.print_exc()
    spent = time.process_time() - start
    if spent > (_SLOW_S if text == "refused" else _ANSWER_S) and text in ("answered", "refused"):
        text = f"slow: {text} after {spent:.1f} s"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if grown > _BYTES:
        text = f"memory: {grown / 2**30:.1f} GiB"
    os.write(writing, f"{text}\n{words}".encode(errors="replace"))


def _run(kind: Kind, seed: int) -> str:
    """Return how a case ended, in a child of its own."""
    with TemporaryDirectory() as folder:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _child(kind, seed, Path(folder) / "case", writing)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as told:
            text = told.read().decode()
        _, status = os.waitpid(child, 0)
    found = text.split("\n")[0]
    return found or f"ended by signal {os.waitstatus_to_exitcode(status)}"


def main() -> None:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", help="one kind alone")
    parser.add_argument("--case", type=int, help="one seed alone, here, with its traceback")
    asked = parser.parse_args()
    chosen = [one for one in KINDS if asked.kind in (None, one.name)]
    if asked.case is not None:
        with TemporaryDirectory() as folder:
            print(*tried(chosen[0], asked.case, Path(folder) / "case"), sep="\n")
        return
    for kind in chosen:  # what is imported here is not imported in each child
        with TemporaryDirectory() as folder:
            tried(replace(kind, mutate=lambda content, _: content), 0, Path(folder) / "case")
    wrong = 0
    each = -(-asked.cases // len(chosen))
    for kind in chosen:
        seen: Counter[str] = Counter()
        for number in range(each):
            seed = asked.seed * 1_000_000 + number
            found = _run(kind, seed)
            seen[found if found in ("answered", "refused") else "wrong"] += 1
            if found not in ("answered", "refused"):
                print(f"  {kind.name} {seed}: {found}", flush=True)
        wrong += seen["wrong"]
        print(
            f"{kind.name}: {each} cases, {seen['answered']} answered, {seen['refused']} refused, {seen['wrong']} wrong"
        )
    print(f"{each * len(chosen)} cases, {wrong} wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
