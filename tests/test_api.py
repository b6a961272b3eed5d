"""`import hardplace as hp`: names and defaults are frozen; answers print, save and come back; errors name fields."""

import ast
import dataclasses
import inspect
import json
import math
import subprocess
import sys
from pathlib import Path

import click
import pytest

import hardplace as hp
import hardplace.cli  # joins the verbs
from hardplace.cli.app import app
from hardplace.plans.plan import Plan

ROOT = Path(__file__).parents[1]
FROZEN = json.loads((ROOT / "tests/data/frozen.json").read_text())


def signature(name: str) -> dict[str, str]:
    found = inspect.signature(getattr(hp, name)).parameters
    return {one.name: "" if one.default is one.empty else repr(one.default) for one in found.values()}


def options(command: click.Command) -> list[str]:
    return sorted(max(one.opts, key=len) for one in command.params)


def test_names_parameters_and_defaults_are_those_that_were_promised() -> None:
    """Change tests/data/frozen.json only together with CHANGELOG.md."""
    functions = [name for name in hp.__all__ if inspect.isfunction(getattr(hp, name))]
    assert {name: signature(name) for name in functions} == FROZEN["api"]
    assert sorted(hp.__all__) == FROZEN["names"]


def test_defaults_that_are_named_below_are_those() -> None:
    """The api writes them out, so that it imports nothing before it is asked."""
    from hardplace.plans.placement.search import BEST
    from hardplace.plans.placement.space import HEADROOM
    from hardplace.plans.replanning.replan import RESTART_S, STORE_BYTES_PER_S
    from hardplace.shaping.rank import TOP

    assert (signature("place")["top"], signature("place")["headroom"]) == (repr(BEST), repr(HEADROOM))
    assert signature("shapes")["top"] == repr(TOP)
    found = signature("replan")
    assert (float(found["restart_s"]), float(found["store_bytes_per_s"])) == (RESTART_S, STORE_BYTES_PER_S)


def test_options_of_the_command_line_are_those_that_were_promised() -> None:
    assert {name: options(command) for name, command in app.commands.items()} == FROZEN["options"]


def test_the_package_is_imported_without_numpy() -> None:
    code = "import sys, hardplace as hp; print('numpy' in sys.modules, 'place' in dir(hp))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


@pytest.fixture(scope="module")
def placed():
    return hp.place("llama2-7b", "h100-sxm", 8, batch=16, fixed={"tensor": (1, 2), "zero": 1, "recompute": "none"})


@pytest.fixture(scope="module")
def answers(placed, tmp_path_factory):
    plan = tmp_path_factory.mktemp("plans") / "plan.json"
    from hardplace.files import write

    write(plan, hp.plan_file(placed))
    tables = plan.with_name("tables.json")
    rows = [["a", 1000, 64, 1], ["b", 5000, 32, 8]]
    write(tables, {"devices": 2, "devices_per_node": 2, "hbm_bytes": 1e9, "batch_per_device": 64, "tables": rows})
    chip = {"space": "phaze", "limits": {"area": 12.0}, "devices": 8, "batch": 32, "micro_batch": 1, "tensor": 1}
    chip["recompute"] = False
    return {
        "place": placed,
        "estimate": hp.estimate("llama2-7b", plan),
        "plan frontier": hp.plan_frontier(
            "opt-350m", "h100-sxm", 4, batch=8, against="devices", fixed={"tensor": 1, "micro_batch": 1, "pipeline": 1}
        ),
        "infeasible": hp.place("llama3-70b", "h100-sxm", 1, batch=1, fixed={"micro_batch": 1}),
        "operators": hp.operators("opt-350m", "tpu-v4"),
        "audit": hp.audit("gpt3-2.7b", "a100-80gb-sxm"),
        "shapes": hp.shapes("gpt3-2.7b", "a100-80gb-sxm", freeze=("vocab", "layers"), top=2),
        "replan": hp.replan(plan, lost=[7]),
        "schedule": hp.schedule("opt-350m", "8x128x128-2x128-128MiB", phase="forward"),
        "search": hp.search("opt-350m", **chip),
        "no chip": hp.search("opt-350m", **chip | {"limits": {"area": 0.5}}),
        "frontier": hp.frontier("opt-350m", gap=0.5, **chip),
        "share": hp.share(["opt-350m", "bert-large"], gap=0.5, **chip),
        "stages": hp.stages("opt-350m", gap=0.5, **chip),
        "compare": hp.compare("opt-350m", "random", limits={"area": 10.0}, devices=8, batch=32, evaluations=1, gap=0.5),
        "codesign": hp.codesign("gpt3-2.7b", within=0.005, freeze=("vocab", "layers", "hidden"), gap=0.5, **chip),
        "split": hp.split(ROOT / "examples/split/inception-block.json", ("cpu", "gpu:8GiB"), seconds=2),
        "tables": hp.tables(tables, seconds=1),
        "describe": hp.describe("gemmini", layers="softmax:8,16"),
        "variants": hp.describe("systolic", layers="softmax:8,16", vary={"rows": (8, 16)}),
    }


