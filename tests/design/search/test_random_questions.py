"""Random small questions against every chip with every plan; benchmarks/certificates_search.py and
benchmarks/certificates_search_small.py try hundreds."""

import importlib.util
import random
from pathlib import Path

import numpy as np
import pytest

from oracles_search import compared, random_asked

_PATH = Path(__file__).parents[3] / "benchmarks" / "certificates_search.py"
_SPEC = importlib.util.spec_from_file_location("certificates_search", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
certificates = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(certificates)


@pytest.mark.parametrize("number", range(4))
def test_no_chip_with_any_plan_exceeds_what_a_search_has_proven(number: int) -> None:
    assert certificates.violation(certificates.asked(np.random.default_rng((1, number)))) is None


@pytest.mark.parametrize("first", range(0, 15, 5))
def test_no_answer_contradicts_brute_force_written_from_the_documents(first: int) -> None:
    for number in range(first, first + 5):
        draw = random.Random(f"2:{number}")
        found = compared(random_asked(draw), draw.choice((1e-6, 0.01)))
        assert not found.wrong, number
