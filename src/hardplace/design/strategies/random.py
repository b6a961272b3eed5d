"""Chips and plan families drawn evenly: the least that a strategy must beat."""

from __future__ import annotations

import numpy as np

from hardplace.design.strategies.oracle import Oracle

SOURCE = "even draws of a chip and a plan family"


def search(oracle: Oracle, seed: int) -> None:
    """Evaluate pairs in a random order until the budget is spent or every pair was seen."""
    draws = np.random.default_rng(seed)
    families, chips = oracle.families, len(oracle.chips)
    while families and len(oracle.seen) < chips * len(families):
        oracle.value(int(draws.integers(chips)), families[int(draws.integers(len(families)))])
        oracle.check()
