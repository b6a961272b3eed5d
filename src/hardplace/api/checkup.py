"""What is installed and works: versions, extras, devices, the folder of answers, a self-test."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from hardplace.errors import BadInput
from hardplace.version import __version__

# An extra, the module that shows that it is there, what it is for.
_EXTRAS = (
    ("torch", "torch", "record a module or a config.json; a CPU wheel is enough (README)"),
    ("onnx", "onnx", "read ONNX files"),
    ("parquet", "pyarrow", "write evaluations as Parquet"),
    ("trace", "perfetto", "read Perfetto traces"),
    ("compare", "optuna", "the strategy bayesian"),
    ("distributed", "distributed", "work on a Dask cluster"),
    ("frame", "polars", "to_frame"),
    ("docs", "mkdocs", "build the documentation"),
    ("browser", "playwright", "test the pages in a browser"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRow:
    """One thing that was looked at: whether it is there or works, whether it must, and what was found, in words."""

    what: str
    ok: bool
    needed: bool
    told: str


def checkup(answers: Path) -> tuple[CheckRow, ...]:
    """Return what is installed and works.

    Args:
        answers: The folder that answers go to.
    """
    return (*_versions(), *_extras(), *_machine(), _folder(answers), *_self_test())


def _versions() -> list[CheckRow]:
    rows = [CheckRow(what="hardplace", ok=True, needed=True, told=f"{__version__}, Python {platform.python_version()}")]
    for name in ("numpy", "ortools", "click", "rich", "jinja2"):
        try:
            rows.append(CheckRow(what=name, ok=True, needed=True, told=metadata.version(name)))
        except metadata.PackageNotFoundError:
            rows.append(CheckRow(what=name, ok=False, needed=True, told=f"missing: pip install {name}"))
    return rows


def _extras() -> list[CheckRow]:
    rows = []
    for extra, module, purpose in _EXTRAS:
        there = util.find_spec(module) is not None
        told = purpose if there else f"not installed ({purpose}): pip install 'hardplace[{extra}]'"
        rows.append(CheckRow(what=f"extra {extra}", ok=there, needed=False, told=told))
    return rows


def _machine() -> list[CheckRow]:
    """Return the devices that the driver shows, without importing torch."""
    cards = sorted(Path("/proc/driver/nvidia/gpus").glob("*")) if Path("/proc/driver/nvidia/gpus").is_dir() else []
    told = f"{len(cards)} NVIDIA GPUs" if cards else "none seen; none is needed but to measure (verify, run)"
    return [CheckRow(what="accelerators", ok=bool(cards), needed=False, told=told)]


def _folder(answers: Path) -> CheckRow:
    if not answers.is_dir():
        return CheckRow(what=str(answers), ok=True, needed=False, told="not there yet: the first answer makes it")
    files = [one for one in answers.rglob("*") if one.is_file()]
    size = sum(one.stat().st_size for one in files)
    told = f"{len(files):,} files, {size / 1e6:,.1f} MB; nothing else is cached"
    return CheckRow(what=str(answers), ok=True, needed=False, told=told)


def _self_test() -> list[CheckRow]:
    """Search a small question and price its answer again: both must agree to the last digit, and be proven."""
    from hardplace.api.plans import estimate, place
    from hardplace.plans.placement.result import PlacementResult

    begun = time.process_time()
    try:
        found = place("opt-350m", "h100-sxm", 8, batch=64, fixed={"tensor": (1, 2), "zero": 1, "recompute": "none"})
        assert isinstance(found, PlacementResult)
        again = estimate("opt-350m", found.best[0].plan, "h100-sxm")
    except (BadInput, AssertionError) as problem:
        return [CheckRow(what="self-test", ok=False, needed=True, told=str(problem) or "no plan was found")]
    same = again.step_s == found.best[0].step_s and found.certificate.proven
    took = f"{time.process_time() - begun:.1f} s of processor time"
    told = f"{found.considered:,} plans, optimum proven, priced again to the same digit, {took}"
    return [CheckRow(what="self-test", ok=same, needed=True, told=told if same else "the plan's price is not its own")]
