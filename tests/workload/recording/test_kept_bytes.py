"""What a recording says is kept, and what torch's autograd keeps of the library's own module on real tensors."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

sys.path.insert(0, str(Path(__file__).parents[3]))

from benchmarks.kept_bytes import compared

TABLES = 2 * 32 * 16 * 4  # Llama's cosines and sines of 32 positions and 16 dimensions, which every layer reads
# T5's bias of scores (2 samples, 4 heads, 32 x 32) in each side's second layer, its encoder's output in the decoder's.
TWICE = 2 * (2 * 4 * 32 * 32 * 4) + 2 * 32 * 64 * 4


@pytest.mark.parametrize(("kind", "more"), [("llama", -TABLES), ("t5", TWICE), ("vit", 0)])
def test_what_is_kept_is_what_autograd_keeps(kind, more):
    """Layers hold all but tables, and what several layers keep, each."""
    real, recorded, held = compared(kind)
    assert recorded == real
    assert held == real + more