def kinds_of_answer() -> set[str]:
    """Return the classes that inherit from Answer, as the source has them, without those that are there to inherit
    from."""
    bases = {}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = {base.id for base in node.bases if isinstance(base, ast.Name)}
    found = {"Answer"}
    while more := {name for name, own in bases.items() if own & found} - found:
        found |= more
    return found - {"Answer", "SearchAnswer", "ScoredAnswer"}


def test_every_kind_of_answer_is_tried_here_and_has_a_view(answers) -> None:
    from hardplace.report.register import VIEWS

    kinds = kinds_of_answer()
    assert {type(answer).__name__ for answer in answers.values()} == kinds
    assert set(VIEWS) == kinds


VERBS = (
    "place", "plan frontier", "estimate", "infeasible", "operators", "audit", "shapes", "replan", "schedule", "search",
    "no chip", "frontier", "share", "compare", "codesign", "split", "tables", "describe", "variants",
)  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_an_answer_prints_draws_records_and_comes_back(verb, answers, tmp_path) -> None:
    answer = answers[verb]
    answer.save(tmp_path / "answer.json")
    again = hp.read(tmp_path / "answer.json")
    assert type(again) is type(answer)
    assert again == answer
    envelope = json.loads((tmp_path / "answer.json").read_text())
    assert list(envelope) == ["hardplace", "kind", "question", "answer", "certificate", "notes"]
    assert envelope["hardplace"] == hp.__version__
    assert envelope["question"] == json.loads(json.dumps(dict(answer.question)))
    assert len(str(answer)) > 40
    assert "\x1b" not in str(answer)
    assert len(repr(answer)) < 400
    assert answer._repr_html_().lstrip().startswith("<")
    records = answer.to_records()
    assert records
    assert all(isinstance(value, bool | int | float | str | None) for row in records for value in row.values())
    proof = answer.certificate
    if proof is not None:
        assert envelope["certificate"]["gap"] == proof.gap == max(0.0, proof.bound / proof.score - 1.0)
    with pytest.raises(AttributeError):
        answer.question = {}


