"""The documentation site builds, with the reference from the docstrings, and without a warning."""

import importlib.util
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hardplace

ROOT = Path(__file__).parent.parent


@pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None, reason="mkdocs is not installed (extra docs): THE SITE IS NOT BUILT"
)
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site")]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=300, env=quiet)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    reference = (tmp_path / "site/reference/api/index.html").read_text()
    for name in ("search", "place", "estimate", "replan", "shapes"):
        assert f"hardplace.api.{name}" in reference, name


def test_every_document_has_a_place_in_the_site() -> None:
    """A page that the navigation lacks is built but cannot be found."""
    pages = (ROOT / "mkdocs.yml").read_text()
    documents = sorted(path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "decisions")
    assert documents
    missing = [path.name for path in documents if path.relative_to(ROOT / "docs").as_posix() not in pages]
    assert not missing


@pytest.mark.parametrize("name", [name for name in hardplace.__all__ if inspect.isfunction(getattr(hardplace, name))])
def test_the_reference_has_every_argument_of_a_function(name: str) -> None:
    """With what it returns: the reference is made of the docstrings."""
    function = getattr(hardplace, name)
    text = inspect.getdoc(function) or ""
    assert "\nReturns:\n" in text
    missing = [argument for argument in inspect.signature(function).parameters if f"\n    {argument}: " not in text]
    assert not missing
    assert f"- {name}\n" in (ROOT / "docs/reference/api.md").read_text()


def test_every_module_says_what_it_is() -> None:
    empty = [path for path in (ROOT / "src").rglob("*.py") if path.read_text().startswith('"""TODO')]
    assert not empty
