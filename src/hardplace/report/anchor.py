"""What steps of one's own system say of it, in lines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from hardplace.plans.anchors import Anchor
from hardplace.report.text import plural


def anchor_lines(anchor: Anchor, odd: Sequence[str]) -> Iterator[str]:
    """Yield lines of an anchor: the system, the interval that it leaves, its figures, the run to measure next.

    Args:
        anchor: What was learned.
        odd: What is odd about the steps, in words.
    """
    said = f"with {anchor.software}" if anchor.software else "no software named"
    yield f"{anchor.device} {said}: {plural(anchor.runs, 'measured step')}"
    yield f"80 % interval of a like step: a factor {math.exp(anchor.half):.3f} either way ({' or '.join(anchor.kinds)})"
    if anchor.memory_half:
        wide = math.exp(anchor.memory_half)
        yield f"memory: {anchor.memory:.3f} times as predicted, 80 % interval a factor {wide:.3f} either way"
    for one in anchor.measured:
        before, after = one.predicted_s / one.measured_s - 1.0, one.anchored_s / one.measured_s - 1.0
        yield (
            f"{one.name}: measured {one.measured_s:.4g} s, predicted {one.predicted_s:.4g} s ({before:+.1%}), "
            f"with this anchor {one.anchored_s:.4g} s ({after:+.1%})"
        )
    yield "figures over the shipped ones: " + ", ".join(f"{one.figure} {one.value:.3g}" for one in anchor.factors)
    if anchor.next_run:
        yield f"would tell most: {anchor.next_run}"
    for line in odd:
        yield f"note: {line}"