def numpys(value: object, where: str = "") -> list[str]:
    """Return where a value, or what it holds, is numpy's and not plain Python."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}.items()
    elif isinstance(value, dict):
        parts = {str(name): one for name, one in value.items()}.items()
    elif isinstance(value, tuple | list):
        parts = {str(place): one for place, one in enumerate(value)}.items()
    else:
        return [where] if type(value).__module__ == "numpy" else []
    return [found for name, one in parts for found in numpys(one, f"{where}.{name}")]


def test_answers_hold_plain_numbers(answers) -> None:
    """`repr` of a numpy scalar says so, `is True` is false of its truth values, and json takes neither."""
    assert {verb: numpys(answer) for verb, answer in answers.items() if numpys(answer)} == {}


def test_the_certificate_of_a_placement_is_of_its_rate(placed) -> None:
    proof = placed.certificate
    assert proof.score == pytest.approx(16 / placed.best[0].step_s)
    assert proof.proven
    assert proof.considered == placed.considered


def test_the_question_asks_the_same_again(placed) -> None:
    again = hp.place(**placed.question)
    assert again.best == placed.best


def test_a_plan_at_hand_costs_what_its_file_costs(placed, answers) -> None:
    found = hp.estimate("llama2-7b", placed.best[0].plan, "h100-sxm")
    assert found.step_s == answers["estimate"].step_s
    small = hp.estimate("llama2-7b", Plan(global_batch=8, data=8), "h100-sxm")
    assert small.devices == 8


def test_a_plan_at_hand_that_contradicts_itself_is_bad_input() -> None:
    plan = Plan(global_batch=32, pipeline=3, virtual=2, data=2, zero=1)
    for asked in (lambda: hp.estimate("llama2-7b", plan, "h100-sxm"), lambda: hp.export(plan, "megatron", model="opt")):
        with pytest.raises(hp.BadInput, match="plan: virtual: 2: interleaving expects the 16 micro-batches"):
            asked()


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (lambda: hp.place("llama2-7b", "h100-sxm", 8, batch=16, fixed={"tensor": 5}), "fixed"),
        (lambda: hp.place("llama2-7b", "h100-sxm", batch=16), "device"),
        (lambda: hp.place("llama2-7b", "h100-sxm", 0, batch=16), "devices"),
        (lambda: hp.search("opt-350m", gap=-1.0), "gap"),
        (lambda: hp.stages("opt-350m", gap=math.nan), "gap"),
        (lambda: hp.place("llama2-7b", "h100-sxm", 8, batch=16, gap=-1.0), "gap"),
        (lambda: hp.plan_frontier("llama2-7b", "h100-sxm", 8, batch=16, gap=2.0), "gap"),
        (lambda: hp.split(ROOT / "examples/split/inception-block.json", ("cpu", "gpu"), gap=-1.0), "gap"),
        (lambda: hp.schedule("opt-350m", "8x128x128-2x128-128MiB", gap=2.0), "gap"),
        (lambda: hp.search("opt-350m", tensor=9999), "tensor"),
        (lambda: hp.search("opt-350m", limits={"area": -1.0}), "limits"),
        (lambda: hp.search("opt-350m", micro_batch=3), "micro_batch"),
        (lambda: hp.search("opt-350m", memory="80"), "memory"),
        (lambda: hp.shapes("llama2-7b", "h100-sxm", within=0.9), "within"),
        (lambda: hp.share(["opt-350m", "opt-350m"]), "model"),
        (lambda: hp.replan(ROOT / "examples/gpt3-175b-4096.json", lost=[5000]), "lost"),
    ],
)
def test_bad_input_is_a_value_error_that_names_the_argument(asked, field) -> None:
    with pytest.raises(hp.BadInput) as raised:
        asked()
    assert isinstance(raised.value, ValueError)
    assert raised.value.field == field
    assert raised.value.expected
    assert "--" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unknown_keyword_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        hp.place("llama2-7b", "h100-sxm", 8, batch=16, tensr=2)


def test_what_is_no_saved_answer_is_refused(answers, tmp_path) -> None:
    path = tmp_path / "answer.json"
    path.write_text("{}")
    with pytest.raises(hp.BadInput, match=r"answer\.json: without hardplace"):
        hp.read(path)
    answers["audit"].save(path)
    other = json.loads(path.read_text()) | {"hardplace": "0.0.7"}
    path.write_text(json.dumps(other))
    with pytest.raises(hp.BadInput, match=r"written by version 0\.0\.7"):
        hp.read(path)
    path.write_text(json.dumps(other | {"hardplace": hp.__version__, "kind": "Nothing"}))
    with pytest.raises(hp.BadInput, match="kind: 'Nothing'"):
        hp.read(path)


def test_infeasible_is_an_answer(answers) -> None:
    short = answers["infeasible"]
    assert isinstance(short, hp.Infeasible)
    assert short.needed > short.available
    assert short.remedies
