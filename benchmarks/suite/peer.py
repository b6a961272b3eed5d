"""One GEMM by one tool, in a process of its own: `peer.py TOOL SIDE SIZE`, a cube of SIZE on a SIDE x SIDE array.

Runs in the environment of the tool (extra `peers`), which need not have hardplace. Prints the cycles.
"""

from __future__ import annotations

import csv
import importlib
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "src"))


def hardplace(side: int, size: int) -> float:
    """Return the cycles of an array whose operands are double buffered."""
    import numpy as np

    from hardplace.cost.arrays.tensor import array_cycles
    from hardplace.cost.types import Matmul

    one, sides = np.array([1]), np.array([side])
    return float(array_cycles((Matmul(batch=1, m=size, n=size, k=size),), one, sides, sides)[0, 0])


def tests() -> Any:
    """Return the module of the tests that has the peers' input files."""
    sys.path.insert(0, str(ROOT / "tests/cost/arrays"))
    return importlib.import_module("test_peers")


def scale_sim(side: int, size: int) -> float:
    """Return SCALE-Sim's cycles without stalls, weights held."""
    simulator = importlib.import_module("scalesim.scale_sim")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "config.cfg").write_text(tests().SCALE_SIM.format(rows=side, columns=side, dataflow="ws"))
        (folder / "topology.csv").write_text(f"Layer,M,N,K,\ngemm,{size},{size},{size},\n")
        (folder / "layout.csv").write_text("Layer,\n")
        names = {"config": "config.cfg", "topology": "topology.csv", "layout": "layout.csv"}
        paths = {field: str(folder / name) for field, name in names.items()}
        run = simulator.scalesim(save_disk_space=True, verbose=False, input_type_gemm=True, **paths)
        run.run_scale(top_path=str(folder / "out"))
        (report,) = (folder / "out").rglob("COMPUTE_REPORT.csv")
        row = {key.strip(): value for key, value in next(csv.DictReader(report.open())).items() if key}
    return float(row["Total Cycles"]) - float(row["Stall Cycles"])


def zigzag(side: int, size: int) -> float:
    """Return ZigZag's cycles of its fastest mapping in time."""
    api, yaml = importlib.import_module("zigzag.api"), importlib.import_module("yaml")
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as place:
        folder, paths = Path(place), {}
        for name, content in tests().zigzag_files(side, size, size, size).items():
            paths[name] = folder / f"{name}.yaml"
            paths[name].write_text(yaml.safe_dump(content, sort_keys=False))
        asked = [str(paths[name]) for name in ("workload", "hardware", "mapping")]
        found = api.get_hardware_performance_zigzag(
            *asked, opt="latency", dump_folder=str(folder / "out"), loma_show_progress_bar=False
        )
    return float(found[1])


if __name__ == "__main__":
    tools = {"hardplace": hardplace, "scale_sim": scale_sim, "zigzag": zigzag}
    print(tools[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3])))
