"""Habits of the command line: templates, the glossary, the doctor, completion, quiet and verbose, progress."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import hardplace as hp
import hardplace.cli  # joins the verbs
from hardplace.cli.app import app
from hardplace.cli.new import USES
from hardplace.cli.progress import lines
from hardplace.errors import BadInput
from hardplace.glossary import entries, explained
from hardplace.hardware.catalogue import device_names, read_device, read_node
from hardplace.hardware.setting_files import setting_of
from hardplace.hardware.space_files import space
from hardplace.plans.plan_files import read_plan
from hardplace.starters import KINDS

assert hardplace.cli


def run(*words: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner(env=env).invoke(app, words)


READERS = {
    "chip": read_device,
    "node": read_node,
    "space": lambda path: space(str(path)),
    "setting": lambda path: setting_of(str(path)),
    "plan": read_plan,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_is_valid_as_it_is_written(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"{kind}.toml"
    done = run("new", kind, "--out", str(path))
    assert done.exit_code == 0, done.output
    assert f"use it with: {USES[kind].split('FILE')[0]}" in done.output
    assert READERS[kind](path)
    assert path.read_text().count("#") > 5
    with pytest.raises(BadInput, match=r"--out: .*: expected a file that does not exist yet"):
        CliRunner().invoke(app, ["new", kind, "--out", str(path)], catch_exceptions=False)


def test_a_template_of_a_plan_is_priced(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    assert run("new", "plan", "--out", str(path)).exit_code == 0
    assert hp.estimate("llama2-7b", path, "h100-sxm").fits


def test_a_term_is_explained() -> None:
    done = run("explain", "mfu")
    assert done.stdout.startswith("MFU: model FLOPs utilisation")
    assert json.loads(run("explain", "gap", "--json").stdout)["answer"]["gap"].startswith("by what share")
    assert [one.term for one in explained("ZeRO")] == ["ZeRO-1", "ZeRO-2, ZeRO-3"]
    assert all(one.meaning for one in entries())
    with pytest.raises(BadInput, match="unknown term 'bubbel'; did you mean bubble"):
        explained("bubbel")


def test_the_doctor_says_what_is_there() -> None:
    done = run("doctor", "--json")
    assert done.exit_code == 0, done.output
    rows = {one["what"]: one for one in json.loads(done.stdout)["answer"]}
    assert rows["self-test"]["ok"]
    assert rows["numpy"]["ok"]
    assert rows["extra torch"]["needed"] is False


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_names_the_command(shell: str) -> None:
    done = run("--completion", shell)
    assert done.exit_code == 0
    assert "_HARDPLACE_COMPLETE" in done.stdout


def test_names_of_models_and_devices_are_completed() -> None:
    words = {"COMP_WORDS": "hardplace place llama2-7b --device h100", "COMP_CWORD": "4"}
    done = CliRunner(env={"_HARDPLACE_COMPLETE": "bash_complete", **words}).invoke(app, [], prog_name="hardplace")
    told = {line.partition(",")[2] for line in done.stdout.split()}
    assert told == {name for name in device_names() if name.startswith("h100")} >= {"h100-pcie", "h100-sxm"}


def test_quiet_prints_the_answer_only_and_verbose_what_it_took(tmp_path: Path) -> None:
    words = ("chip", "h100-sxm", "--out", str(tmp_path))
    plain, still, told = run(*words), run(*words, "--quiet"), run(*words, "--verbose")
    assert "written:" in plain.stdout
    assert still.stdout == plain.stdout.split("\nwritten:")[0]
    assert "s of processor time" in told.stderr
    assert not plain.stderr


def test_no_color_is_heeded(tmp_path: Path) -> None:
    env = {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm-256color"}
    done = run("audit", "gpt3-2.7b", "--device", "a100-80gb-sxm", "--out", str(tmp_path), env=env)
    assert "\x1b[31m" not in done.stdout
    assert "\x1b[32m" not in done.stdout


@pytest.mark.parametrize("words", ["models", "chips --area 60", "chip", "chip h100-sxm", "show vit-l", "runs ."])
def test_json_is_the_same_envelope_everywhere(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = json.loads(run(*words.split(), "--json").stdout)
    assert [*found] == ["hardplace", "kind", "question", "answer", "certificate", "notes"]
    assert found["kind"] == words.split()[0]


def test_progress_is_a_line_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    show = lines(lambda: now)
    for now in (1.0, 9.9, 10.0, 12.0, 20.5):
        show("best 2 s", now / 100.0)
    assert capsys.readouterr().err.splitlines() == [
        "hardplace: 10 s: best 2 s, about 90 s left",
        "hardplace: 20 s: best 2 s, about 80 s left",
    ]


def test_the_list_of_commands_is_whole_at_any_width():
    from hardplace.cli.app import app

    for width in (80, 100, 120):
        context = click.Context(app, info_name="hardplace", terminal_width=width, max_content_width=width)
        listed = app.get_help(context).partition("\nCommands:\n")[2]
        assert all(f"\n  {name} " in f"\n{listed}" for name in app.commands)
        assert "..." not in listed
        assert max(map(len, listed.splitlines())) <= width
