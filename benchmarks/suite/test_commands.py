"""Whole commands, as a user waits for them: processor seconds and peak memory of a process of their own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from processes import ROOT, children_s, peak_mib

# Group, command, and the size of its work where the commands of a group do more and more of the same.
COMMANDS: tuple[tuple[str, str, int | None], ...] = (
    ("start", "--help", None),
    ("start", "models", None),
    ("estimates", "estimate llama2-7b --operators --on h100-sxm", None),
    ("estimates", "estimate llama2-7b --operators --on tpu-v4", None),
    ("estimates", "describe gemmini --network resnet-50", None),
    ("estimates", "audit gpt3-2.7b --device a100-80gb-sxm --attention unfused", None),
    ("plans", "place llama3-70b --device h100-sxm --devices 256 --batch 512", None),
    ("plans", "replan examples/gpt3-175b-4096.json --lost 4080-4095", None),
    *(
        (
            "plans on more and more devices",
            f"place llama3-405b --device h100-sxm --devices {count} --batch {max(2048, count)}",
            count,
        )
        for count in (256, 4096, 131072)
    ),
    ("chips", "search llama2-7b", None),
)


@pytest.mark.parametrize(("group", "command", "size"), COMMANDS)
@pytest.mark.benchmark(timer=children_s, min_rounds=1, warmup=False)
def test_command(benchmark: Any, tmp_path: Path, group: str, command: str, size: int | None) -> None:
    """One run of a command; what it writes goes to a folder of its own."""
    words = [str(ROOT / word) if word.startswith("examples/") else word for word in command.split()]
    peaks: list[float] = []

    def run() -> None:
        peaks.append(peak_mib([sys.executable, "-m", "hardplace", *words], tmp_path))

    benchmark.group = group
    benchmark.pedantic(run, rounds=1, iterations=1)
    benchmark.extra_info.update(what=f"`hardplace {command}`", peak_mib=max(peaks), series=group, size=size)
