"""The command line as a user meets it: with exit codes, streams and files."""

import contextlib
import html
import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

import hardplace as hp
from commands import Ended
from commands import command as in_process
from hardplace.api.search_runs import journalling
from hardplace.branch_and_bound.types import StoppingRule
from hardplace.cli.working import Where, search_folder
from hardplace.design.goals import Objective
from hardplace.design.journal_rows import FILE, run
from hardplace.design.results import DesignResult
from hardplace.errors import BadInput
from hardplace.files import write
from hardplace.report.page import command
from hardplace.workload.load import catalogue, load
from search_questions import question

SMALL = ("--space", "phaze", "--area", "30", "--micro-batch", "1", "--tensor-parallel", "1")


def hardplace(*arguments: str, folder: Path | None = None) -> Ended:
    return in_process(*arguments, folder=folder or Path.cwd())


def test_search_prints_the_answer_and_writes_its_folder(tmp_path: Path) -> None:
    done = hardplace("search", "opt-350m", *SMALL, folder=tmp_path)
    assert done.code == 0, done.err
    for word in ("chip", "plan", "samples/s", "MFU", "certificate", "TPUv4", "pure data parallel", "memory"):
        assert word in done.out
    result = hp.read(tmp_path / "hardplace-out/opt-350m/result.json")
    assert isinstance(result, DesignResult)
    assert result.gap <= 0.01
    assert result.best.chip.area_mm2 <= 30
    page = (tmp_path / "hardplace-out/opt-350m/page.html").read_text()
    assert result.best.chip.name in page or f"{result.best.samples_per_s:,.0f}" in page


def test_json_is_all_of_standard_output_and_the_same_as_the_file(tmp_path: Path) -> None:
    done = hardplace("search", "opt-350m", *SMALL, "--json", "--out", "here", folder=tmp_path)
    assert done.code == 0, done.err
    assert json.loads(done.out) == json.loads((tmp_path / "here/result.json").read_text())


def test_searches_after_each_other_have_a_folder_each_and_the_same_one_its_own_again(tmp_path: Path) -> None:
    first = (*SMALL, "--devices", "64", "--batch", "512")
    for arguments, folder in ((first, "opt-350m"), (SMALL, "opt-350m-2"), (first, "opt-350m")):
        done = hardplace("search", "opt-350m", *arguments, folder=tmp_path)
        assert done.code == 0, done.err
        assert f"written: hardplace-out/{folder}/result.json" in done.out
    # A folder that is named is that of one run.
    other = hardplace("search", "opt-350m", *SMALL, "--out", "hardplace-out/opt-350m", folder=tmp_path)
    assert other.code == 2
    assert "setting.cluster.devices was 64, now 1024" in other.err
    assert sorted(one.name for one in (tmp_path / "hardplace-out").iterdir()) == ["opt-350m", "opt-350m-2"]


SPACE = """name = "few"
description = "few"
area_model = "phaze"
node_nm = 7
dtype = "bf16"
area_limit_mm2 = 60
tensor_cores = "4, 8"
array_rows = "64, 128"
array_columns = "64, 128"
vector_cores = "4, 16"
vector_lanes = "array_columns"
buffers = ["2 MiB", "4 MiB"]
"""


def test_an_exhaustive_search_ends_at_the_same_answer(tmp_path: Path) -> None:
    (tmp_path / "few.toml").write_text(SPACE.replace('"4, 16"', '"4"'))
    asked = ("search", "opt-350m", "--space", "few.toml", *SMALL[4:], "--json", "--gap", "0.001")
    every = json.loads(hardplace(*asked, "--exhaustive", "--out", "every", folder=tmp_path).out)["answer"]
    best = json.loads(hardplace(*asked, "--out", "best", folder=tmp_path).out)["answer"]
    assert every["candidates"] == best["candidates"]
    assert every["exact_evaluations"] > best["exact_evaluations"]
    assert every["best"]["samples_per_s"] <= best["bound"]
    assert best["best"]["samples_per_s"] >= every["best"]["samples_per_s"] / 1.001


