"""Random small questions against every chip with every plan; the benchmarks named here, and
benchmarks/certificates_search_small.py, try hundreds."""

import importlib.util
import random
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from oracles_search import compared, random_asked


def _benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[3] / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


certificates = _benchmark("certificates_search")
limits = _benchmark("certificates_limits")


@pytest.mark.parametrize("number", range(4))
def test_no_chip_with_any_plan_exceeds_what_a_search_has_proven(number: int) -> None:
    assert certificates.violation(certificates.asked(np.random.default_rng((1, number)))) is None


def test_no_chip_has_more_samples_a_second_and_watt_than_a_search_has_proven() -> None:
    asked = certificates.front_asked(np.random.default_rng((4, 2)), ratio=True)
    assert certificates.violation(asked, work=0.0) is None


@pytest.mark.parametrize("first", range(0, 15, 5))
def test_no_answer_contradicts_brute_force_written_from_the_documents(first: int) -> None:
    for number in range(first, first + 5):
        draw = random.Random(f"2:{number}")
        found = compared(random_asked(draw), draw.choice((1e-6, 0.01)))
        assert not found.wrong, number


@pytest.mark.parametrize("first", range(0, 12, 6))
def test_no_chip_within_both_limits_exceeds_the_bound_of_a_box_that_has_it(first: int) -> None:
    for number in range(first, first + 6):
        draw = np.random.default_rng((2, number))
        said, beyond = limits.violations(limits.asked(draw), draw)
        assert said == [], number
        assert beyond > 0, number
