"""The command line: one module a verb; heavy imports happen within the verbs."""

from __future__ import annotations

import sys

try:
    from hardplace.cli import verbs
    from hardplace.cli.ends import main
except KeyboardInterrupt:  # Ctrl-C while the verbs are imported
    sys.stderr.write("hardplace: interrupted before a first answer\n")
    raise SystemExit(130) from None

__all__ = ["main", "verbs"]
