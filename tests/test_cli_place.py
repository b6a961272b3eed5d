"""`hardplace place` and `estimate --plan`: table, page, plan file and back, what is short, bad input."""

import json

import pytest
from click.testing import CliRunner

import hardplace.cli  # noqa: F401  (joins the verbs)
from hardplace.cli.app import app
from hardplace.errors import BadInput
from hardplace.report.placed import certificate
from hardplace.search.place import Search

FEW = ("--device", "h100-sxm", "--devices", "8", "--batch", "16", "--fix", "tensor=2", "--fix", "pipeline=2")


def run(*words):
    return CliRunner().invoke(app, list(words))


def test_the_best_plan_comes_back_through_its_file(tmp_path):
    done = run("place", "llama2-7b", *FEW, "--out", str(tmp_path), "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    again = run("estimate", "llama2-7b", "--plan", str(tmp_path / "plan.json"), "--device", "h100-sxm", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.output)["step_s"] == pytest.approx(found["best"][0]["step_s"], rel=1e-9)
    alone = run("estimate", "llama2-7b", "--plan", str(tmp_path / "plan.json"), "--json")
    assert alone.exit_code == 0, alone.output
    assert json.loads(alone.output) == json.loads(again.output)
    words = ("estimate", "llama2-7b", "--plan", str(tmp_path / "plan.json"), "--device", "a100-80gb-sxm", "--json")
    assert json.loads(run(*words).output)["step_s"] > 1.5 * found["best"][0]["step_s"]
    page = (tmp_path / "place.html").read_text()
    assert "Memory by stage" in page
    assert page.count("<rect") > 100


def test_the_table_says_what_is_proven(tmp_path):
    done = run("place", "llama2-7b", *FEW, "--out", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert "the first is the optimum of the model over the space" in done.output
    assert "timeline of the best plan" in done.output
    assert (
        "the 10 best plans: 1 way to divide the devices (tensor, context, data, pipeline, expert); those" in done.output
    )
    assert "differ in" in done.output
    page = (tmp_path / "place.html").read_text()
    assert "1 way to divide the devices" in page


def test_two_kinds_come_back_through_their_file(tmp_path):
    kinds = ("--device", "h100-sxm:8", "--device", "a100-80gb-sxm:8")
    done = run("place", "llama2-7b", *kinds, "--batch", "32", "--fix", "tensor=1,2", "--out", str(tmp_path), "--json")
    assert done.exit_code == 0, done.output
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert {*plan["kinds"]} == {"h100-sxm", "a100-80gb-sxm"}
    words = ("estimate", "llama2-7b", "--plan", str(tmp_path / "plan.json"), "--device", "h100-sxm:8")
    again = run(*words, "--device", "a100-80gb-sxm:8", "--json")
    assert again.exit_code == 0, again.output
    assert run(*words[:4], "--json").output == again.output
    assert json.loads(again.output)["step_s"] == pytest.approx(json.loads(done.output)["best"][0]["step_s"], rel=1e-9)


def test_what_is_short(tmp_path):
    done = run("place", "llama2-7b", "--device", "h100-sxm", "--devices", "1", "--batch", "4", "--out", str(tmp_path))
    assert done.exit_code == 3
    assert "bytes on stage 0" in done.output
    assert done.output.count("fits with") == 3


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ("--device", "h100-sxm", "--devices", "12"),
            "devices: 12: expected a multiple of the 8 devices of one dgx-h100",
        ),
        (("--device", "h100-sxm"), "expected --devices with one kind"),
        (("--device", "h100-sxm:8", "--devices", "8"), "expected --devices with one kind"),
        (("--device", "h100-sxm:eight"), "expected NAME:COUNT"),
        (
            ("--device", "tpu-v4", "--devices", "8", "--fix", "precision=fp8"),
            "fp8: tpu-v4 does not multiply in it: ",
        ),
        (("--device", "h100-sxm", "--devices", "8", "--node", "dgx-a100"), "expected a node of h100-sxm"),
        (
            ("--device", "h100-sxm", "--devices", "8", "--fix", "tensor=64"),
            "expected a divisor of the model's 32 heads",
        ),
        (("--device", "h100-sxm", "--devices", "8", "--fix", "pipeline=3"), "expected a divisor of the 8 devices"),
    ],
)
def test_bad_input(words, expected, tmp_path):
    done = run("place", "llama2-7b", *words, "--batch", "16", "--out", str(tmp_path))
    assert isinstance(done.exception, BadInput)
    assert expected in str(done.exception)
    assert "\n" not in str(done.exception)


def test_a_plan_whose_degrees_do_not_multiply_to_the_devices(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text("global_batch = 16\ntensor = 2\ndata = 2\n")
    done = run("estimate", "llama2-7b", "--plan", str(path), "--device", "h100-sxm:8")
    assert isinstance(done.exception, BadInput)
    expected = "tensor x context x data x pipeline: 2 x 1 x 2 x 1 = 4: expected the number of devices, 8"
    assert str(done.exception) == f"{path}: {expected}"


def test_a_plan_without_devices(tmp_path):
    path = tmp_path / "plan.toml"
    for text, expected in (
        ("global_batch = 16\n", "plan.toml: on: missing: expected --device NAME"),
        (
            'global_batch = 16\n[[on]]\ndevice = "h100-sxm"\nnode = "dgx-h100"\ncount = 0\n',
            "on: count: 0: expected a whole number of devices from 1",
        ),
    ):
        path.write_text(text)
        done = run("estimate", "llama2-7b", "--plan", str(path))
        assert isinstance(done.exception, BadInput)
        assert expected in str(done.exception)


def test_stopped_early_it_answers_with_its_bound(tmp_path, monkeypatch):
    whole = Search._tell

    def stop(self, bound_s):
        whole(self, bound_s)
        if self.best:
            raise KeyboardInterrupt

    monkeypatch.setattr(Search, "_tell", stop)
    done = run("place", "llama2-7b", *FEW, "--out", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert "stopped early: no plan of the space is more than" in done.output
    assert certificate
