"""Whole commands, as a user waits for them: processor seconds and peak memory of a process of their own."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "start": ["--help", "models"],
    "estimates": [
        "estimate llama2-7b --operators --on h100-sxm",
        "estimate llama2-7b --operators --on tpu-v4",
        "describe gemmini --network resnet-50",
        "audit gpt3-2.7b --device a100-80gb-sxm --attention unfused",
    ],
    "plans": [
        "place llama3-70b --device h100-sxm --devices 256 --batch 512",
        "replan examples/gpt3-175b-4096.json --lost 4080-4095",
    ],
    "plans on more and more devices": [
        f"place llama3-405b --device h100-sxm --devices {count} --batch 2048" for count in (256, 1024, 4096, 16384)
    ],
    "chips": ["search llama2-7b"],
}


def children_s() -> float:
    """Return the processor seconds of ended child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize(
    ("group", "command"), [(group, command) for group, commands in COMMANDS.items() for command in commands]
)
@pytest.mark.benchmark(timer=children_s, min_rounds=1, warmup=False)
def test_command(benchmark: Any, tmp_path: Path, group: str, command: str) -> None:
    """One run of a command; what it writes goes to a folder of its own."""
    words = [str(ROOT / word) if word.startswith("examples/") else word for word in command.split()]
    peaks: list[float] = []

    def run() -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OPENBLAS_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "hardplace", *words], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, command
        peaks.append(used.ru_maxrss / 1024)

    benchmark.group = group
    benchmark.pedantic(run, rounds=1, iterations=1)
    benchmark.extra_info.update(what=f"`hardplace {command}`", peak_mib=max(peaks))
