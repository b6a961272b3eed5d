"""Every command and example in the documents runs, and says what the documents say."""

import contextlib
import doctest
import importlib
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

import hardplace
import hardplace.cli  # joins the verbs
from commands import Ended, command
from hardplace.cli.app import app

ROOT = Path(__file__).parent.parent
README, COMMANDS_TOLD, TRUST = (
    (ROOT / name).read_text() for name in ("README.md", "docs/commands.md", "docs/trust.md")
)
BLOCKS = [block.strip().split("\n    ") for block in re.findall(r"(?:^    hardplace .*\n)+", COMMANDS_TOLD, flags=re.M)]
WAY = re.findall(r"^    (hardplace .*)$", (ROOT / "docs/exports.md").read_text(), flags=re.M)
# What reads the file that a trace wrote runs after it, in the folder of docs/exports.md, the others by themselves.
TRACED = next(block for block in BLOCKS if "trace" in block[0])
COMMANDS = [one for block in BLOCKS if block is not TRACED for one in block if one not in WAY]


@pytest.mark.parametrize("told", COMMANDS)
def test_a_command_that_is_told_runs(told: str, tmp_path: Path) -> None:
    for folder in ("examples", "validation"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    ended = ran(told, tmp_path)
    assert ended.code == 0, ended.err


def ran(told: str, folder: Path) -> Ended:
    """Run a command as it is told: in this process, unless it starts processes of its own."""
    _, *words = shlex.split(told, comments=True)
    if "--workers" not in words and words[0] != "run":
        return command(*words, folder=folder)
    done = subprocess.run(
        [sys.executable, "-m", "hardplace", *words], capture_output=True, text=True, cwd=folder, timeout=300
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def test_every_command_is_told() -> None:
    named = set(re.findall(r"hardplace ([a-z]+)", COMMANDS_TOLD))
    assert {name for name, verb in app.commands.items() if not verb.hidden} <= named


def test_the_way_from_a_config_to_a_trainer_and_back_runs(tmp_path: Path) -> None:
    """docs/exports.md, command after command in one folder, then what docs/commands.md does with the same trace."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    assert TRACED[0] in WAY
    told = [
        one
        for one in dict.fromkeys([*WAY, *TRACED])  # what both tell is run once
        # a package of its own; the first command once more
        if "chakra" not in one and not one.startswith(f"{WAY[0].partition(' --for')[0]} --trace")
    ]
    assert len(told) >= 11
    for one in told:
        folder, verb = tmp_path, one.split()[1]
        if verb == "import":  # somebody's own script
            (tmp_path / "run.sh").write_text((tmp_path / "hardplace-out/llama3-8b-megatron/megatron.args").read_text())
        if verb == "run":
            folder, one = tmp_path / "examples", one.replace("plan.json", str(tmp_path / "plan.json"))
            (tmp_path / "plan.json").write_text('{"global_batch": 4, "tensor": 2}')
        ended = ran(one, folder)
        assert ended.code == 0, f"{one}: {ended.err}"


def commands_in(path: Path) -> set[str]:
    """Commands in indented blocks and in `code`, but for those with a placeholder, such as MODEL."""
    text = path.read_text()
    blocks = re.findall(r"^    (hardplace [^\n\\]*(?:\\\n[^\n\\]*)*)", text, flags=re.M)
    found = {re.sub(r"\\\n\s*", "", one).partition("#")[0].strip() for one in blocks}
    found |= set(re.findall(r"`(hardplace [^`\n]+)`", text))
    return {one for one in found if not re.search(r"\b[A-Z]+\b", one)}


DOCUMENTS = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
TUTORIAL = sorted((ROOT / "docs/tutorial").glob("*.md"))
DOCUMENTS += TUTORIAL


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_of_a_document_is_one(path: Path) -> None:
    """The verb exists and takes these options; those of docs/commands.md are run as well."""
    for told in sorted(commands_in(path)):
        group, words = app, shlex.split(told)[1:]
        if words == ["--help"]:
            continue
        assert words[0] in group.commands, told
        if words[0] == "validate" and len(words) > 1 and words[1] in group.commands["validate"].commands:
            group, words = group.commands["validate"], words[1:]
        with contextlib.suppress(click.MissingParameter):  # a verb with some option, in a sentence
            group.commands[words[0]].make_context(words[0], words[1:])


def test_the_errors_that_are_told_are_those_of_the_documents() -> None:
    kernels, runs = ((ROOT / f"docs/validation{name}.md").read_text() for name in ("-gpu", ""))

    def errors(kind: str, text: str) -> list[tuple[str, float, float]]:
        rows = re.findall(rf"^\| (\S+) \| {kind} \| {text} \| \d+ \| ([\d.]+)% \| ([\d.]+)% \|", kernels, flags=re.M)
        return [(device, float(mean), float(worst)) for device, mean, worst in rows]

    def span(values: list[float]) -> str:
        return f"{min(values)}-{max(values)} %"

    large = [row for row in errors("gemm", "m >= 1024, n and k >= 512") if row[0] != "l40s"]
    assert len(large) == 6
    assert f"{span([mean for _, mean, _ in large])} mean, {span([worst for _, _, worst in large])} worst" in TRUST
    long = errors(r"attention \w+", "s >= 1024")
    assert f"{span([mean for _, mean, _ in long if mean < 17])} mean" in TRUST
    assert f"by up to {max(worst for _, _, worst in long):.0f} %" in TRUST
    steps, memory = re.findall(r"^\| all rows \| (\d+) \| ([\d.]+)% \| ([\d.]+)% \| ([\d.]+)%", runs, flags=re.M)[:2]
    told = f"{steps[0]} runs, test split, of sources that the fit knows | {steps[1]} % mean, {steps[2]} % median"
    assert f"{told}, {steps[3]} % worst" in TRUST
    assert f"{memory[0]} runs, test split | {memory[1]} % mean, {memory[3]} % worst" in TRUST
    unseen = runs.split("**torchtitan (torchtitan.csv)")[1]
    steps, memory = re.findall(r"^\| all rows \| (\d+) \| ([\d.]+)% \| ([\d.]+)% \| ([\d.]+)%", unseen, flags=re.M)[:2]
    assert (
        f"{steps[0]} runs of torchtitan on H100, a source that no fit has seen | {steps[1]} % mean, {steps[3]} %"
        in TRUST
    )
    assert f"{memory[0]} of torchtitan: {memory[1]} %, {memory[3]} %)" in TRUST
    table = runs.split("**Gathered runs that are in no fit, by source**")[1].split("**Gathered runs (")[0]
    cells = [[cell.strip(" %") for cell in line.split("|")[1:-1]] for line in table.strip().splitlines()]
    rows = [cell for cell in cells if cell[0].endswith((", mean", ", median"))]
    (title, count, mean, _, inside), (_, _, median, *_), *nvidia = rows
    told = f"{count} runs of {title.split()[1]} sources, gathered and frozen before they were scored, in no fit"
    off = f"{mean} % mean of the sources, {median} % median; on NVIDIA's GPUs {nvidia[0][2]} and {nvidia[1][2]} %"
    assert f"{told} | {off}; {inside} % inside the 80 % interval" in TRUST


def test_the_readmes_table_of_errors_is_part_of_the_whole() -> None:
    rows = [
        line for line in README.splitlines() if line.startswith("| ") and "hp." not in line and "trust.md" not in line
    ]
    assert len(rows) >= 5
    assert set(rows) - set(TRUST.splitlines()) == {"| Question | Commands | In Python |"}


def test_the_readmes_main_command_prints_what_the_readme_shows(tmp_path: Path) -> None:
    first = re.search(r"^    python3 -m venv .* && \.venv/bin/(hardplace .*)$", README, flags=re.M)
    assert first is not None
    words = shlex.split(first[1])
    done = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, cwd=tmp_path, timeout=300,
        env={**os.environ, "COLUMNS": "120"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    def numbers(text: str) -> list[str]:
        # Seconds differ from run to run; everything else is deterministic.
        return [line for line in text.splitlines() if line.strip() and "after" not in line and "written" not in line]

    shown = re.search(r"^```text\n(.*?)^```", README, flags=re.M | re.S)
    assert shown is not None
    lines = [line.rstrip() for line in numbers(shown[1])]
    assert [line.rstrip() for line in numbers(done.stdout)][: len(lines)] == lines


def test_ci_runs_the_readmes_test_command() -> None:
    assert re.search(r"^    \./check$", README, flags=re.M)
    assert "\n./check\n" in (ROOT / ".ci/run").read_text()


@pytest.mark.parametrize("name", ["README.md", "docs/commands.md", "docs/python.md", "docs/tutorial/certificate.md"])
def test_examples_in_a_document(name: str) -> None:
    result = doctest.testfile(str(ROOT / name), module_relative=False)
    assert result.attempted > 0
    assert result.failed == 0


FOLDERS = ("src", "tests", "benchmarks", "examples", "validation")
SOURCES = {path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
WRITTEN = {
    "time_my_gpu.py",
    "verify_llama2-7b.py",
    "flavor.py",
    "accelerate_setup.py",
}  # by verbs, in the user's folder
PEERS = (
    "ops/",
    "mixed_precision.py",
    "chunk_o.py",
    "wy_fast.py",
    "recipes/",
    "atorch/",
    "deepspeed/",
    "transformer_engine/",
    "modeling_llama.py",
    "models/llama/",
    "megatron/",
    "src/megatron/",
    "nemo/",
    "paddlenlp/",
    "src/MaxText/",
    "tokamax/",
    "torch/",
    "torchtitan/",
    "paddlenlp/",
)  # of state-spaces/mamba, flash-linear-attention, Megatron-Bridge, dlrover, DeepSpeed, TransformerEngine,
# transformers, Megatron-LM, MaxText, tokamax, PyTorch, torchtitan and PaddleNLP


DECISIONS = sorted((ROOT / "docs/decisions").glob("*.md"))


@pytest.mark.parametrize("path", [*DOCUMENTS, *DECISIONS, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_every_module_that_a_document_names_exists(path: Path) -> None:
    """A path, or the end of one: `plans/memory.py`, `memory.py`. The change log tells of the past."""
    if path.name == "CHANGELOG.md":
        return
    named = set(re.findall(r"(?<![\w./-])[\w./-]*\w\.py\b", path.read_text())) - WRITTEN
    named = {name for name in named if not name.startswith(PEERS)}
    stale = sorted(name for name in named if not any(f"/{source}".endswith(f"/{name}") for source in SOURCES))
    assert not stale, f"{path.name} names modules that do not exist: {', '.join(stale)}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_dotted_name_in_a_document_can_be_imported(path: Path) -> None:
    for name in set(re.findall(r"`(hardplace(?:\.\w+)+\.[A-Z]\w*)`", path.read_text())):
        module, _, kind = name.rpartition(".")
        assert hasattr(importlib.import_module(module), kind), name


def test_examples_in_docstrings() -> None:
    attempted = 0
    for module in pkgutil.walk_packages(hardplace.__path__, "hardplace."):
        if ".recording." in module.name or module.name == "hardplace.__main__":
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


def test_a_closed_section_of_the_changelog_stays_as_it_is() -> None:
    """New lines go to Unreleased; a merge that adds them to a version that is out would show here."""
    text = (ROOT / "CHANGELOG.md").read_text()
    unreleased, _, closed = text.partition("\n## 0.1.0\n")
    assert "\n## Unreleased\n" in unreleased
    assert len(re.findall(r"^- ", closed, flags=re.M)) == 33
    for section in (unreleased, closed):
        assert re.findall(r"^### (\w+)$", section, flags=re.M) == ["Added", "Changed", "Fixed"]
