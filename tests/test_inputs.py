"""Inputs that once ended in a traceback, a hang or a wrong answer: each in one line (tests/data/inputs/README.md)."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import hardplace as hp
from commands import command

DATA = Path(__file__).parent / "data/inputs"
TINY = ["--devices", "8", "--batch", "8", "--micro-batch", "1", "--tensor-parallel", "1", "--recompute", "none"]
TINY += ["--evaluations", "5", "--memory", "32GiB"]
REFUSED = [
    ("trace config-size-nan.json", "NaN"),
    ("trace nan_size.json", "NaN"),
    ("trace infinite_size.json", "Infinity"),
    ("trace auto_map_text.json", "auto_map"),
    ("audit config-digits.json --device h100-sxm", "digits"),
    ("shape config-digits.json --device h100-sxm", "digits"),
    ("audit config-deep.json --device h100-sxm", "brackets"),
    ("trace config-deep.json", "brackets"),
    ("trace config-architectures-newline.json", "architectures: ['a\\nb']"),
    ("chip device-deep.toml", "brackets"),
    ("search opt-350m --space space-deep.toml --seconds 3", "brackets"),
    ("chip device-cores-400-digits.toml", "vector_cores"),
    ("validate gemm gemm-digits.csv --device h100-sxm", "line 2: k"),
    ("validate training --data training-heads-1e13.csv", "line 2: heads"),
    ("show workload-name-nul.json.gz", "name"),
    ("show workload-parameters.json.gz", "parameters"),
    ("estimate workload-flops.json.gz --operators --on h100-sxm", "flops"),
    ("place edited_dims_zero.json.gz --device h100-sxm --devices 8 --batch 64", "dims"),
    ("place edited_saved_dup.json.gz --device h100-sxm --devices 8 --batch 64", "saved"),
    ("place edited_stor_params_incons.json.gz --device h100-sxm --devices 8 --batch 64", "parameters"),
    ("replan running-batch.json --lost 8-15", "global_batch"),
    ("estimate llama2-7b --plan plan-long-device.json", "on: unknown device 'AAA"),
    ("runs journal-no-state", "state"),
    ("runs journal-bound-text", "bound"),
    ("runs journal-incumbent-bytes", "incumbent"),
]


@pytest.mark.parametrize(("line", "said"), REFUSED, ids=[line for line, _ in REFUSED])
def test_one_line_names_the_file_and_the_field(line: str, said: str, tmp_path: Path) -> None:
    file = next(word for word in line.split() if (DATA / word).exists())
    ended = command(*(str(DATA / word) if word == file else word for word in line.split()), folder=tmp_path)
    assert ended.code == 2
    assert ended.err.startswith(f"hardplace: {DATA / file}")
    assert ended.err.count("\n") == 1
    assert said in ended.err
    assert len(ended.err) < 1500
    assert not list(tmp_path.iterdir())


IMPOSSIBLE = (
    "estimate TINY --operators --on 8x128x128-10101010101010101010x128-128MiB",
    "chip 2x16x16-99999999999999999999x32-2MiB",
    "chip /dev/zero",
)


@pytest.mark.parametrize("line", IMPOSSIBLE)
def test_sizes_that_cannot_be_are_refused(line: str, tmp_path: Path) -> None:
    ended = command(*line.replace("TINY", str(DATA / "tiny.json.gz")).split(), folder=tmp_path)
    assert (ended.code, ended.err.count("\n")) == (2, 1)


@pytest.mark.parametrize("text", ["raise RuntimeError('raised while importing')\n", "def f(:\n"])
def test_a_module_that_cannot_be_imported_is_one_line(text: str, tmp_path: Path) -> None:
    name = f"module_{abs(hash(text))}"
    (tmp_path / f"{name}.py").write_text(text)
    ended = command("trace", f"{name}:f", folder=tmp_path)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert ended.err.startswith(f"hardplace: {name}:f: {name} cannot be imported: ")


def test_a_small_file_that_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "bomb.json.gz", "wb", compresslevel=1) as file:
        for _ in range(64):
            file.write(b" " * 2**20)
    ended = command("show", "bomb.json.gz", folder=tmp_path)
    assert ended.code == 2
    assert "unpacks to more than" in ended.err


def test_a_row_without_pipeline_stages_is_not_modelled(tmp_path: Path) -> None:
    ended = command("validate", "training", "--data", str(DATA / "training-pp-0.csv"), folder=tmp_path)
    assert ended.code == 0
    assert "pp: 0" in ended.out


@pytest.mark.parametrize(
    "name", ["workload-name-dots", "workload-name-escapes", "edited_name_nl", "workload-html-names"]
)
def test_a_name_stays_in_its_folder_and_off_the_terminal(name: str, tmp_path: Path) -> None:
    ended = command("show", str(DATA / f"{name}.json.gz"), folder=tmp_path)
    assert ended.code == 0
    assert all(one.isprintable() or one in "\n\xa0" for one in ended.out + ended.err)
    assert [one.name for one in tmp_path.iterdir()] == ["hardplace-out"]
    (folder,) = (tmp_path / "hardplace-out").iterdir()
    assert folder.is_dir()
    assert folder.name.isprintable()
    assert sorted(one.name for one in folder.iterdir()) == ["show-asked.json", "workload.html"]
    assert "<script>alert" not in (folder / "workload.html").read_text()


def test_a_damaged_journal_is_named_and_the_others_are_listed(tmp_path: Path) -> None:
    space, model = str(DATA / "tiny.toml"), str(DATA / "tiny.json.gz")
    assert command("search", model, "--space", space, *TINY, folder=tmp_path).code == 0
    shutil.copytree(DATA / "journal-no-state", tmp_path / "hardplace-out/damaged")
    (tmp_path / "hardplace-out/damaged/journal.sqlite").chmod(0o444)
    ended = command("runs", folder=tmp_path)
    assert ended.code == 2
    assert "hardplace-out/tiny" in ended.out
    assert ended.err.startswith("hardplace: hardplace-out/damaged/journal.sqlite: state")
    assert not [one.name for one in tmp_path.rglob("*-wal")] + [one.name for one in tmp_path.rglob("*-shm")]
    shutil.copytree(DATA / "journal-asked-not-json", tmp_path / "copy")
    ended = command("search", model, "--space", space, *TINY, "--out", "copy", folder=tmp_path)
    assert ended.code == 2
    assert "--fresh" in ended.err


def test_every_verb_keeps_its_answers_apart(tmp_path: Path) -> None:
    model = str(DATA / "tiny.json.gz")
    twice = (["show", model], ["show", model, "--micro-batch", "2"], ["show", model])
    for words in (*twice, ["audit", model, "--device", "h100-sxm"]):
        assert command(*words, folder=tmp_path).code == 0
    names = sorted(str(one.relative_to(tmp_path / "hardplace-out")) for one in (tmp_path / "hardplace-out").rglob("*"))
    pages = [one for one in names if one.endswith(".html")]
    assert len(pages) == 3
    ended = command(
        "show", model, "--micro-batch", "4", "--out", str(tmp_path / "hardplace-out" / names[0]), folder=tmp_path
    )
    assert "replaces the answer to" in ended.err
    listed = command("runs", folder=tmp_path).out
    for folder in {Path(one).parent.name for one in pages}:
        assert f"hardplace-out/{folder}" in listed


def test_a_plan_priced_or_replaced_is_an_answer_that_runs_lists(tmp_path: Path) -> None:
    plan, where = str(tmp_path / "plan.json"), ("--device", "a100-80gb-sxm")
    Path(plan).write_text('{"global_batch": 8, "data": 4, "zero": 1}')
    change = ("replan", plan, "--model", "bert-base", *where, "--lost", "3")
    for words in (("estimate", "bert-base", "--plan", plan, *where), change, (*change, "--horizon", "1h")):
        ended = command(*words, folder=tmp_path)
        assert ended.code == 0, ended.err
    out = tmp_path / "hardplace-out"
    assert [str(one.relative_to(out)) for one in sorted(out.rglob("*.json")) if "asked" not in one.name] == [
        "bert-base/estimate.json", "bert-base/replan.json", "bert-base-2/replan.json",
    ]  # fmt: skip
    listed = command("runs", folder=tmp_path).out
    assert listed.count("replan") == 2
    assert listed.count("estimate") == 1
    assert hp.read(out / "bert-base/replan.json").options


def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    for verb in ("place llama2-7b --device h100-sxm --devices 8 --batch 16", "search opt-350m --area 20"):
        asked = f"{sys.executable} -m hardplace {verb}"
        line = f"cd {folder} && rmdir {folder} && {asked}; code=$?; mkdir {folder}; exit $code"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith("hardplace: the current folder is gone; expected ")
        assert done.stderr.count("\n") == 1


def test_streams_end_by_convention(tmp_path: Path) -> None:
    shell = f"{sys.executable} -m hardplace"
    for line, code, said in (
        (f"{shell} models | head -1 >/dev/null; exit ${{PIPESTATUS[0]}}", None, ""),
        (f"{shell} models > /dev/full", 2, "hardplace: standard output: No space left on device\n"),
        (f"PYTHONIOENCODING=ascii {shell} chip h100-sxm --out x", 0, ""),
    ):
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode in ((0, 141) if code is None else (code,)), done.stderr
        assert done.stderr == said


def test_files_have_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        assert command("chip", "h100-sxm", "--out", "x", folder=tmp_path).code == 0
    finally:
        os.umask(before)
    assert (tmp_path / "x/chip.html").stat().st_mode & 0o777 == 0o600
