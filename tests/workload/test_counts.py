"""Shipped decoders against a closed form of their published configs, which nothing recorded has a part in."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.catalogue_counts import PUBLISHED, closed_form, recorded

from hardplace.workload.load import load, published_config


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_parameters_and_flops_are_those_of_the_config(name: str) -> None:
    assert recorded(name) == closed_form(published_config(name), load(name).sequence_length)
