"""Mutation testing: sampled mutants of packages, each against the tests of its package; one JSON line a mutant.

python benchmarks/mutations.py PACKAGE[=TESTS[,TESTS]] ... [--count 200] [--seed 0] [--seconds 300] [--out FILE]

PACKAGE: a folder or module below the root, such as src/hardplace/scheduling; TESTS: files or folders that pytest runs
for it (default: of src/NAME/a/b the folder tests/a/b). Needs the extra `mutation`: cosmic-ray makes the mutants. Its
own sessions run every mutant of a list of modules with one command, so sampling and running are done here: positions in
the source are drawn first, then one of cosmic-ray's operators there, so that the ways to replace a plus do not count
more than one. Left out: annotations, decorators and exceptions, and what fails at once (bits of floats). Mutants run in
a copy of the tree, with -x and a limit in processor seconds; one that fails or does not end is killed. They run in a
drawn order, so that what an interrupt leaves is a sample too; --out keeps a line a mutant, and what it has is not run
again. Last comes a table by module, and the share killed.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).parents[1]
_WAITS = 10  # times its processor seconds: other work, or tests that wait for ever
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
    parser.add_argument("--seconds", type=int, default=300, help="of the processor, for one mutant")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    known = options.out.read_text().splitlines() if options.out and options.out.exists() else []
    lines = {_key(one): one for one in map(json.loads, known)}
    chosen = _sampled(options.packages, options.count, random.Random(options.seed))
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=_IGNORED)
        for tests in sorted({one.tests for one in chosen}):
            if _outcome(tree, tests, options.seconds) != "survived":
                sys.exit(f"mutations.py: {' '.join(tests)}: expected tests that pass in {options.seconds} s unmutated")
        try:
            for one in chosen:
                name = str(one.module.relative_to(ROOT))
                line = {"module": name, "line": one.line, "operator": one.operator, "occurrence": one.occurrence}
                if _key(line) in lines:
                    continue
                start_s = time.perf_counter()
                outcome, changed = _tried(tree, one, options.seconds)
                line |= {"outcome": outcome, "change": changed, "seconds": round(time.perf_counter() - start_s, 1)}
                lines[_key(line)] = line
                print(json.dumps(line), flush=True)
                if options.out:
                    with options.out.open("a") as out:
                        out.write(json.dumps(line) + "\n")
        except KeyboardInterrupt:
            print("interrupted: a table of what was run")
    _table(lines.values())


def _key(line: Mapping[str, object]) -> tuple[object, ...]:
    return tuple(line[name] for name in ("module", "line", "operator", "occurrence"))


def _table(lines: Iterable[Mapping[str, object]]) -> None:
    """Print how many mutants of each module were killed."""
    total: Counter[str] = Counter()
    killed: Counter[str] = Counter()
    for line in lines:
        total[str(line["module"])] += 1
        killed[str(line["module"])] += line["outcome"] != "survived"
    for name in sorted(total):
        print(f"{name:60} {killed[name]:4} of {total[name]:4} killed")
    share = sum(killed.values()) / max(1, sum(total.values()))
    print(f"{'all':60} {sum(killed.values()):4} of {sum(total.values()):4} killed, {100 * share:.1f} %")


def _sampled(packages: list[str], count: int, draw: random.Random) -> list[Mutant]:
    """Return mutants at so many places of the packages, all places alike."""
    places = [place for text in packages for place in _places(text)]
    return [draw.choice(place) for place in draw.sample(places, min(count, len(places)))]


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


def _tried(tree: Path, one: Mutant, limit_s: int) -> tuple[str, list[str]]:
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


def _outcome(tree: Path, tests: tuple[str, ...], limit_s: int) -> str:
    """Return whether the tests of a tree find something: survived, killed, or timeout."""
    environment = os.environ | {"PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests]
    quiet = subprocess.DEVNULL

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s))

    # A session of its own, so that what the tests started ends with them.
    with subprocess.Popen(
        command, cwd=tree, env=environment, stdout=quiet, stderr=quiet, start_new_session=True, preexec_fn=limited
    ) as process:
        try:
            ended = process.wait(timeout=_WAITS * limit_s)
        except BaseException as problem:
            os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(problem, subprocess.TimeoutExpired):
                raise
            return "timeout"
    if ended in (-signal.SIGKILL, -signal.SIGXCPU):
        return "timeout"
    return "survived" if ended == 0 else "killed"


if __name__ == "__main__":
    main()
