"""Fingerprint of a question: flat fields by which two runs are compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib import metadata
from typing import Any

import numpy as np

from hardplace.design.question import Question
from hardplace.files import dumps
from hardplace.version import __version__, code

_LONG = 400  # characters of JSON above which a value stands as its hash
_HASHED = "SHA-256"
_SOLVERS = ("ortools", "numpy")  # whose version may change a number in the last place, or a schedule

Fingerprint = dict[str, Any]  # field, e.g. setting.clock_hz, -> a JSON scalar


def asked(question: Question, **more: float | str | None) -> Fingerprint:
    """Return the fingerprint of a question: every field, what else changes its evaluations, and what computes them.

    Long values (a model's layers, the chips of a space) stand as their SHA-256. `code` is the hash of the package's
    sources: an evaluation by another cost model is no evaluation of this one.
    """
    found: Fingerprint = {"version": __version__, "code": code()}
    found |= {name: metadata.version(name) for name in _SOLVERS}
    _flatten("", question, found)
    return found | more


def difference(before: Fingerprint, now: Fingerprint) -> list[str]:
    """Return what differs between two fingerprints, a text for each field: `budget.area_mm2 was 278.83, now 60`."""
    changed = [name for name in {**now, **before} if before.get(name) != now.get(name)]
    # What a person can read comes first; a hash only says that something changed.
    changed.sort(key=lambda name: _HASHED in str(now.get(name)))
    return [f"{name} was {_shown(before.get(name))}, now {_shown(now.get(name))}" for name in changed]


def _flatten(name: str, value: Any, found: Fingerprint) -> None:
    """Add a value's fields under their dotted names."""
    prefix = f"{name}." if name else ""
    if is_dataclass(value):
        for field in fields(value):
            _flatten(prefix + field.name, getattr(value, field.name), found)
    elif isinstance(value, Mapping):
        for key in value:
            _flatten(prefix + str(key), value[key], found)
    elif name == "workloads":
        for place, one in enumerate(value):
            _flatten(f"{name}.{place}" if len(value) > 1 else name, one, found)
    elif isinstance(value, np.ndarray):
        found[name] = f"{value.size:,} values, {_HASHED} {_hash(value.dtype.str.encode() + value.tobytes())}"
    elif value is None or isinstance(value, bool | int | float | str):
        found[name] = value
    else:
        text = dumps(value, compact=True)
        found[name] = text if len(text) <= _LONG else f"{len(value):,} values, {_HASHED} {_hash(text.encode())}"


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _shown(value: Any) -> str:
    return "absent" if value is None else json.dumps(value) if isinstance(value, bool) else str(value)
