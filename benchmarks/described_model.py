"""The generated model against the simulator on random small layers: `described_model.py [LAYERS] [SEED] [MOST]`.

Prints, for each description: layers, how many are equal to the cycle, how many were extrapolated by proof, error of the
rest, instructions and how many of them were evaluated, processor seconds of both.
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))


def main(count: int, seed: int, most: int) -> None:
    from hardplace.described.model import program_time
    from hardplace.described.reading import description_names, read_description
    from hardplace.described.simulate import simulate

    random_programs = importlib.import_module("described_layers").random_programs  # of the tests
    rows: dict[str, list[float]] = {}
    for on, _, program in random_programs(tuple(map(read_description, description_names())), count, seed, most):
        begin = time.process_time()
        found = program_time(on, program)
        modelled = time.process_time()
        simulated = simulate(on, program)
        ended = time.process_time()
        error = abs(found.cycles / simulated - 1)
        row = [1, found.cycles == simulated, found.exact, error, found.instructions, found.evaluated]
        row += [modelled - begin, ended - modelled, float(found.exact and found.cycles != simulated)]
        rows[on.name] = [a + b for a, b in zip(rows.get(on.name, [0.0] * len(row)), row, strict=True)]
    print("description, layers, equal, proven, proven but unequal, MAPE, instructions, evaluated, model s, simulator s")
    for name, (n, equal, exact, error, instructions, evaluated, model_s, simulator_s, wrong) in sorted(rows.items()):
        print(
            f"{name}, {n:.0f}, {equal:.0f}, {exact:.0f}, {wrong:.0f}, {error / n:.4%}, "
            f"{instructions:.0f}, {evaluated:.0f}, {model_s:.2f}, {simulator_s:.1f}"
        )


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:]]
    main(*(given + [2000, 20, 3000][len(given) :]))
