"""Mutation testing: sampled mutants of the core, each against the tests that run its statement.

python benchmarks/mutations.py --out FOLDER [PACKAGE ...] [--count 200] [--seed 0] [--seconds 20] [--again]

PACKAGE: folders or modules below the root (default: CORE). Needs the extra `mutation`: cosmic-ray makes the mutants.
Its own sessions run every mutant of a list of modules with one command, so sampling and running are done here:
positions in the source first, all alike, then one of cosmic-ray's operators there, so that the ways to replace a plus
do not count more than one. A place is drawn by the digest of its line and the seed, so an edit elsewhere changes
nothing of the sample. Left out: annotations, decorators and exceptions, and what fails at once (bits of floats).

FOLDER keeps the sample, which tests run which mutant's statement (found once, with a probe before each; a test that
changed is run again), and a line a mutant: what it has is not run again, so a killed run goes on where it was. --again
runs what survived once more, after tests were written; --only FOLDER runs a part of the sample, probing its tests
alone. A mutant runs in a copy of the tree, in a process of its own, with the tests that run its statement, shortest
first, then the others of their files, until one fails; of these as many as take half of --seconds. A test that takes
five seconds more than thrice its time is a timeout, which counts as killed. Survivors judged equivalent stand in
validation/mutants_equivalent.csv, each with a reason; they do not count, and run last.
"""

from __future__ import annotations

import argparse
import ast
import csv
import difflib
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names
from mutants import Mutant
from mutation_runs import Tree

