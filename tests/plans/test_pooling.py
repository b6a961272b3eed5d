"""Partial pooling of figures: where nothing is said of a figure, its centre stays where its kind of device starts."""

import numpy as np
import pytest

from hardplace.plans.efficiencies import ARRAYS, FIGURES, GPUS
from hardplace.plans.pooling import Slopes, fit, values_at


def test_a_centre_starts_where_its_kind_of_device_does() -> None:
    nothing = np.zeros(len(FIGURES))
    rows = [
        Slopes(id=key, source=key, keys=(key,), measured=0.0, predicted=0.0, at=nothing, slopes=nothing)
        for key in (GPUS, ARRAYS)
    ]
    found = fit(rows, lambda key, figure: 0.5, centres=(GPUS, ARRAYS))
    gpus, arrays = (values_at(found.point((key,))) for key in (GPUS, ARRAYS))
    assert gpus["shown"] == pytest.approx(0.02)  # MaxText on H100 hides what its loop gathers
    assert arrays["shown"] == pytest.approx(0.3)
    assert {name: value for name, value in gpus.items() if name != "shown"} == pytest.approx(
        {name: value for name, value in arrays.items() if name != "shown"}
    )