def test_few_evaluations_end_a_search_with_its_gap(tmp_path: Path) -> None:
    (tmp_path / "few.toml").write_text(SPACE.replace('"4, 8"', '"1..8 doubling"').replace('"4, 16"', '"1..8 doubling"'))
    asked = ("search", "resnet-50", "--setting", "phaze", "--space", "few.toml", "--gap", "0", *SMALL[4:], "--json",
             "--evaluations", "1")  # fmt: skip
    done = hardplace(*asked, folder=tmp_path)
    assert done.code == 0, done.err
    result = json.loads(done.out)["answer"]
    assert result["stop"] == "evaluations spent"
    assert result["exact_evaluations"] == 1
    assert result["bound"] > result["score"]


def test_a_budget_below_tpuv4_is_searched_against_it(tmp_path: Path) -> None:
    done = hardplace("search", "opt-350m", *SMALL, "--json", folder=tmp_path)
    result = json.loads(done.out)["answer"]
    assert result["best"]["chip"]["area_mm2"] <= 30, "a baseline outside the budget must not become the answer"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("search", "lama2-7b"), ["lama2-7b", "llama2-7b"]),
        (("search", "llama2-7b", "--setting", "hbm"), ["setting 'hbm'", "hbm3"]),
        (("serch", "llama2-7b"), ["serch", "search"]),
        (("search", "llama2-7b", "--devces", "4"), ["--devces", "--devices"]),
        (("search", "llama2-7b", "--devices", "0"), ["--devices", "0"]),
        (("search", "llama2-7b", "--devices", "many"), ["--devices", "many"]),
        (("search", "llama2-7b", "--batch", "-4"), ["--batch", "-4"]),
        (("search", "llama2-7b", "--area", "-1"), ["--area", "-1"]),
        (("search", "llama2-7b", "--area", "nan"), ["--area", "nan"]),
        (("search", "llama2-7b", "--memory", "80 parsec"), ["--memory", "80 parsec"]),
        (("search", "llama2-7b", "--memory", "0 GB"), ["--memory", "0 GB"]),
        (("search", "llama2-7b", "--memory", "80"), ["--memory", "'80'", "with its unit, such as '80 GB'"]),
        (("search", "llama2-7b", "--limit", "memory=80"), ["--limit: memory", "'80'", "with its unit"]),
        (
            ("search", "llama2-7b", "--tensor-parallel", "3"),
            ["--tensor-parallel", "3", "divides nothing of llama2-7b"],
        ),
        (("search", "llama2-7b", "--tensor-parallel", "8", "--devices", "4"), ["--tensor-parallel", "8", "4 devices"]),
        (("search", "llama2-7b", "--micro-batch", "3"), ["--micro-batch", "3", "4096"]),
        (("search", "llama2-7b", "--gap", "2"), ["--gap", "2"]),
        (("search", "llama2-7b", "--recompute", "some"), ["--recompute", "some"]),
        (("search",), ["MODEL"]),
        (("search", "nowhere/model.json"), ["nowhere/model.json"]),
        (("chips", "--area", "0"), ["--area", "0"]),
        (("search", "llama2-7b", "--out", "/dev/null/here"), ["--out", "/dev/null"]),
        (("search", "opt-350m", "--exhaustive", "--seconds", "9"), ["--exhaustive", "--seconds"]),
        (("search", "opt-350m", "--seconds", "nan"), ["--seconds", "nan"]),
        (("search", "opt-350m", "--gap", "nan"), ["--gap", "nan"]),
        (("search", "opt-350m", "--scheduler", "nowhere"), ["--scheduler", "nowhere", "port"]),
        (("schedule", "opt-350m", "--chip", "8x128x128-2x128-128MiB", "--seconds", "inf"), ["--seconds", "inf"]),
        (("schedule", "opt-350m", "--chip", "٨x128x128-2x128-128MiB"), ["--chip", "٨"]),
        (("compare", "opt-350m", "--seconds", "nan"), ["--seconds", "nan"]),
        (("compare", "opt-350m", "--area", "nan"), ["--area", "nan"]),
        (("place", "llama2-7b", "--device", "h100-sxm:²", "--batch", "8"), ["--device", "²"]),
        (("validate", "gpu", "."), ["validate gpu", "gemm_DEVICE.csv.gz"]),
        (("verify", "opt-350m", "--out", "none/verify.py"), ["none/verify.py"]),
        (("verify", "opt-350m", "--cpu", "--sweep"), ["--cpu", "--sweep"]),
        (("verify", "opt-350m", "--repeats", "3"), ["--repeats", "only with --cpu"]),
        (("split", "resnet-50", "--device", "cpu", "--memory", "8GiB"), ["--memory", "8GiB", "none for a model"]),
        *(
            ((*words, "--out", "/dev/null/here"), ["/dev/null"])
            for words in (
                ("show", "opt-350m"),
                ("audit", "opt-350m", "--device", "h100-sxm"),
                ("shape", "llama2-7b", "--device", "h100-sxm"),
                ("estimate", "opt-350m", "--operators", "--on", "tpu-v4"),
            )
        ),
    ],
)
def test_bad_input_is_one_line_and_code_2(arguments: tuple[str, ...], words: list[str], tmp_path: Path) -> None:
    done = hardplace(*arguments, folder=tmp_path)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("hardplace: ")
    assert done.err.count("\n") == 1
    for word in words:
        assert word in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["truncated", "field", "type", "negative", "not json"])