ROOT = Path(__file__).parents[1]
CORE = (
    "src/hardplace/branch_and_bound",
    "src/hardplace/cost",
    "src/hardplace/design/partition",
    "src/hardplace/design/scheduling",
    "src/hardplace/design/search",
    "src/hardplace/plans/placement",
    "src/hardplace/plans/memory.py",
    "src/hardplace/plans/pipeline.py",
    "src/hardplace/plans/pricer.py",
    "src/hardplace/plans/pricing.py",
    "src/hardplace/plans/replanning/bounds.py",
    "src/hardplace/plans/timing.py",
)
TESTS = ("tests/branch_and_bound", "tests/cost", "tests/design", "tests/plans")
# What makes figures that are shipped, and answers nothing; what does steps in other processes, which tests kill.
_APART = ("fitting", "study", "test_steps.py", "processes.py", "distributed.py", "steps.py")
_EQUIVALENT = ROOT / "validation/mutants_equivalent.csv"
# Decorators and classes of exceptions are not what answers come from; bit operators on floats fail at once.
_LEFT_OUT = re.compile(
    r"RemoveDecorator|ExceptionReplacer|NoOp|Variable|Operator_(Add|Sub|Mul|Div|FloorDiv|Mod|Pow)_(.Shift|Bit)"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="*", default=CORE)
    parser.add_argument("--out", type=Path, required=True, help="a folder outside the tree")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=20, help="of the processor, for the tests of one mutant")
    parser.add_argument("--longest", type=float, default=2.0, help="seconds after which a probed test is broken off")
    parser.add_argument("--fresh", action="store_true", help="import each mutant in a process of its own")
    parser.add_argument("--report", action="store_true", help="only print what is known")
    parser.add_argument("--again", action="store_true", help="run once more what survived")
    parser.add_argument(
        "--only", action="append", help="run the mutants of a package alone, with its tests; repeatable"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    sample = _sampled(options.packages, options.count, options.seed, options.out / "sample.json")
    mine = {str(one.relative_to(ROOT)) for name in options.only or options.packages for one in _modules(name)}
    file = options.out / "results.jsonl"
    results = _results(file)
    since = len(file.read_text()) if file.exists() else 0
    equivalent = _equivalent()
    try:
        todo = [
            one
            for one in sample
            if one.module in mine and _is_due(results.get(one.key), one, equivalent, options.again)
        ]
        if todo and not options.report:
            tree = Tree.copied(ROOT, options.out)
            todo.sort(key=lambda one: (one.module, one.before, one.after) in equivalent)
            folders = sorted({_tests(name) for name in options.only or ()}) or TESTS
            tests = [one for name in folders for one in _modules(name) if one.name.startswith("test_")]
            covered = tree.covered(todo, [str(one.relative_to(ROOT)) for one in tests], options.longest)

            def note(one: Mutant, result: dict[str, object]) -> None:
                line = {"key": one.key, "module": one.module, "line": one.line, "change": [one.before, one.after]}
                with file.open("a") as out:
                    out.write(json.dumps(line | result) + "\n")

            if not options.fresh:
                tree.tried_in_place(todo, covered, options.seconds, note)
            done = set() if options.fresh else set(_results(file, since=since))
            for one in todo:
                if one.key not in done:
                    note(one, tree.tried(one, covered, options.seconds))
            results = _results(file)
            if failing := tree.failing(
                {str(results[one.key]["by"]) for one in todo if results[one.key]["by"]}, covered
            ):
                sys.exit(f"mutations.py: {failing}: expected a test that passes unmutated")
    except KeyboardInterrupt:
        print("interrupted: a table of what was run")
        results = _results(file)
    _report(sample, results, equivalent)


def _tests(package: str) -> str:
    """Return the folder of the tests of a package or module."""
    path = Path(package)
    return str(Path("tests", *(path.parent if path.suffix else path).parts[2:]))


def _results(file: Path, since: int = 0) -> dict[str, dict[str, object]]:
    """Return the last result of each mutant, of those that a file has from an offset on."""
    lines = file.read_text()[since:].splitlines() if file.exists() else []
    return {one["key"]: one for one in map(json.loads, lines)}


def _is_due(
    result: Mapping[str, object] | None, one: Mutant, equivalent: Mapping[tuple[str, ...], str], is_again: bool
) -> bool:
    if result is None or result["outcome"] == "not run":  # there was no test
        return True
    return is_again and result["outcome"] == "survived" and (one.module, one.before, one.after) not in equivalent


def _equivalent() -> dict[tuple[str, ...], str]:
    """Return the reason of each mutant judged equivalent, by module, line before and line after."""
    with _EQUIVALENT.open(newline="") as file:
        return {(row["module"], row["before"], row["after"]): row["reason"] for row in csv.DictReader(file)}


def _sampled(packages: Iterable[str], count: int, seed: int, file: Path) -> list[Mutant]:
    """Return mutants at so many places of the packages, all places alike; a file keeps them until a source changes."""
    modules = [module for name in packages for module in _modules(name)]
    asked = [str(count), str(seed), *(f"{module}\n{module.read_text()}" for module in modules)]
    digest = _digest(*asked)
    if file.exists() and (kept := json.loads(file.read_text()))["of"] == digest:
        return [Mutant(**one) for one in kept["mutants"]]
    places = sorted(place for module in modules for place in _kept_places(module, seed, file.parent / "places"))
    made = (one for place in places if (one := _mutant(*place)) is not None)
    sample = list(islice(made, count))
    mutants = [{name: getattr(one, name) for name in one.__slots__} for one in sample]
    file.write_text(json.dumps({"of": digest, "places": len(places), "mutants": mutants}, indent=1))
    return sample


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _modules(name: str) -> list[Path]:
    package = ROOT / name
    if not package.exists():
        sys.exit(f"mutations.py: {name}: expected a file or folder below {ROOT}")
    found = sorted(package.rglob("*.py")) if package.is_dir() else [package]
    return [one for one in found if not set(_APART) & set(one.parts)]


def _kept_places(module: Path, seed: int, folder: Path) -> list[tuple[str, str, int, str, int]]:
    """Return the places of a module, from a file of a folder if its source is the same."""
    name = str(module.relative_to(ROOT))
    file = folder / f"{_digest(str(seed), name, module.read_text())}.json"
    if not file.exists():
        folder.mkdir(exist_ok=True)
        file.write_text(json.dumps(list(_places(module, seed))))
    return [(key, name, line, operator, at) for key, name, line, operator, at in json.loads(file.read_text())]


def _places(module: Path, seed: int) -> Iterator[tuple[str, str, int, str, int]]:
    """Yield each place of a module that has mutants: a digest, the module, and line, operator, occurrence of one."""
    source = module.read_text()
    lines = source.splitlines()
    nodes, spans = list(ast_nodes(get_ast(source))), _apart(source)
    found: dict[tuple[int, int], list[tuple[str, int]]] = {}
    for operator in operator_names():
        made = get_operator(operator)
        if made.arguments() or _LEFT_OUT.search(operator):
            continue
        operation = made()
        positions = (at for node in nodes for at in operation.mutation_positions(node))
        for occurrence, (start, _) in enumerate(positions):
            if not any(first <= start < last for first, last in spans):
                found.setdefault(start, []).append((operator, occurrence))
    alike: Counter[tuple[str, int]] = Counter()
    for line, column in sorted(found):
        text = lines[line - 1]
        place = (text.strip(), column - len(text) + len(text.lstrip()))
        alike[place] += 1
        name = str(module.relative_to(ROOT))
        key = _digest(str(seed), name, *map(str, place), str(alike[place]))
        operator, occurrence = min(found[line, column], key=lambda one: _digest(key, one[0]))
        yield key, name, line, operator, occurrence


def _mutant(key: str, name: str, line: int, operator: str, occurrence: int) -> Mutant | None:
    """Return the mutant of a place, or None where it is no Python (the star of a signature, made a plus)."""
    source = (ROOT / name).read_text()
    mutated = mutate_code(source, get_operator(operator)(), occurrence)
    assert mutated is not None
    try:
        compile(mutated, name, "exec", dont_inherit=True)
    except SyntaxError:
        return None
    changed = list(difflib.unified_diff(source.splitlines(), mutated.splitlines(), n=0, lineterm=""))[2:]
    before, after = (" ".join(one[1:].strip() for one in changed if one[0] == sign) for sign in "-+")
    return Mutant(key=key[:12], module=name, line=line, before=before, after=after, source=mutated)


def _apart(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return where annotations and decorators are, as (line, column) of their start and end."""
    spans = []
    for node in ast.walk(ast.parse(source)):
        listed = getattr(node, "decorator_list", [])
        for one in (getattr(node, "annotation", None), getattr(node, "returns", None), *listed):
            if isinstance(one, ast.expr):
                assert one.end_lineno is not None
                assert one.end_col_offset is not None
                spans.append(((one.lineno, one.col_offset), (one.end_lineno, one.end_col_offset)))
    return spans


def _report(
    sample: list[Mutant], results: Mapping[str, Mapping[str, object]], equivalent: Mapping[tuple[str, ...], str]
) -> None:
    """Print what became of the mutants by module and by package, then the survivors."""
    by_module: dict[str, Counter[str]] = {}
    by_package: dict[str, Counter[str]] = {}
    survivors = []
    for one in sample:
        result = results.get(one.key)
        outcome = str(result["outcome"]) if result else "not run"
        is_listed = (one.module, one.before, one.after) in equivalent
        if is_listed and outcome in ("killed", "timed out"):
            print(f"{one.module}:{one.line}: listed as equivalent, and {outcome}: {one.before} -> {one.after}")
        elif is_listed:
            outcome = "equivalent"
        elif outcome == "survived":
            survivors.append(f"{one.module}:{one.line}: {one.before} -> {one.after}")
        module = one.module.removeprefix("src/hardplace/")
        by_module.setdefault(module, Counter())[outcome] += 1
        by_package.setdefault(_package(module), Counter())[outcome] += 1
    print("\n".join(survivors))
    _table("Module", by_module)
    _table("Package", by_package)


def _package(module: str) -> str:
    """Return the first two folders of a module, of a module with one folder that folder."""
    return "/".join(module.split("/")[:-1][:2])


def _table(title: str, rows: dict[str, Counter[str]]) -> None:
    outcomes = ("killed", "timed out", "survived", "equivalent", "not run")
    heads = (title, "Mutants", *(one.capitalize() for one in outcomes))
    print(f"\n| {' | '.join(heads)} |\n|---|{'---:|' * (len(heads) - 1)}")
    total: Counter[str] = Counter()
    for name, row in sorted(rows.items()):
        total += row
        print(f"| {name} | {row.total()} | {' | '.join(str(row[one]) for one in outcomes)} |")
    print(f"| all | {total.total()} | {' | '.join(str(total[one]) for one in outcomes)} |")
    found = total["killed"] + total["timed out"]
    print(f"\nFound: {found} of {found + total['survived']}, {100 * found / max(1, found + total['survived']):.1f} %.")


if __name__ == "__main__":
    main()
