"""Random questions about shapes, chips and plans against all of them; benchmarks/certificates_shapes.py tries more."""

import random

from oracles_shapes import compared_shapes, random_shapes


def test_no_shape_with_any_chip_and_plan_exceeds_what_a_joint_search_has_proven() -> None:
    found = compared_shapes(random_shapes(random.Random("0:4")), 0.01)
    assert found.feasible
    assert found.shapes > 1
    assert not found.wrong
