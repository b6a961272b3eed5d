"""Every command and example in the documents runs, and says what the documents say."""

import doctest
import importlib
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import hardplace

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = [block.strip().split("\n    ") for block in re.findall(r"(?:^    hardplace .*\n)+", README, flags=re.M)]
# What reads a file that the command above it wrote runs after that one, the others by themselves.
COMMANDS = [[one] for block in BLOCKS if "trace" not in block[0] for one in block]
COMMANDS += [block for block in BLOCKS if "trace" in block[0]]


@pytest.mark.parametrize("commands", COMMANDS, ids=lambda commands: commands[0])
def test_a_command_of_the_readme_runs(commands: list[str], tmp_path: Path) -> None:
    for folder in ("examples", "validation"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    for command in commands:
        words = shlex.split(command)
        done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, cwd=tmp_path, timeout=300)
        assert done.returncode == 0, done.stderr


def test_the_readmes_main_command_prints_what_the_readme_shows(tmp_path: Path) -> None:
    first = re.search(r"^    python3 -m venv .* && \.venv/bin/(hardplace .*)$", README, flags=re.M)
    assert first is not None
    words = shlex.split(first[1])
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr

    def numbers(text: str) -> list[str]:
        # Seconds differ from run to run; everything else is deterministic.
        return [line for line in text.splitlines() if line.strip() and "after" not in line and "written" not in line]

    shown = re.search(r"^```text\n(.*?)^```", README, flags=re.M | re.S)
    assert shown is not None
    assert [line.rstrip() for line in numbers(done.stdout)] == [line.rstrip() for line in numbers(shown[1])]


def test_ci_runs_the_readmes_test_command() -> None:
    assert re.search(r"^    \./check$", README, flags=re.M)
    assert "\n./check\n" in (ROOT / ".ci/run").read_text()


def test_examples_in_the_readme() -> None:
    assert doctest.testfile(str(ROOT / "README.md"), module_relative=False).failed == 0


def test_examples_in_docstrings() -> None:
    attempted = 0
    for module in pkgutil.walk_packages(hardplace.__path__, "hardplace."):
        if ".torch_" in module.name or module.name == "hardplace.__main__":
            continue
        result = doctest.testmod(importlib.import_module(module.name))
        assert result.failed == 0, module.name
        attempted += result.attempted
    assert attempted > 0


def test_the_model_document_names_every_module_it_should() -> None:
    text = (ROOT / "docs/model.md").read_text()
    assert "@@" not in text
    assert "@@" not in README
    for heading in (
        "Workload",
        "Chips and area",
        "Kernels and their times",
        "Scheduling",
        "Placement",
        "Search bounds",
    ):
        assert re.search(rf"^## [\d, ]+\. {heading}", text, flags=re.M), heading
    for chapter in re.findall(r"\]\(([\w-]+\.md)\)", text):
        assert (ROOT / "docs" / chapter).exists()
