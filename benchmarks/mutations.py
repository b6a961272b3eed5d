"""Mutation testing: sampled mutants of packages, each against the tests that run its line; one JSON line a mutant.

python benchmarks/mutations.py PACKAGE[=TESTS[,TESTS]] ... [--count 200] [--seed 0] [--seconds 60] [--out FILE]

PACKAGE: a folder or module below the root, such as src/hardplace/scheduling; TESTS: files or folders that pytest runs
for it (default: of src/NAME/a/b the folder tests/a/b). They run once with coverage; of them a mutant runs those that
run its statement, shortest first (all of them where it runs on import, or maybe in a process of its own). Needs the
extra `mutation`: cosmic-ray makes the mutants. Its own sessions run every mutant of a list of modules with one command,
so sampling and running are done here: positions in the source are drawn first, then one of cosmic-ray's operators
there, so that the ways to replace a plus do not count more than one. Left out: annotations, decorators and exceptions,
and what fails at once (bits of floats). Mutants run in a copy of the tree, with -x and a limit in processor seconds
(thrice what their tests take, if that is more); one that fails or does not end is killed. They run in a drawn order, so
that what an interrupt leaves is a sample too; --out keeps a line a mutant, and what it has is not run again. Last comes
a table by module, and the share killed.
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
from functools import cache
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names
from coverage import CoverageData

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
    parser.add_argument("--seconds", type=int, default=60, help="of the processor, for one mutant at the least")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    known = options.out.read_text().splitlines() if options.out and options.out.exists() else []
    lines = {_key(one): one for one in map(json.loads, known)}
    chosen = _sampled(options.packages, options.count, random.Random(options.seed))
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=_IGNORED)
        runs = {tests: _covered(tree, tests) for tests in sorted({one.tests for one in chosen})}
        try:
            for one in chosen:
                name = str(one.module.relative_to(ROOT))
                line = {"module": name, "line": one.line, "operator": one.operator, "occurrence": one.occurrence}
                if _key(line) in lines:
                    continue
                start_s = time.perf_counter()
                outcome, changed = _tried(tree, one, runs[one.tests], options.seconds)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Covered:
    """What some tests run: the tests of each line of each file ("": on import), and the seconds of each test."""

    lines: Mapping[Path, Mapping[int, list[str]]]
    seconds: Mapping[str, float]

    def of(self, tree: Path, one: Mutant) -> tuple[str, ...]:
        """Return the tests that run a mutant's statement, shortest first; all if it runs on import, or in none here."""
        first, last = _statement(one.module, one.line)
        lines = self.lines.get(tree / one.module.relative_to(ROOT), {})
        contexts = {text.partition("|")[0] for line in range(first, last + 1) for text in lines.get(line, ())}
        if "" in contexts or not contexts:
            return one.tests
        return tuple(sorted(contexts, key=lambda name: self.seconds.get(name, 0.0)))


def _covered(tree: Path, tests: tuple[str, ...]) -> Covered:
    """Run tests on the unmutated tree and return what they cover."""
    file = tree / f"coverage-{'-'.join(tests).replace('/', '_')}"
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=0", "--durations-min=0"),
        *("--cov=hardplace", "--cov-context=test", "--cov-report=", *tests),
    ]
    environment = _environment(tree) | {"COVERAGE_FILE": str(file)}
    ran = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"mutations.py: {' '.join(tests)}: expected tests that pass unmutated\n{ran.stdout[-2000:]}")
    data = CoverageData(str(file))
    data.read()
    seconds: dict[str, float] = {}
    for time_s, name in re.findall(r"^ *([\d.]+)s (?:call|setup) +(tests/.*?) *$", ran.stdout, re.MULTILINE):
        seconds[name] = seconds.get(name, 0.0) + float(time_s)
    lines = {Path(name): data.contexts_by_lineno(name) for name in data.measured_files()}
    return Covered(lines=lines, seconds=seconds)


@cache
def _statements(module: Path) -> list[tuple[int, int]]:
    """Return the first and last line of each statement of a module, of a compound one those of its head."""
    found = []
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            found.append((node.lineno, body[0].lineno - 1 if body else node.end_lineno or node.lineno))
    return found


def _statement(module: Path, line: int) -> tuple[int, int]:
    """Return the first and last line of the shortest statement that holds a line."""
    held = [(first, last) for first, last in _statements(module) if first <= line <= last]
    return min(held, key=lambda one: one[1] - one[0], default=(line, line))


def _environment(tree: Path) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(tree / "src"), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}


def _tried(tree: Path, one: Mutant, covered: Covered, limit_s: int) -> tuple[str, list[str]]:
    """Return what becomes of a mutant, and the lines it changes."""
    path = tree / one.module.relative_to(ROOT)
    source = path.read_text()
    mutated = mutate_code(source, get_operator(one.operator)(), one.occurrence)
    assert mutated is not None
    lines = difflib.unified_diff(source.splitlines(), mutated.splitlines(), n=0, lineterm="")
    changed = [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    path.write_text(mutated)
    try:
        tests = covered.of(tree, one)
        needed_s = 3.0 * sum(covered.seconds.get(name, 0.0) for name in tests)
        return _outcome(tree, tests, max(limit_s, int(needed_s))), changed
    finally:
        path.write_text(source)


def _outcome(tree: Path, tests: tuple[str, ...], limit_s: int) -> str:
    """Return whether the tests of a tree find something: survived, killed, or timeout."""
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests]
    command.append("--hypothesis-profile=no-shrinking")  # that one example fails is enough
    quiet = subprocess.DEVNULL

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s))

    # A session of its own, so that what the tests started ends with them.
    with subprocess.Popen(
        command,
        cwd=tree,
        env=_environment(tree),
        stdout=quiet,
        stderr=quiet,
        start_new_session=True,
        preexec_fn=limited,
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
