"""PHAZE's outer search (arXiv 2407.13143, section 5; its release): chips in descending buckets of area."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, pairwise

import numpy as np

from hardplace.design.strategies.oracle import Oracle
from hardplace.design.types import PlanFamily

SOURCE = "arXiv 2407.13143"
_BUCKET_MM2 = 0.01
_PATIENCE = 5  # buckets whose maxima, when none exceeds the one before it, end the search


def search(oracle: Oracle, seed: int) -> None:
    """Walk the chips for each memory, micro-batch and recompute, the outer loops of the release; seed changes nothing.

    Within one walk a chip's value is that of its best tensor-parallel width; the walk ends when the maxima of its
    last five buckets do not increase.
    """
    del seed
    outer: dict[tuple[float, int, bool], list[PlanFamily]] = {}
    for family in oracle.families:
        outer.setdefault((family.memory_bytes, family.micro_batch, family.recompute), []).append(family)
    for families in outer.values():
        _walk(oracle, tuple(families))


def _walk(oracle: Oracle, families: tuple[PlanFamily, ...]) -> None:
    maxima: list[float] = []
    for bucket in _buckets(oracle):
        maxima.append(max(oracle.most(chip, families) for chip in bucket))
        last = maxima[-_PATIENCE:]
        if len(last) == _PATIENCE and all(later <= earlier for earlier, later in pairwise(last)):
            return


def _buckets(oracle: Oracle) -> Iterator[list[int]]:
    """Yield the chips of each bucket of area, largest first."""
    bucket = np.floor(oracle.chips.area_mm2 / _BUCKET_MM2).astype(np.int64)
    order = np.argsort(-bucket, kind="stable").tolist()
    for _, chips in groupby(order, key=lambda chip: int(bucket[chip])):
        yield list(chips)
