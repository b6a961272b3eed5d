"""The notebooks run from top to bottom, show answers and write pictures; the README's picture is current."""

from __future__ import annotations

import ast
import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples/notebooks").glob("*.ipynb"))


@pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None,
    reason="matplotlib is not installed (extra notebook): THE NOTEBOOKS ARE NOT RUN",
)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cell by cell, as a kernel does: the value of a last expression is shown by its `_repr_html_`."""
    import matplotlib

    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    shown = 0
    for number, cell in enumerate(json.loads(path.read_text())["cells"]):
        if cell["cell_type"] != "code":
            continue
        body = ast.parse("".join(cell["source"])).body
        last = (
            body.pop() if isinstance(body[-1], ast.Expr) and isinstance(body[-1].value, ast.Name | ast.Call) else None
        )
        exec(compile(ast.Module(body=body, type_ignores=[]), f"{path.name}:{number}", "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(body=last.value), f"{path.name}:{number}", "eval"), names)
            if hasattr(value, "_repr_html_"):
                assert "<" in value._repr_html_()
                shown += 1
    assert shown
    pictures = list(tmp_path.glob("*.pdf"))
    assert pictures
    assert all(one.read_bytes().startswith(b"%PDF") for one in pictures)


def test_there_are_three_notebooks_without_stale_outputs() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["choose-a-plan", "design-a-chip", "shape-a-model"]
    for path in NOTEBOOKS:
        assert all(not cell.get("outputs") for cell in json.loads(path.read_text())["cells"])


def test_the_picture_of_the_readme_is_current() -> None:
    """Else: python -m benchmarks.readme_picture."""
    spec = importlib.util.spec_from_file_location("readme_picture", ROOT / "benchmarks/readme_picture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.picture() == (ROOT / "docs/images/place.svg").read_text()
    assert "docs/images/place.svg" in (ROOT / "README.md").read_text()
