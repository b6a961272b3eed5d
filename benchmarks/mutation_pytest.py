"""Pytest's plugins that `mutation_runs.py` runs tests with."""

from __future__ import annotations

import builtins
import json
import os
import resource
import signal
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from types import FrameType

import pytest
from mutants import PROBE

_WAITS = 20  # times its processor seconds: other work, or tests that wait for ever


class _TooLong(BaseException):
    """A probed test took longer than it may."""


class Probing:
    """Pytest's plugin that notes what each test runs, breaking off what takes long."""

    def __init__(
        self, *, log: Path, sample: str, digests: Mapping[str, str], known: frozenset[str], longest_s: float
    ) -> None:
        self._log, self._sample, self._digests, self._known, self._longest_s = log, sample, digests, known, longest_s
        self._seen: set[str] = set()
        self._has_failed = False
        setattr(builtins, PROBE, lambda *keys: self._seen.update(keys))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the tests that are not known yet."""
        items[:] = [one for one in items if one.nodeid not in self._known]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Write a line for the test, and one for its file where it is the last."""
        self._seen.clear()
        self._has_failed = False
        is_long = False

        def broken_off(number: int, frame: FrameType | None) -> None:
            nonlocal is_long
            is_long = True
            raise _TooLong

        signal.signal(signal.SIGPROF, broken_off)
        signal.signal(signal.SIGALRM, broken_off)
        signal.setitimer(signal.ITIMER_PROF, self._longest_s)
        signal.setitimer(signal.ITIMER_REAL, _WAITS * self._longest_s)
        start_s = _processor_s()
        try:
            return (yield)
        finally:
            for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
                signal.setitimer(timer, 0.0)
            file = item.nodeid.partition("::")[0]
            head = {"sample": self._sample, "file": file, "digest": self._digests[file]}
            seconds = None if is_long else round(_processor_s() - start_s, 3)
            lines: list[Mapping[str, object]] = [
                head | {"test": item.nodeid, "seconds": seconds, "keys": sorted(self._seen)}
            ]
            if not is_long and self._has_failed:
                lines = []  # it finds no mutant
            if nextitem is None or nextitem.nodeid.partition("::")[0] != file:
                lines.append(head)
            with self._log.open("a") as out:
                out.write("".join(json.dumps(line) + "\n" for line in lines))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a failure."""
        self._has_failed |= not report.passed


class Runner:
    """Pytest's plugin that collects, and leaves what is run to a function."""

    def __init__(self, work: Callable[[Runner], object]) -> None:
        self._work = work
        self._items: dict[str, pytest.Item] = {}
        self._has_failed = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Do the work with the tests that were collected."""
        self._items = {one.nodeid: one for one in session.items}
        self._work(self)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a failure."""
        self._has_failed |= report.failed

    def passes(self, tests: Mapping[str, float | None], progress: Path, limit_s: float) -> bool:
        """Run tests in their order until one fails, each with a limit of the processor's seconds by what it takes
        (None: not known); the kernel ends a process that passes it. The last test begun is the last line of progress.
        """
        items = [self._items[name] for name in tests if name in self._items]
        for item, following in zip(items, [*items[1:], None], strict=False):
            with progress.open("a") as out:
                out.write(item.nodeid + "\n")
            expected_s, now_s = tests[item.nodeid], _processor_s()
            allowed_s = max(limit_s / 2.0, limit_s - now_s) if expected_s is None else 5.0 + 3.0 * expected_s
            resource.setrlimit(resource.RLIMIT_CPU, (int(now_s + allowed_s) + 1, resource.RLIM_INFINITY))
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
            if self._has_failed:
                return False
        return True


def _processor_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def run_pytest(root: Path, files: Iterable[str], plugin: object) -> int:
    """Run pytest in this process; what it prints is in pytest.log beside the tree."""
    os.chdir(root)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    printed = os.open(root.parent / "pytest.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(printed, number)
    command = ["-W", "ignore::pytest.PytestAssertRewriteWarning", "-p", "no:cacheprovider", "-p", "no:xdist"]
    return int(pytest.main([*command, "--hypothesis-profile=no-shrinking", *files], plugins=[plugin]))
