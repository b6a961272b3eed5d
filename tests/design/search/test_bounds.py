"""Closed forms of the search's bounds against brute force, on graphs that branch."""

import numpy as np
import pytest

from hardplace.design.search.bounds import chain, linked
from hardplace.hardware.settings import HBM3
from hardplace.workload.load import load
from hardplace.workload.sharding import tensor_parallel
from placement_lattices import contradictions, random_problem


@pytest.mark.parametrize("first", range(0, 100, 20))
def test_nothing_on_random_lattices_contradicts_brute_force(first: int) -> None:
    for seed in range(first, first + 20):
        assert list(contradictions(*random_problem(seed))) == [], seed


def paid(count: int, *edges: tuple[int, int, float]) -> list[float]:
    one = linked([0] * count, np.zeros(1), edges, s_per_byte=1.0, latency_s=2.0)
    return (one.paid(np.arange(1.0, count + 1.0)) * one.hop_s).tolist()


def test_a_stage_pays_once_for_all_that_comes_in_and_once_for_all_that_goes_out() -> None:
    """By hand: a hop is at least 2 s and the smallest tensor, 1 s a byte."""
    assert paid(4, (0, 1, 1.0), (1, 2, 5.0), (2, 3, 1.0)) == [0.0, 6.0, 12.0, 18.0]
    # Two layers feed the third: two stages pay on their way out, one on its way in.
    assert paid(3, (0, 2, 1.0), (1, 2, 1.0)) == [0.0, 6.0, 9.0]
    # One layer feeds two: one on its way out, two on their way in.
    assert paid(3, (0, 1, 3.0), (0, 2, 1.0)) == [0.0, 6.0, 9.0]
    # A tensor without bytes joins nothing, and stages of what is not joined may pay nothing.
    assert paid(3, (0, 1, 1.0), (1, 2, 0.0)) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("model", "ends"), [("llama2-7b", (1, 1)), ("t5-large", (1, 1)), ("dlrm", (2, 1))])
def test_the_ends_of_a_model_are_counted(model: str, ends: tuple[int, int]) -> None:
    workload = load(model)
    links = chain(workload, tensor_parallel(workload, 1), HBM3, 1)
    assert (links.sources, links.sinks) == ends
    assert links.hop_s > HBM3.cluster.levels[-1].latency_s
    assert links.counts.sum() == len(workload.order)
