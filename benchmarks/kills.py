"""Kill searches at random moments with SIGKILL, start them again with the same command, compare the answers.

    PYTHONPATH=src python benchmarks/kills.py --kills 200 --seed 0

Each run is started, killed after a random time, started again, ... until it has had its share of kills, and then left
to its end. Its answer must equal that of a run that nobody disturbed, to the last bit, and its journal must pass the
integrity check of SQLite after every kill. Prints a table; exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

# Short, and with exact evaluations: the lower the gap, the more of them.
COMMANDS = (
    "search gpt2-xl --space phaze --setting phaze --gap 0 --area 20 --micro-batch 1 --tensor-parallel 1",
    "search bert-large --space phaze --setting phaze --gap 0.0001 --micro-batch 1 --tensor-parallel 1 --area 60",
    "search opt-350m --space phaze --setting phaze --gap 0.0001 --area 30 --micro-batch 1",
    "search bert-large --space phaze --gap 0 --area 20 --devices 64 --batch 512 --micro-batch 1 --tensor-parallel 1",
    "search opt-350m --space phaze --area 30 --micro-batch 1 --tensor-parallel 1 --workers 2",
)
_TIMED = ("seconds", "progress", "cloud")  # what differs from run to run, and what is large


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One disturbed run: kills that hit it while it ran, evaluations that the journal held at each."""

    command: str
    kills: int
    evaluations: tuple[int, ...]
    same: bool
    whole: bool


def start(command: str, folder: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "hardplace", *shlex.split(command), "--out", str(folder)]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def answer(folder: Path) -> object:
    """Return what a run answered, without its times."""
    result = json.loads((folder / "result.json").read_text())["answer"]
    for level in result["levels"]:
        del level["seconds"]
    return {name: value for name, value in result.items() if name not in _TIMED}


def checked(folder: Path) -> tuple[bool, int]:
    """Return whether the journal is whole, and how many evaluations it holds."""
    path = folder / "journal.sqlite"
    if not path.exists():
        return True, 0
    connection = sqlite3.connect(path)
    try:
        whole = connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'evaluations'").fetchone()[0]
        count = connection.execute("SELECT count(*) FROM evaluations").fetchone()[0] if tables else 0
    finally:
        connection.close()
    return whole, count


def undisturbed(command: str, folder: Path) -> tuple[object, float]:
    """Return the answer of a run that nobody kills, and its seconds."""
    begun = time.perf_counter()
    running = start(command, folder)
    _, errors = running.communicate()
    if running.returncode != 0:
        raise SystemExit(f"{command}: {errors.decode()}")
    return answer(folder), time.perf_counter() - begun


def disturbed(command: str, folder: Path, kills: int, longest_s: float, draws: random.Random, reference: object) -> Run:
    """Kill a run so many times, each after a random time up to longest_s, then let it end."""
    counts, whole, hit = [], True, 0
    while hit < kills:
        running = start(command, folder)
        try:
            running.wait(timeout=draws.uniform(0.0, longest_s))
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            hit += 1
        running.communicate()
        sound, count = checked(folder)
        whole &= sound
        counts.append(count)
    found, _ = undisturbed(command, folder)
    sound, _ = checked(folder)
    return Run(
        command=command, kills=hit, evaluations=tuple(counts), same=found == reference, whole=whole and sound
    )  # fmt: skip


def measure(commands: tuple[str, ...], kills: int, each: int, seed: int) -> list[Run]:
    """Return runs with so many kills in all, `each` a run at most, the commands taken in turn."""
    draws = random.Random(seed)
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as top:
        references = [undisturbed(command, Path(top) / f"whole{place}") for place, command in enumerate(commands)]
        while kills > 0:
            place = len(runs) % len(commands)
            share = min(kills, draws.randint(1, each))
            reference, seconds = references[place]
            folder = Path(top) / f"run{len(runs)}"
            runs.append(disturbed(commands[place], folder, share, seconds, draws, reference))
            kills -= share
            print(f"{len(runs)}: {share} kills, same {runs[-1].same}, whole {runs[-1].whole}", file=sys.stderr)
    return runs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--each", type=int, default=8, help="kills of one run at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", type=int, default=len(COMMANDS), help="how many of the commands")
    options = parser.parse_args()
    commands = COMMANDS[: options.commands]
    runs = measure(commands, options.kills, options.each, options.seed)
    print("| command | runs | kills | with evaluations kept | same answer | journal whole |")
    print("|---|---|---|---|---|---|")
    for command in commands:
        mine = [run for run in runs if run.command == command]
        kept = sum(count > 0 for run in mine for count in run.evaluations)
        kills = sum(run.kills for run in mine)
        same, whole = sum(run.same for run in mine), sum(run.whole for run in mine)
        print(f"| `{command}` | {len(mine)} | {kills} | {kept} | {same} of {len(mine)} | {whole} of {len(mine)} |")
    return 0 if all(run.same and run.whole for run in runs) else 1


if __name__ == "__main__":
    sys.exit(main())
