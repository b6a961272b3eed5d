"""Random small questions against every chip with every plan; the benchmarks named here try hundreds."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


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


@pytest.mark.parametrize("first", range(0, 24, 8))
def test_no_chip_within_both_limits_exceeds_the_bound_of_a_box_that_has_it(first: int) -> None:
    for number in range(first, first + 8):
        random = np.random.default_rng((2, number))
        said, beyond = limits.violations(limits.asked(random), random)
        assert said == [], number
        assert beyond > 0, number
