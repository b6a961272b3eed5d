"""The version, and the hash of the sources that compute: two runs of one hash give the same numbers."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__version__ = "0.1.0"


@cache
def code() -> str:
    """Return the hash of the package's Python sources and its data of hardware."""
    import hashlib
    from importlib import resources

    def files(folder: Traversable) -> list[tuple[str, Traversable]]:
        inside = sorted(folder.iterdir(), key=lambda one: one.name)
        deeper = [(f"{one.name}/{path}", file) for one in inside if one.is_dir() for path, file in files(one)]
        return [(one.name, one) for one in inside if one.name.endswith((".py", ".toml"))] + deeper

    digest = hashlib.sha256()
    for path, file in files(resources.files("hardplace")):
        if not path.startswith(("cli/", "report/")):  # they show results and compute none
            digest.update(path.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