def test_a_damaged_workload_file_is_named_with_its_field(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    write(path, load("opt-350m"))
    text = path.read_text()
    content = json.loads(text)
    if damage == "field":
        content["colour"] = "red"
    elif damage == "type":
        content["sequence_length"] = "long"
    elif damage == "negative":
        content["layers"][0]["storages"][0]["parameters"] = -1
    text = {"truncated": text[:1000], "not json": "hello"}.get(damage, json.dumps(content))
    path.write_text(text)
    done = hardplace("search", "model.json", folder=tmp_path)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "model.json" in done.err
    word = {"field": "colour", "type": "sequence_length", "negative": "parameters"}.get(damage, "")
    assert word in done.err
    assert [one.name for one in tmp_path.iterdir()] == ["model.json"]


def test_a_workload_file_is_searched_like_a_model_of_the_catalogue(tmp_path: Path) -> None:
    write(tmp_path / "mine.json", load("opt-350m"))
    done = hardplace("search", "mine.json", *SMALL, "--json", folder=tmp_path)
    assert json.loads(done.out)["answer"]["model"] == "opt-350m"


def test_infeasible_is_code_3_and_says_what_is_short(tmp_path: Path) -> None:
    done = hardplace("search", "gpt3-175b", "--space", "phaze", "--memory", "8 GiB", "--devices", "4", folder=tmp_path)
    assert done.code == 3
    assert done.out == ""
    assert "memory" in done.err
    assert "has 8 GiB" in done.err
    assert done.err.strip().count("\n") == 0
    # That nothing fits is an answer: the journal keeps it, and there is no result.
    assert [one.name for one in tmp_path.rglob("*") if one.is_file() and one.suffix != ".json"] == ["journal.sqlite"]
    assert "infeasible" in hardplace("runs", folder=tmp_path).out


def test_ctrl_c_leaves_the_best_answer_so_far_and_its_gap(tmp_path: Path) -> None:
    asked = "search bert-large --space phaze --setting phaze --gap 0 --json"
    running = subprocess.Popen(
        [sys.executable, "-m", "hardplace", *asked.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    journal = tmp_path / "hardplace-out/bert-large/journal.sqlite"
    for _ in range(600):
        time.sleep(0.2)
        with contextlib.suppress(BadInput, TypeError):  # before its tables are there
            if run(journal).incumbent is not None:
                break
    running.send_signal(signal.SIGINT)
    output, errors = running.communicate(timeout=120)
    assert running.returncode == 0, errors
    result = json.loads(output)["answer"]
    assert result["stop"] == "interrupted"
    assert result["bound"] >= result["best"]["samples_per_s"] > 0


def test_no_arguments_print_the_help() -> None:
    done = hardplace()
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Usage: hardplace")


def test_the_objectives_are_in_the_help() -> None:
    said = "".join(hardplace("search", "--help").out.split())
    assert all(one in said for one in Objective)


@pytest.mark.parametrize("verb", ["", "search", "models", "chips"])
def test_help(verb: str) -> None:
    done = hardplace(*([verb] if verb else []), "--help")
    assert done.code == 0
    assert "Usage: hardplace" in done.out


def test_models_and_chips_list_what_is_there() -> None:
    models = json.loads(hardplace("models", "--json").out)["answer"]
    assert {one["name"] for one in models} == set(catalogue())
    chips = json.loads(hardplace("chips", "--json").out)["answer"]
    assert len(chips["space"]["area_mm2"]) == 29_360
    assert "llama2-7b" in hardplace("models").out
    assert "29,360" in hardplace("chips").out


def test_import_is_light() -> None:
    code = (
        "import sys, hardplace.cli; heavy = {'torch', 'ortools', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(("theirs", "threads"), [({}, "1"), ({"OMP_NUM_THREADS": "2"}, None)])
def test_openblas_starts_no_threads_unless_the_user_says_how_many(theirs: dict[str, str], threads: str | None) -> None:
    others = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    code = (
        "import contextlib, os, sys; from hardplace.cli import main; sys.argv = ['hardplace', '--version']\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "assert 'numpy' not in sys.modules; print(os.environ.get('OPENBLAS_NUM_THREADS'))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=others | theirs, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == [str(threads)], done.stderr


def test_an_area_that_no_chip_meets_is_infeasible_and_names_the_least() -> None:
    done = hardplace("search", "llama2-7b", "--space", "phaze", "--area", "1")
    assert done.code == 3
    assert "area of a chip" in done.err.strip().splitlines()[-1]
    assert "3.36 mm2" in done.err


def test_a_tdp_that_leaves_no_rate_at_all_is_infeasible_and_names_the_least() -> None:
    done = hardplace("search", "llama2-7b", "--micro-batch", "1", "--tensor-parallel", "1", "--limit", "tdp=30W")
    assert done.code == 3
    assert "TDP of a chip" in done.err.strip().splitlines()[-1]
    assert "needs 71.8 W, has 30.0 W" in done.err


@pytest.mark.parametrize(
    "asked",
    [
        "--space phaze --area 30 --micro-batch 1 --tensor-parallel 1 --devices 64 --batch 512 --setting phaze "
        "--recompute none",
        "--space phaze --area 40 --micro-batch 1 --tensor-parallel 1 --devices 64 --batch 512 --objective energy "
        "--limit tdp=300W --limit step=90s --limit price=1500USD --memory 40GB --memory 80GiB",
        "--space open --area 200 --micro-batch 1 --tensor-parallel 1 --devices 16 --batch 16 --evaluations 1",
    ],
)
def test_the_pages_command_asks_the_same_question(asked: str, tmp_path: Path) -> None:
    """The page holds the command that was given; the answer alone gives one, too. A folder's journal refuses another
    question."""
    given = ["search", "opt-350m", *asked.split(), "--out", "here"]
    done = hardplace(*given, folder=tmp_path)
    assert done.code == 0, done.err
    assert html.escape(shlex.join(["hardplace", *given])) in (tmp_path / "here/page.html").read_text()
    again = command(hp.read(tmp_path / "here/result.json"))
    done = hardplace(*shlex.split(again)[1:], "--out", "here", "--evaluations", "1", folder=tmp_path)
    assert done.code == 0, done.err


def test_a_journal_that_another_process_has_just_begun_is_not_taken_for_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two different searches start at once: the folder is of the one whose record stands there, whatever the journal
    does not say yet."""
    monkeypatch.chdir(tmp_path)
    first, second = (
        journalling(question("opt-350m", micro_batches=(micro_batch,)), StoppingRule(gap=0.01))
        for micro_batch in (1, 2)
    )
    where = Where(workers=1, scheduler=None, fresh=False)
    folder = search_folder(first, None, where)
    connection = sqlite3.connect(folder / FILE)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    assert [search_folder(one, None, where).name for one in (second, first)] == ["opt-350m-2", "opt-350m"]
