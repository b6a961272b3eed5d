"""The examples of clusters: Python that compiles, a command that `hardplace` takes, options that the libraries have."""

import ast
import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest

from commands import command

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples/cluster"


def calls(name: str, function: str) -> list[ast.Call]:
    tree = ast.parse((FOLDER / name).read_text())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in found if ast.unparse(call.func) == function]


@pytest.mark.parametrize("name", ["slurm.py", "kubernetes.py"])
def test_the_command_of_an_example_is_taken(name: str, tmp_path: Path) -> None:
    """It comes as far as the scheduler, at whose address there is none."""
    pytest.importorskip("distributed")
    (call,) = calls(name, "subprocess.run")
    words = call.args[0]
    assert isinstance(words, ast.List)
    assert ast.unparse(words.elts[-1]) == "cluster.scheduler_address"
    asked = [ast.literal_eval(word) for word in words.elts[1:-1]]
    assert ast.literal_eval(words.elts[0]) == "hardplace"
    ended = command(*asked, "nonsense://x", folder=tmp_path)
    assert ended.code == 2
    assert "--scheduler: nonsense://x: " in ended.err


@pytest.mark.parametrize(
    ("name", "function", "module", "known"),
    [
        ("slurm.py", "SLURMCluster", "dask_jobqueue.slurm", "SLURMJob"),
        ("kubernetes.py", "KubeCluster", "dask_kubernetes.operator", "KubeCluster"),
    ],
)
def test_the_library_has_the_options_of_an_example(name: str, function: str, module: str, known: str) -> None:
    """Where it is installed: dask-jobqueue 0.9.0, dask-kubernetes 2026.3.0."""
    (call,) = calls(name, function)
    library: Any = pytest.importorskip(module)
    options = set(inspect.signature(getattr(library, known).__init__).parameters)
    if known == "SLURMJob":  # its own, and those of every kind of job
        options |= set(inspect.signature(importlib.import_module("dask_jobqueue.core").Job.__init__).parameters)
    assert {keyword.arg for keyword in call.keywords} <= options


def test_the_image_is_of_the_checkout() -> None:
    lines = [line for line in (FOLDER / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
    assert [line.split()[0] for line in lines] == ["FROM", "COPY", "RUN"]
    assert "[distributed]" in lines[-1]


@pytest.mark.parametrize("name", ["slurm.py", "kubernetes.py"])
def test_the_document_shows_an_example_as_it_is(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert f"```python\n{text[text.index('import subprocess') :]}```" in (ROOT / "docs/distributed.md").read_text()
