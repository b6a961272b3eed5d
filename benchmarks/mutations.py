"""Mutation testing: sampled mutants of packages, each against the tests of its package; one JSON line a mutant.

python benchmarks/mutations.py PACKAGE[=TESTS[,TESTS]] ... [--count 200] [--seed 0] [--seconds 300]

PACKAGE: a folder or module below the root, such as src/hardplace/scheduling; TESTS: files or folders that pytest runs
for it (default: of src/NAME/a/b the folder tests/a/b). Needs the extra `mutation`: cosmic-ray makes the mutants. Its
own sessions run every mutant of a list of modules with one command, so sampling and running are done here: positions in
the source are drawn first, then one of cosmic-ray's operators there, so that the ways to replace a plus do not count
more than one. Left out: annotations, decorators and exceptions, and what fails at once (bits of floats). Mutants run in
a copy of the tree, with -x and a limit in seconds; one that fails or does not end is killed. Last comes a line of sums
by module, and the share killed.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).parents[1]
_IGNORED = shutil.ignore_patterns(".git", "__pycache__", ".*_cache", ".hypothesis", "hardplace-out")
# Decorators and classes of exceptions are not what answers come from; bit operators on floats fail at once.
_LEFT_OUT = re.compile(
    r"RemoveDecorator|ExceptionReplacer|NoOp|Variable|Operator_(Add|Sub|Mul|Div|FloorDiv|Mod|Pow)_(.Shift|Bit)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One of cosmic-ray's operators at one place of a module, and the tests of its package."""

    module: Path
    line: int
    operator: str
    occurrence: int
    tests: tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="+")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=300.0)
    options = parser.parse_args()
    chosen = _sampled(options.packages, options.count, random.Random(options.seed))
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=_IGNORED)
        for tests in sorted({one.tests for one in chosen}):
            if _outcome(tree, tests, options.seconds) != "survived":
                sys.exit(
                    f"mutations.py: {' '.join(tests)}: expected tests that pass in {options.seconds:g} s unmutated"
                )
        total: Counter[str] = Counter()
        killed: Counter[str] = Counter()
        for one in chosen:
            start = time.perf_counter()
            outcome, changed = _tried(tree, one, options.seconds)
            name = str(one.module.relative_to(ROOT))
            total[name] += 1
            killed[name] += outcome != "survived"
            line = {"module": name, "line": one.line, "operator": one.operator, "outcome": outcome, "change": changed}
            print(json.dumps(line | {"seconds": round(time.perf_counter() - start, 1)}), flush=True)
    share = sum(killed.values()) / max(1, sum(total.values()))
    print(json.dumps({"modules": {name: [killed[name], total[name]] for name in sorted(total)}, "killed": share}))


def _sampled(packages: list[str], count: int, draw: random.Random) -> list[Mutant]:
    """Return mutants at so many places of the packages, all places alike."""
    places = [place for text in packages for place in _places(text)]
    chosen = draw.sample(places, min(count, len(places)))
    return sorted((draw.choice(place) for place in chosen), key=lambda one: (str(one.module), one.line))


def _places(text: str) -> Iterator[list[Mutant]]:
    """Yield the mutants at each place of a package that has any."""
    name, _, listed = text.partition("=")
    package = (ROOT / name).resolve()
    modules = sorted(package.rglob("*.py")) if package.is_dir() else [package]
    tests = tuple(listed.split(",")) if listed else (str(Path("tests", *package.relative_to(ROOT).parts[2:])),)
    missing = [one for one in (*tests, name) if not (ROOT / one).exists()]
    if missing:
        sys.exit(f"mutations.py: {missing[0]}: expected a file or folder below {ROOT}")
    for module in modules:
        source = module.read_text()
        nodes, spans = list(ast_nodes(get_ast(source))), _apart(source)
        found: dict[tuple[int, int], list[Mutant]] = {}
        for operator in operator_names():
            made = get_operator(operator)
            if made.arguments() or _LEFT_OUT.search(operator):
                continue
            operation = made()
            positions = (at for node in nodes for at in operation.mutation_positions(node))
            for occurrence, (start, _) in enumerate(positions):
                if not any(first <= start < last for first, last in spans):
                    mutant = Mutant(
                        module=module, line=start[0], operator=operator, occurrence=occurrence, tests=tests
                    )  # fmt: skip
                    found.setdefault(start, []).append(mutant)
        yield from found.values()


def _apart(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return where annotations and decorators are, as (line, column) of their start and end."""
    spans = []
    for node in ast.walk(ast.parse(source)):
        for one in (getattr(node, "annotation", None), getattr(node, "returns", None), *_decorators(node)):
            if isinstance(one, ast.expr):
                assert one.end_lineno is not None
                assert one.end_col_offset is not None
                spans.append(((one.lineno, one.col_offset), (one.end_lineno, one.end_col_offset)))
    return spans


def _decorators(node: ast.AST) -> list[ast.expr]:
    return list(getattr(node, "decorator_list", []))


def _tried(tree: Path, one: Mutant, limit_s: float) -> tuple[str, list[str]]:
    """Return what becomes of a mutant, and the lines it changes."""
    path = tree / one.module.relative_to(ROOT)
    source = path.read_text()
    mutated = mutate_code(source, get_operator(one.operator)(), one.occurrence)
    assert mutated is not None
    lines = difflib.unified_diff(source.splitlines(), mutated.splitlines(), n=0, lineterm="")
    changed = [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    path.write_text(mutated)
    try:
        return _outcome(tree, one.tests, limit_s), changed
    finally:
        path.write_text(source)


def _outcome(tree: Path, tests: tuple[str, ...], limit_s: float) -> str:
    """Return whether the tests of a tree find something: survived, killed, or timeout."""
    environment = os.environ | {"PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests]
    quiet = subprocess.DEVNULL
    # A session of its own, so that what the tests started ends with them.
    with subprocess.Popen(
        command, cwd=tree, env=environment, stdout=quiet, stderr=quiet, start_new_session=True
    ) as process:
        try:
            return "survived" if process.wait(timeout=limit_s) == 0 else "killed"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return "timeout"


if __name__ == "__main__":
    main()
