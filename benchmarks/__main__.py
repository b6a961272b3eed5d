"""The benchmarks as a suite, by pytest-benchmark (extra `benchmark`): `python -m benchmarks [PYTEST ARGUMENTS]`.

Runs benchmarks/suite, saves machine, load and commit with the seconds under .benchmarks/, and writes
docs/performance.md, with ratios to the run that stands there, down to the tables that other benchmarks write. With
arguments, such as `-k kernels`, the tables are printed and the document stays as it is. Seconds are of the processor,
children included: other work on the machine matters little. HARDPLACE_PEERS names the Python of an environment with the
extra `peers`.
"""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
_SAVED = _ROOT / ".benchmarks"
_DOCUMENT = _ROOT / "docs" / "performance.md"
OTHERS = "<!-- others: benchmarks that take minutes, each with --write -->"


def main(arguments: list[str]) -> int:
    try:
        import pytest
        import pytest_benchmark  # noqa: F401
    except ImportError:
        sys.stderr.write("benchmarks: expected the extra benchmark: pip install 'hardplace[benchmark]'\n")
        return 2
    before = _runs()
    options = [
        f"--benchmark-storage=file://{_SAVED}",
        "--benchmark-autosave",
        "-p",
        "no:xdist",
        "-p",
        "no:cacheprovider",
    ]
    ended = pytest.main([str(_ROOT / "benchmarks" / "suite"), "-c", "/dev/null", "-q", *options, *arguments])
    after = _runs()
    if after != before:
        stood = _DOCUMENT.read_text()
        document = document_of(json.loads(after[-1].read_text()), earlier_s(stood)) + other_tables(stood)
        if arguments:
            print(document)
        elif not ended:
            _DOCUMENT.write_text(document)
    return int(ended)


def _runs() -> list[Path]:
    """Return the saved runs, oldest first."""
    return sorted(_SAVED.glob("*/*.json"), key=lambda path: path.stat().st_mtime)


def earlier_s(document: str) -> dict[str, float]:
    """Return the processor seconds of each row of a document that `document_of` made."""
    rows = re.findall(r"^\| (.+?) \| ([0-9.]+) \|", document, flags=re.M)
    return {what: float(seconds) for what, seconds in rows}


def other_tables(document: str) -> str:
    """Return the end of a document that other benchmarks write: from the first of their marks on."""
    return "\n" + document[document.index(OTHERS) :] if OTHERS in document else ""


def document_of(run: dict[str, Any], earlier: dict[str, float]) -> str:
    """Return docs/performance.md of a saved run: seconds, growth, peak memory, ratio to the seconds before.

    Args:
        run: What pytest-benchmark saves.
        earlier: Processor seconds of the run before, by what was measured.
    """
    machine, commit = run["machine_info"], run["commit_info"]
    lines = [
        "# Performance", "",
        "Written by `python -m benchmarks` (extra `benchmark`): processor seconds, children included, the least of the "
        "rounds. Commands and public tools are processes of their own, with their imports; their peak memory is that "
        "of the process (at least the runner's own, 51 MiB). Of other rows it is what a call allocates. Growth is the "
        "exponent of seconds over work from the row before: 1 grows as the work, 0 not at all. Ratios are to the run "
        "that stood here before, on its machine; of rows under 0.05 s they say little. Public tools are those of the "
        "extra `peers` that are installed; AccelForge 1.0.467 does not install by pip, alone or beside them: it "
        "requires hwcomponents, of which the index has no release (30 November 2026).", "",
        f"Commit {commit['id'][:10]}{', with changes' if commit['dirty'] else ''}, {run['datetime'][:16]}; "
        f"{machine['cpu'].get('brand_raw', machine['machine'])}, {machine['cpu'].get('count', '?')} cores, load "
        f"{machine.get('load', '?')}, Python {machine['python_version']}.", "",
    ]  # fmt: skip
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in run["benchmarks"]:
        groups.setdefault(one["group"] or "others", []).append(one)
    for group, rows in groups.items():
        lines += [f"## {group}", "", "| what | processor s | growth | peak, MiB | to the last run |"]
        lines += ["|---|--:|--:|--:|--:|"]
        # By series, smallest work first: each row has the one before it to grow from.
        series = list(dict.fromkeys(one["extra_info"].get("series") for one in rows))
        rows.sort(key=lambda one: (series.index(one["extra_info"].get("series")), one["extra_info"].get("size") or 0))
        last: tuple[str | None, int | None, float] = (None, None, 0.0)
        for one in rows:
            more, least = one["extra_info"], one["stats"]["min"]
            size, of = more.get("size"), more.get("series")
            growth = "-"
            if size and last[1] and last[0] == of and min(least, last[2]) > 0.0:
                growth = f"{math.log(least / last[2]) / math.log(size / last[1]):.2f}"
            last = of, size, least
            what, memory = more.get("what", one["name"]), more.get("peak_mib")
            before = earlier.get(what, 0.0)
            ratio = f"{least / before:.2f}" if before else "-"
            peak = "-" if memory is None else f"{memory:,.0f}"
            lines.append(f"| {what} | {_digits(least)} | {growth} | {peak} | {ratio} |")
        lines.append("")
    return "\n".join(lines)


def _digits(seconds: float) -> str:
    """Return seconds with three significant digits."""
    return f"{seconds:.{max(0, 2 - math.floor(math.log10(seconds)))}f}" if seconds > 0.0 else "0"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
