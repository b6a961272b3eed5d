"""The public tools run live on small matmuls, where they are installed (`pip install 'hardplace[peers]'`)."""

import csv
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardplace.cost.arrays.tensor import array_cycles
from hardplace.cost.types import Dataflow, Matmul

pytestmark = pytest.mark.filterwarnings("ignore")
SCALE_SIM = """[general]
run_name = run
[architecture_presets]
ArrayHeight: {rows}
ArrayWidth: {columns}
IfmapSramSzkB: 1024
FilterSramSzkB: 1024
OfmapSramSzkB: 1024
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Bandwidth: 10
Dataflow: {dataflow}
MemoryBanks: 1
ReadRequestBuffer: 32
WriteRequestBuffer: 32
[layout]
IfmapCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 10
IfmapSRAMBankPort: 2
FilterCustomLayout: False
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 10
FilterSRAMBankPort: 2
[sparsity]
SparsitySupport: false
SparseRep: ellpack_block
OptimizedMapping: false
BlockSize: 8
RandomNumberGeneratorSeed: 40
[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
"""


@pytest.mark.parametrize(
    ("name", "dataflow"), [("ws", Dataflow.WEIGHT), ("os", Dataflow.OUTPUT), ("is", Dataflow.INPUT)]
)
@pytest.mark.parametrize("shape", [(40, 70, 50), (16, 16, 16), (1, 33, 5), (100, 8, 64)])
@pytest.mark.parametrize(("rows", "columns"), [(16, 16), (8, 32)])
def test_scale_sim_live(
    tmp_path: Path, name: str, dataflow: Dataflow, shape: tuple[int, int, int], rows: int, columns: int
) -> None:
    simulator = pytest.importorskip("scalesim.scale_sim")
    m, n, k = shape
    files = {
        "config.cfg": SCALE_SIM.format(rows=rows, columns=columns, dataflow=name),
        "topology.csv": f"Layer,M,N,K,\ngemm,{m},{n},{k},\n",
        "layout.csv": "Layer,\n",
    }
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    config, topology, layout = (str(tmp_path / file) for file in files)
    run = simulator.scalesim(
        save_disk_space=True, verbose=False, config=config, topology=topology, layout=layout, input_type_gemm=True
    )
    run.run_scale(top_path=str(tmp_path / "out"))
    (report,) = (tmp_path / "out").rglob("COMPUTE_REPORT.csv")
    row = {key.strip(): value for key, value in next(csv.DictReader(report.open())).items() if key}
    theirs = float(row["Total Cycles"]) - float(row["Stall Cycles"])
    chip = (np.array([1]), np.array([rows]), np.array([columns]))
    matmul = Matmul(batch=1, m=m, n=n, k=k)
    ours = array_cycles((matmul,), *chip, dataflows=(dataflow,), double_buffered=False)[0, 0] - 1
    assert ours == theirs


def memory(size: int, operands: str, ports: list[tuple[str, str, int, str]], served: list[str]) -> dict[str, Any]:
    """One memory of ZigZag's hardware file: bits, which operands, ports (name, kind, bits a cycle, directions)."""
    return {
        "size": size,
        "r_cost": 1,
        "w_cost": 1,
        "area": 0,
        "latency": 1,
        "auto_cost_extraction": False,
        "operands": operands.split(),
        "ports": [
            {
                "name": name,
                "type": kind,
                "bandwidth_min": 8,
                "bandwidth_max": bits,
                "allocation": [one.replace(":", ", ") for one in directions.split()],
            }
            for name, kind, bits, directions in ports
        ],
        "served_dimensions": served,
    }


def zigzag_files(side: int, m: int, n: int, k: int) -> dict[str, Any]:
    """A side x side array of 16-bit units, deep accumulators, a buffer of 16 MiB, a memory of 512 B a cycle."""
    wide, both = side * 1024, ["D1", "D2"]
    every = "I1:{0} I2:{0} O:{0}"
    memories = {
        "weights": memory(32, "I2", [("r_port_1", "read", 16, "I2:tl"), ("w_port_1", "write", 16, "I2:fh")], []),
        "sums": memory(
            65536,
            "O",
            [
                ("r_port_1", "read", 16, "O:tl"),
                ("r_port_2", "read", 16, "O:th"),
                ("w_port_1", "write", 16, "O:fh"),
                ("w_port_2", "write", 16, "O:fl"),
            ],
            ["D1"],
        ),
        "buffer": memory(
            16 * 2**23,
            "I1 I2 O",
            [
                ("r_port_1", "read", wide, every.format("tl") + " O:th"),
                ("w_port_1", "write", wide, every.format("fh") + " O:fl"),
            ],
            both,
        ),
        "dram": memory(
            10**12,
            "I1 I2 O",
            [("rw_port_1", "read_write", 4096, f"{every.format('fh')} {every.format('tl')} O:fl O:th")],
            both,
        ),
    }
    array = {"unit_energy": 1, "unit_area": 1, "dimensions": both, "sizes": [side, side]}
    layer = {
        "id": 0,
        "operator_type": "Gemm",
        "equation": "O[d][k]+=I[d][c]*W[c][k]",
        "dimension_relations": [],
        "loop_dims": ["D", "K", "C"],
        "loop_sizes": [m, n, k],
        "operand_precision": {"W": 16, "I": 16, "O": 16, "O_final": 16},
        "operand_source": {"I": 0, "W": 0},
    }
    links = {"O": "O", "W": "I2", "I": "I1"}
    spatial = {"D1": [f"C, {side}"], "D2": [f"K, {side}"]}
    return {
        "hardware": {"name": "array", "memories": memories, "operational_array": array},
        "mapping": [{"name": "default", "spatial_mapping": spatial, "memory_operand_links": links}],
        "workload": [layer],
    }


def test_zigzag_live(tmp_path: Path) -> None:
    api, yaml = pytest.importorskip("zigzag.api"), pytest.importorskip("yaml")
    logging.disable(logging.CRITICAL)
    ratios = []
    for m, n, k in ((512, 1024, 1024), (2048, 2048, 128), (1024, 2048, 1024)):
        paths = {}
        for name, content in zigzag_files(32, m, n, k).items():
            paths[name] = tmp_path / f"{name}.yaml"
            paths[name].write_text(yaml.safe_dump(content, sort_keys=False))
        theirs = api.get_hardware_performance_zigzag(
            *(str(paths[name]) for name in ("workload", "hardware", "mapping")),
            opt="latency",
            dump_folder=str(tmp_path / "out"),
            loma_show_progress_bar=False,
        )[1]
        side = np.array([32])
        ratios.append(array_cycles((Matmul(batch=1, m=m, n=n, k=k),), np.array([1]), side, side)[0, 0] / theirs)
    logging.disable(logging.NOTSET)
    assert np.median(np.abs(np.array(ratios) - 1)) <= 0.02, ratios
