"""FLOPs of a rank's work, and its seconds on a roofline, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from hardplace.cost.layers.timer import Roofline
from hardplace.cost.layers.work import AttentionWork

ONE = AttentionWork(batch=2, heads=3, kv_heads=1, queries=4, keys=4, head_dim=8, causal=False, backward=False)


def test_flops_of_scores_that_are_not_masked() -> None:
    """Two products of 2 FLOPs forward, four backward, over 2 x 3 heads of 4 x 4 scores (causal: 10 of 16)."""
    assert ONE.model_flops == 2 * 2 * (2 * 3 * 4 * 4) * 8
    assert replace(ONE, backward=True).model_flops == 2 * 4 * (2 * 3 * 4 * 4) * 8
    assert replace(ONE, causal=True).model_flops == 2 * 2 * (2 * 3 * 10) * 8
    assert replace(ONE, queries=2).model_flops == ONE.model_flops / 2  # a context-parallel rank's share


@pytest.mark.parametrize(("flops_per_s", "bytes_per_s"), [(1.0, 1e9), (1e9, 1.0)])
def test_attention_on_a_roofline(flops_per_s: float, bytes_per_s: float) -> None:
    """Two products forward and five backward; queries and results of 3 heads, keys and values of one, 16 bits each."""
    timer = Roofline(flops_per_s=flops_per_s, bytes_per_s=bytes_per_s)
    sizes = (np.array([3]), np.array([1]), np.array([8]))
    scores, words = 2 * 3 * 4 * 4, 2 * (2 * 3 + 2 * 1) * 4 * 8
    for one, products, times in ((ONE, 2, 1), (replace(ONE, backward=True), 5, 2)):
        flops, moved = 2 * products * scores * 8, 2 * words * times
        found = timer.attentions_s(one, *sizes)
        assert found.tolist() == [pytest.approx(flops if flops_per_s == 1.0 else moved)]
    half = timer.attentions_s(replace(ONE, causal=True), *sizes)
    assert half.tolist() == [pytest.approx(2 * scores * 8 if flops_per_s == 1.0 else 2 * words)]
