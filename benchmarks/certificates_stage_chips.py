"""Random small questions of `search --per-stage` against every plan on every pair of chips, and on every three.

    python benchmarks/certificates_stage_chips.py 100 --seed 0

The oracle (`tests/oracles_stages.py`) prices chips and plans from the documents alone. Prints a line for each answer
that is wrong (above the best pair, below the best single chip by more than the gap, a bound below what three kinds
reach), then how many there were, how often two kinds are better than one, and how often the best pair was found.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from oracles_stages import compared, random_stages  # type: ignore[import-not-found]

GAP = 0.01


def main() -> None:
    """Try so many questions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start_s, found = time.process_time(), []
    for number in range(options.count):
        one = compared(random_stages(f"{options.seed}:{number}"), GAP)
        found.append(one)
        if one.wrong:
            print(f"{number}: {one.wrong}")
    wrong = sum(bool(one.wrong) for one in found)
    answered = [one for one in found if math.isfinite(one.gain)]
    pairs = [one for one in answered if one.gain > 1e-9]
    missed = [one.missed for one in answered if one.missed > GAP]
    gaps = sorted(one.gap for one in answered)
    print(
        f"{wrong} wrong of {options.count}, {len(answered)} with a plan; two kinds are better in {len(pairs)}; the "
        f"best pair missed by more than the gap in {len(missed)} (at most {max(missed, default=0.0):.1%}); median gap "
        f"{gaps[len(gaps) // 2] if gaps else math.nan:.1%}; {time.process_time() - start_s:.0f} CPU s"
    )
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
