"""Groupings of a block's layers: the least of all ways to cut it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from hardplace.cost.learned.study.fusion_splits import PricedGroup, grouped, segments_of
from hardplace.described.layers import convolution, elementwise
from hardplace.described.reading import read_description
from hardplace.ndtypes import Floats

LAYERS = (convolution("one", 8, 8, (8, 4)), convolution("two", 8, 8, (8, 4), (3, 3)), elementwise("sum", 256, 2))


def cycles(ways: Sequence[PricedGroup]) -> Floats:
    return np.array([float(way.cycles) for way in ways])


def test_a_grouping_is_the_least_of_all_cuts() -> None:
    segments = segments_of(read_description("vector-dsp"), LAYERS)
    assert set(segments) == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}
    found = []
    for cuts in itertools.chain.from_iterable(itertools.combinations((1, 2), count) for count in range(3)):
        places = (0, *cuts, 3)
        ways = [segments[pair] for pair in itertools.pairwise(places)]
        if all(ways):
            found.append(sum(min(way.cycles for way in some) for some in ways))
    chosen = grouped(segments, cycles, 3)
    assert sum(way.cycles for way in chosen) == min(found)
    alone = grouped({pair: ways for pair, ways in segments.items() if pair[1] - pair[0] == 1}, cycles, 3)
    assert len(alone) == 3
    assert sum(way.cycles for way in alone) == found[-1]
