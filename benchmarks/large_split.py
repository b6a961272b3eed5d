"""Random graphs of operators on eight devices of three kinds: `large_split.py [OPERATORS [REACH [SECONDS]]]`.

Each operator reads one to three of the REACH before it. Prints value, bound, gap and processor seconds.
"""

from __future__ import annotations

import random
import sys
import time

from hardplace.graph_split.split import MemoryShortage, split_latency, split_pipeline
from hardplace.graph_split.types import GraphOperator, GraphTensor, SplitDevice, SplitLink, SplitProblem

KINDS = ("cpu", "cpu", "gpu", "gpu", "gpu", "gpu", "npu", "npu")
_MILLISECONDS = {"cpu": (2, 10), "gpu": (1, 4), "npu": (1, 8)}


def large_graph(count: int, reach: int, seed: int = 1) -> SplitProblem:
    """Return a random graph: seconds of 1 to 10 ms by kind, each operator's own, links of 16 GB/s and 10 us."""
    draw = random.Random(seed)
    readers: dict[int, list[int]] = {}
    for one in range(1, count):
        for source in {draw.randrange(max(0, one - reach), one) for _ in range(draw.randint(1, 3))}:
            readers.setdefault(source, []).append(one)
    return SplitProblem(
        name=f"{count} operators, reach {reach}",
        operators=tuple(
            GraphOperator(
                name=str(one),
                time_s={kind: draw.uniform(*span) / 1e3 for kind, span in _MILLISECONDS.items()},
            )
            for one in range(count)
        ),
        tensors=tuple(
            GraphTensor(source=one, readers=tuple(to), size_bytes=draw.uniform(1e4, 4e6)) for one, to in readers.items()
        ),
        devices=tuple(SplitDevice(name=f"{kind}{one}", kind=kind) for one, kind in enumerate(KINDS)),
        links=tuple(
            SplitLink(source=a, target=b, bytes_per_s=16e9, latency_s=1e-5)
            for a in range(len(KINDS)) for b in range(len(KINDS)) if a != b
        ),
    )  # fmt: skip


def main(count: int, reach: int, limit_s: float) -> None:
    """Print what both objectives reach."""
    problem = large_graph(count, reach)
    for solve in (split_latency, split_pipeline):
        began_s = time.process_time()
        found = solve(problem, limit_s=limit_s)
        assert not isinstance(found, MemoryShortage)
        spent_s = time.process_time() - began_s
        print(
            f"{problem.name}, {solve.__name__}: {found.value_s:.6g} s, at least {found.bound_s:.6g} s, gap "
            f"{found.value_s / found.bound_s - 1:.2%}, {spent_s:.0f} s of processor time; {dict(found.methods)}",
            flush=True,
        )


if __name__ == "__main__":
    given = [*map(float, sys.argv[1:]), *(10_000, 200, 60)[len(sys.argv) - 1 :]]
    main(int(given[0]), int(given[1]), given[2])
