"""What `mutations.py` runs: a copy of the tree with one statement changed, in a forked process with pytest."""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mutants import Mutant, is_in_function, replace_code, with_probes
from mutation_pytest import Probing, Runner, run_pytest

_NO_LIMIT_S = 10**6
_NOT_REPLACED, _BROKEN = 71, 70  # statuses of processes
_WAITS = 20  # times its processor seconds: other work, or tests that wait for ever
_MOST_BYTES = 8 << 30  # of one process, torch's libraries among them
_IGNORED = shutil.ignore_patterns(".git", "__pycache__", ".*_cache", ".hypothesis", ".venv*", "hardplace-out")
# What tests import beside the package; loaded once, before the processes fork.
_LOADED = ("numpy", "ortools.sat.python.cp_model", "hypothesis", "cattrs", "click", "rich", "jinja2", "yaml", "torch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What a test runs: its processor seconds (None: broken off), keys of the mutants whose statement it runs."""

    seconds: float | None
    keys: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A copy of the project in a folder, where mutants run."""

    root: Path
    out: Path

    @classmethod
    def copied(cls, source: Path, out: Path) -> Tree:
        """Copy the project, have Python find the copy, and load what its tests import."""
        root, out = out.resolve() / "tree", out.resolve()
        shutil.copytree(source, root, ignore=_IGNORED, dirs_exist_ok=True)
        for file in root.rglob("*.py"):
            if not (source / file.relative_to(root)).exists():
                file.unlink()
        shutil.rmtree(out / "originals", ignore_errors=True)
        ours = str(source / "src")
        sys.path[:] = [str(root / "src"), *(one for one in sys.path if one != ours)]
        others = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one and one != ours]
        os.environ |= {"PYTHONPATH": os.pathsep.join([sys.path[0], *others]), "OPENBLAS_NUM_THREADS": "1"}
        for name in _LOADED:
            importlib.import_module(name)
        return cls(root=root, out=out)

    def covered(
        self, sample: Iterable[Mutant], files: Iterable[str], longest_s: float, before: int = -1
    ) -> dict[str, Probed]:
        """Return what each test runs, from a file where no test of a file has changed since it was asked of these.

        Breaking off a test may end pytest itself, so this goes on as long as more is known than `before`.
        """
        sample = list(sample)
        wanted = frozenset(one.key for one in sample)
        now = {file: hashlib.sha256((self.root / file).read_bytes()).hexdigest()[:12] for file in files}
        log = self.out / "covered.jsonl"
        name = hashlib.sha256("".join(sorted(wanted)).encode()).hexdigest()[:12]
        asked: dict[str, frozenset[str]] = {}  # by the name of a run's mutants
        known: dict[str, Probed] = {}
        done: set[str] = set()
        for line in map(json.loads, log.read_text().splitlines()) if log.exists() else ():
            if "asked" in line:
                asked[line["sample"]] = frozenset(line["asked"])
            elif wanted <= asked[line["sample"]] and now.get(line["file"]) == line["digest"]:
                if "test" in line:
                    known[line["test"]] = Probed(seconds=line["seconds"], keys=frozenset(line["keys"]))
                else:
                    done.add(line["file"])
        todo = {name: digest for name, digest in now.items() if name not in done}
        if not todo:
            return known
        if len(known) == before:
            raise SystemExit(f"mutation_runs.py: pytest ended: see {self.out / 'pytest.log'}")
        if name not in asked:
            with log.open("a") as out:
                out.write(json.dumps({"sample": name, "asked": sorted(wanted)}) + "\n")
        probed = {one.module for one in sample}
        try:
            for module in probed:
                mutants = [one for one in sample if one.module == module]
                self._write(module, with_probes((self.root / module).read_text(), mutants), 1)
            plugin = Probing(log=log, sample=name, digests=todo, known=frozenset(known), longest_s=longest_s)
            status, _ = _forked(lambda: run_pytest(self.root, todo, plugin), _NO_LIMIT_S)
            if status in (0, 1, 5):  # ran to the end: passed, some failed, no tests
                with log.open("a") as out:
                    out.writelines(
                        json.dumps({"sample": name, "file": file, "digest": digest}) + "\n"
                        for file, digest in todo.items()
                    )
        finally:
            for module in probed:
                self._restore(module)
        return self.covered(sample, now, longest_s, len(known))

    def failing(self, names: Iterable[str], covered: Mapping[str, Probed]) -> str | None:
        """Return one of some tests that fails where nothing is changed."""
        chosen = {name: covered[name].seconds for name in names}
        status, _ = self._run(chosen, _NO_LIMIT_S)
        return (self.out / "progress").read_text().splitlines()[-1] if status else None

    def tried_in_place(
        self,
        mutants: Iterable[Mutant],
        covered: Mapping[str, Probed],
        limit_s: float,
        note: Callable[[Mutant, dict[str, object]], None],
    ) -> None:
        """Try the mutants that lie in functions: one process imports and collects, and forks for each, with the code of
        the functions replaced. What cannot be replaced is left out, and what a cache holds from the import stays."""
        mine = [one for one in mutants if is_in_function((self.root / one.module).read_text(), one.line)]
        if not mine:
            return
        progress = self.out / "progress"

        def run(runner: Runner, one: Mutant, chosen: Mapping[str, float | None]) -> int:
            path = self.root / one.module
            if not replace_code(str(path), path.read_text(), one.source):
                return _NOT_REPLACED
            return 0 if runner.passes(chosen, progress, limit_s) else 1

        def work(runner: Runner) -> None:
            for one in mine:
                chosen, left = _chosen(one, covered, limit_s / 2.0)
                progress.write_text("")
                status, cpu_s = _forked(partial(run, runner, one, chosen), limit_s)
                if status not in (_NOT_REPLACED, _BROKEN):
                    note(one, self._outcome(status, chosen, left, cpu_s))

        every = _files(name for one in mine for name in _chosen(one, covered, limit_s / 2.0)[0])
        status, _ = _forked(lambda: run_pytest(self.root, every, Runner(work)), _NO_LIMIT_S)
        if status:
            raise SystemExit(f"mutation_runs.py: pytest ended with {status}: see {self.out / 'pytest.log'}")

    def tried(self, one: Mutant, covered: Mapping[str, Probed], limit_s: float) -> dict[str, object]:
        """Return what becomes of a mutant in a process that imports it: the outcome, by which test, how many tests were
        chosen and left, and the processor seconds."""
        chosen, left = _chosen(one, covered, limit_s / 2.0)
        self._write(one.module, one.source, 2 + int(one.key[:6], 16))
        try:
            status, cpu_s = self._run(chosen, limit_s)
        finally:
            self._restore(one.module)
        return self._outcome(status, chosen, left, cpu_s)

    def _run(self, chosen: Mapping[str, float | None], limit_s: float) -> tuple[int, float]:
        progress = self.out / "progress"
        progress.write_text("")
        if not chosen:
            return 0, 0.0
        runner = Runner(lambda runner: runner.passes(chosen, progress, limit_s))
        return _forked(lambda: run_pytest(self.root, _files(chosen), runner), limit_s)

    def _outcome(self, status: int, chosen: Mapping[str, float | None], left: int, cpu_s: float) -> dict[str, object]:
        last = (self.out / "progress").read_text().splitlines()[-1:]
        by = last[0] if last else ""
        outcome = {0: "survived", 1: "killed", 2: "killed"}.get(status, f"status {status}")
        if status < 0:
            outcome = "timed out"
            if by and chosen[by] is None:
                outcome, left = "survived", left + 1
        if not chosen:
            outcome = "not run"
        by = "" if outcome == "survived" else by
        return {"outcome": outcome, "by": by, "tests": len(chosen), "left": left, "cpu_s": round(cpu_s, 1)}

    def _write(self, name: str, text: str, later_s: int) -> None:
        """Write a module with a time of its own, so that no compiled form of another is taken for it."""
        path = self.root / name
        at_s = int(self._original(name).stat().st_mtime) + later_s
        path.write_text(text)
        os.utime(path, (at_s, at_s))

    def _restore(self, name: str) -> None:
        shutil.copy2(self._original(name), self.root / name)

    def _original(self, name: str) -> Path:
        kept = self.out / "originals" / name
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.root / name, kept)
        return kept


def _files(tests: Iterable[str]) -> list[str]:
    return sorted({name.partition("::")[0] for name in tests})


def _chosen(one: Mutant, covered: Mapping[str, Probed], limit_s: float) -> tuple[dict[str, float | None], int]:
    """Return tests in the order to run them, with seconds, and how many more run the statement.

    Those of its package that run it, shortest first, then those of other packages, then the others of their files; last
    two of those that were broken off. Where none runs it (a module without functions, or processes of its own), those
    of the package.
    """
    package = Path("tests", *Path(one.module).parts[2:-1])

    def is_far(name: str) -> bool:
        return package not in Path(name.partition("::")[0]).parents

    runs = [name for name, found in covered.items() if one.key in found.keys]
    files = set(_files(runs or (name for name in covered if not is_far(name))))
    others = [name for name in covered if name.partition("::")[0] in files and one.key not in covered[name].keys]
    chosen: dict[str, float | None] = {}
    spent_s = 0.0
    left = 0
    for names, is_counted in ((runs, True), (others, False)):
        timed = [(found, name) for name in names if (found := covered[name].seconds) is not None]
        for seconds, name in sorted(timed, key=lambda pair: (is_far(pair[1]), _step(pair[0]), pair[1])):
            if spent_s + seconds <= limit_s:
                chosen[name] = seconds
                spent_s += seconds
            elif is_counted:
                left += 1
    broken_off = [name for name in runs if covered[name].seconds is None]
    broken_off.sort(key=lambda name: (is_far(name), name))
    chosen |= dict.fromkeys(broken_off[:2])
    return chosen, left + len(broken_off[2:])


def _step(seconds: float) -> int:
    """Return a class of tests that take as long: within it they run file by file, so that fixtures are made once."""
    return sum(seconds > limit for limit in (0.1, 0.4, 1.6))


def _forked(work: Callable[[], int], limit_s: float) -> tuple[int, float]:
    """Run a function in a process of its own; return its status (below 0: the signal that ended it) and seconds."""
    sys.stdout.flush()
    process = os.fork()
    if not process:
        status = _BROKEN
        try:
            os.setsid()
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: not to outlive what started it
            resource.setrlimit(resource.RLIMIT_CPU, (int(limit_s) + 1, resource.RLIM_INFINITY))
            resource.setrlimit(resource.RLIMIT_DATA, (_MOST_BYTES, _MOST_BYTES))
            status = work()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    end_s = time.monotonic() + _WAITS * limit_s
    try:
        while True:
            ended, status, usage = os.wait4(process, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
            if time.monotonic() > end_s:
                os.killpg(process, signal.SIGKILL)
            time.sleep(0.02)
    except BaseException:
        os.killpg(process, signal.SIGKILL)
        os.wait4(process, 0)
        raise
