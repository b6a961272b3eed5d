"""Random small questions against every chip with every plan; benchmarks/certificates_search.py tries hundreds."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

_PATH = Path(__file__).parents[3] / "benchmarks" / "certificates_search.py"
_SPEC = importlib.util.spec_from_file_location("certificates_search", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
certificates = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(certificates)


@pytest.mark.parametrize("number", range(4))
def test_no_chip_with_any_plan_exceeds_what_a_search_has_proven(number: int) -> None:
    assert certificates.violation(certificates.asked(np.random.default_rng((1, number)))) is None
