"""Which parameters of a module are not trained: those that patterns name."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch

from hardplace.errors import unknown


def freeze(module: torch.nn.Module, patterns: Sequence[str]) -> None:
    """Take the gradient from the parameters whose names match one of the patterns (`*`, `?`, `[abc]`).

    A tied parameter is frozen under each of its names. BadInput, with the nearest names, for a pattern that matches
    none.
    """
    weights = list(module.named_parameters(remove_duplicate=False))
    for pattern in patterns:
        matched = [weight for name, weight in weights if fnmatchcase(name, pattern)]
        if not matched:
            raise unknown("parameter to freeze", pattern, [name for name, _ in weights])
        for weight in matched:
            weight.requires_grad_(False)
