"""The benchmarks as a suite, by pytest-benchmark (extra `benchmark`): `python -m benchmarks [PYTEST ARGUMENTS]`.

Runs benchmarks/suite, saves machine, load and commit with the seconds under .benchmarks/, compares with the last run,
and writes docs/performance.md. Seconds are of the processor, children included: other work on the machine matters
little.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
_SAVED = _ROOT / ".benchmarks"
_DOCUMENT = _ROOT / "docs" / "performance.md"


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
        last = json.loads(before[-1].read_text()) if before else None
        _DOCUMENT.write_text(_document(json.loads(after[-1].read_text()), last))
    return int(ended)


def _runs() -> list[Path]:
    """Return the saved runs, oldest first."""
    return sorted(_SAVED.glob("*/*.json"), key=lambda path: path.stat().st_mtime)


def _document(run: dict[str, Any], last: dict[str, Any] | None) -> str:
    """Return docs/performance.md: each benchmark's least processor seconds, peak memory, and ratio to the last run."""
    machine, commit = run["machine_info"], run["commit_info"]
    earlier = {one["name"]: one["stats"]["min"] for one in (last or {}).get("benchmarks", [])}
    lines = [
        "# Performance", "",
        "Written by `python -m benchmarks` (extra `benchmark`): processor seconds of whole commands, children "
        "included, the least of the rounds; peak memory of the process (at least the runner's own, 51 MiB). Ratios "
        "are to the run before.", "",
        f"Commit {commit['id'][:10]}{', with changes' if commit['dirty'] else ''}, {run['datetime'][:16]}; "
        f"{machine['cpu'].get('brand_raw', machine['machine'])}, {machine['cpu'].get('count', '?')} cores, load "
        f"{machine.get('load', '?')}, Python {machine['python_version']}.", "",
    ]  # fmt: skip
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in run["benchmarks"]:
        groups.setdefault(one["group"] or "others", []).append(one)
    for group, rows in groups.items():
        lines += [f"## {group}", "", "| what | processor s | peak, MiB | to the last run |", "|---|--:|--:|--:|"]
        for one in rows:
            least, memory = one["stats"]["min"], one["extra_info"].get("peak_mib")
            ratio = f"{least / earlier[one['name']]:.2f}" if one["name"] in earlier else "-"
            what = one["extra_info"].get("what", one["name"])
            lines.append(f"| {what} | {least:.2f} | {'-' if memory is None else f'{memory:,.0f}'} | {ratio} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
