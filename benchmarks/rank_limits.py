"""How well the best model could rank BLOOM's published runs, and how well this one does.

    python benchmarks/rank_limits.py

A model that has only the columns gives one number to runs that read alike. The scatter of such runs (sd of their
logarithms within a group) is what one step says of the next; five runs contradict runs that differ from them in one
column by more than that, and no other run of the source sides with them (ODD: what those neighbours say). For each
split: Spearman's rank correlation of the predictions, of the measured seconds with runs that read alike at their
geometric mean, of the same with ODD at what neighbours say, and of a model that knew the true seconds, measured once
more with that scatter (mean, and 5 and 95 % of 4,000 drawings).
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
from alike_runs import groups

from hardplace.ndtypes import Floats
from hardplace.plans.published.scores import rank_correlation, score

TABLE = Path(__file__).parent.parent / "validation/training/training.csv"
SOURCE = "bigscience"
# A run, and the geometric mean of runs times a factor that is what its neighbours say:
ODD = {
    "bloom-067": (("bloom-068",), (49 + 5) / (64 + 5)),  # batch of 1,568 instead of 2,048: 49 micro-batches for 64
    "bloom-092": (("bloom-093",), 143.31 / 134.02),  # micro-batch 1 instead of 2, as bloom-031 and -032
    "bloom-058": (("bloom-054", "bloom-059"), 1.0),  # 112 heads between 64 and 128
    "bloom-065": (("bloom-064", "bloom-066"), 1.0),  # 96 heads between 64 and 128
    "bloom-127": (("bloom-128", "bloom-129"), 1.0),  # 104 heads between 128 and 64
}


def main() -> None:
    alike = [group for group in groups() if SOURCE in group[0].source]
    seconds = {one.id: one.seconds for group in alike for one in group}
    splits = {one.id: one.split for group in alike for one in group}
    means = {one.id: _mean([other.seconds for other in group]) for group in alike for one in group}
    with TABLE.open() as source:
        rows = [row for row in csv.DictReader(source) if row["id"] in seconds]
    predicted = {row["id"]: score(row).predicted_s or 0.0 for row in rows}
    repeated = [group for group in alike if len(group) > 1]
    square = sum(math.log(one.seconds / means[one.id]) ** 2 for group in repeated for one in group)
    scatter = math.sqrt(square / sum(len(group) - 1 for group in repeated))
    said = means | {name: _mean([seconds[one] for one in near]) * factor for name, (near, factor) in ODD.items()}
    print(f"{len(repeated)} groups that read alike: sd {scatter:.1%}")
    for name in ODD:
        print(f"{name}: {seconds[name]:.1f} s, its neighbours say {said[name]:.1f}")
    for split in ("calibration", "test"):
        names = [name for name in seconds if splits[name] == split]
        true, odd = (np.array([one[name] for name in names]) for one in (seconds, said))
        of_model, of_means, of_odd = (
            rank_correlation([(one[name], seconds[name]) for name in names]) for one in (predicted, means, said)
        )
        drawn = _drawn(odd, true, np.array([name in ODD for name in names]), scatter)
        least, most = np.quantile(drawn, (0.05, 0.95))
        print(
            f"{split}, {len(names)} rows: {of_model:.3f}; alike at their mean {of_means:.3f}; odd ones too {of_odd:.3f}"
        )
        print(f"  a model that knew the true seconds {drawn.mean():.3f} ({least:.3f} to {most:.3f})")


def _drawn(odd: Floats, true: Floats, contradicts: np.ndarray, scatter: float) -> Floats:
    """Return rank correlations of true seconds with seconds measured once more: what contradicts stays as it was."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(4000):
        again = np.where(contradicts, true, odd * np.exp(random.normal(0.0, scatter, len(odd))))
        found.append(rank_correlation(list(zip(odd.tolist(), again.tolist(), strict=True))) or 0.0)
    return np.array(found)


def _mean(values: list[float]) -> float:
    return math.exp(sum(math.log(value) for value in values) / len(values))


if __name__ == "__main__":
    main()
