"""Which parameters of a module are not trained: those that patterns name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch

from hardplace.errors import BadInput


def freeze(module: torch.nn.Module, patterns: Sequence[str]) -> None:
    """Take the gradient from the parameters whose names match one of the patterns (`*`, `?`, `[abc]`).

    A tied parameter is frozen under each of its names. BadInput, with the nearest names, for a pattern that matches
    none.
    """
    weights = list(module.named_parameters(remove_duplicate=False))
    for pattern in patterns:
        matched = [weight for name, weight in weights if fnmatchcase(name, pattern)]
        if not matched:
            near = difflib.get_close_matches(pattern, [name for name, _ in weights], n=3, cutoff=0.0)
            raise BadInput(
                f"freeze: {pattern}: names none of the {len(weights):,} parameters: expected a pattern of names "
                f"such as {', '.join(near)}"
            )
        for weight in matched:
            weight.requires_grad_(False)
