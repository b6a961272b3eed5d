"""Templates of files of one's own, valid as they are (`hardplace new`)."""

from __future__ import annotations

from pathlib import Path

KINDS = ("chip", "node", "space", "setting", "plan")


def starter(kind: str) -> str:
    """Return the template of one of KINDS."""
    return (Path(__file__).parent / f"{kind}.toml").read_text(encoding="utf-8")
