"""`hardplace search --shapes` as a user meets it: the answer, the file, one line for bad input."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from commands import command

NO_TORCH = "import sys; sys.modules['torch'] = sys.modules['transformers'] = None; import hardplace.cli as c; c.main()"
SMALL = (
    "--shapes", "--space", "phaze", "--area", "60", "--devices", "16", "--batch", "64", "--micro-batch", "1",
    "--tensor-parallel", "1", "--freeze", "vocab", "--range", "layers=44:52:4", "--range", "hidden=1536:1664:128",
)  # fmt: skip


def hardplace(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", NO_TORCH, *arguments], capture_output=True, text=True, cwd=folder, timeout=200
    )


def test_shapes_are_searched_and_written(tmp_path: Path) -> None:
    done = hardplace("search", "gpt2-xl", *SMALL, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    for word in ("shape ", "changes", "certificate", "chip alone", "then shape", "together", "written:", "discarded"):
        assert word in done.stdout
    found = json.loads((tmp_path / "hardplace-out/gpt2-xl/shapes.json").read_text())["answer"]
    assert found["score"] <= found["bound"] <= found["score"] * 1.011
    assert found["base"]["score"] <= found["then_shape"]["score"] * (1 + 1e-9)
    assert found["then_shape"]["score"] <= found["best"]["score"] * (1 + 1e-9)
    listed = json.loads(command("runs", "--json", folder=tmp_path).out)["answer"]
    assert [(Path(one["path"]).name, one["verb"], one["objective"]) for one in listed] == [
        ("shapes.sqlite", "search", "shapes")
    ]
    assert listed[0]["evaluations"] > 0
    other = command("search", "gpt2-xl", *SMALL, "--raw", "--out", "hardplace-out/gpt2-xl", folder=tmp_path)
    assert other.code == 2
    assert "shapes.sqlite: the journal of another run: raw was false, now true: expected another folder" in other.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gpt2-xl", "--freeze", "layers"), "--freeze: only with --shapes"),
        (("gpt2-xl", "llama2-7b", "--shapes"), "--shapes: 2 models: expected one"),
        (("gpt2-xl", "--shapes", "--objective", "energy"), "expected one model and the objective throughput"),
        (("gpt2-xl", "--shapes", "--fleet", "2"), "without --combine, --weights, --fleet"),
        (("gpt2-xl", "--shapes", "--scheduler", "nowhere"), "--scheduler: nowhere: expected the address"),
        (("gpt2-xl", "--shapes", "--params", "half"), "--params: 'half': expected a share up to 50%"),
        (("gpt2-xl", "--shapes", "--range", "depth=3"), "depth"),
        (("gpt2-xl", "--shapes", "--freeze", "depth"), "depth"),
        (("bert-large", "--shapes"), "expected a decoder of equal layers"),
        (("mixtral-8x7b", "--shapes"), "a mixture of experts: expected a dense decoder"),
    ],
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("torch", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)  # is not there
    done = command("search", *arguments, folder=tmp_path)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
