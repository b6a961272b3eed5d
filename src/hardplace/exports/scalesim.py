"""A model's matrix products on one array of a chip as files of SCALE-Sim 3: configuration, topology, layout."""

from __future__ import annotations

from collections.abc import Sequence

from hardplace.errors import BadInput
from hardplace.exports.job import ExportedFile
from hardplace.hardware.device import Arrays, Device
from hardplace.version import __version__
from hardplace.workload.types import Layer, OperatorKind, Phase, Workload

_CONFIG = """# {model} on one of the {count} arrays of {chip}, {dataflow}, hardplace {version}
# scalesim -c config.cfg -t topology.csv -l layout.csv -i gemm
[general]
run_name = hardplace
[architecture_presets]
ArrayHeight: {rows}
ArrayWidth: {columns}
IfmapSramSzkB: {share}
FilterSramSzkB: {share}
OfmapSramSzkB: {share}
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Bandwidth: {bandwidth}
Dataflow: ws
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


def scalesim_files(chip: Device, workload: Workload, micro_batch: int = 1) -> tuple[ExportedFile, ...]:
    """Return config.cfg, topology.csv and layout.csv of a model's distinct products on one array of a chip.

    Products of a batch (attention) are one of it; each comes once, however often it runs. BadInput for a chip without
    arrays.
    """
    if not isinstance(chip.engine, Arrays):
        raise BadInput(f"device: {chip.name}: expected a chip with systolic arrays")
    products = matrix_products(workload.layers, micro_batch)
    config = _CONFIG.format(
        model=workload.name,
        count=chip.engine.count,
        chip=chip.title,
        dataflow="weights stationary",
        version=__version__,
        rows=chip.engine.rows,
        columns=chip.engine.columns,
        share=max(1, chip.buffer_bytes // chip.engine.count // 3 // 1024),
        bandwidth=max(1, round(chip.memory_bandwidth_bytes_per_s / chip.engine.count / chip.clock_hz / 2)),
    )
    rows = "".join(f"{name},{m},{n},{k},\n" for name, (m, n, k) in products.items())
    return (
        ExportedFile(name="config.cfg", text=config),
        ExportedFile(name="topology.csv", text=f"Layer,M,N,K,\n{rows}"),
        ExportedFile(name="layout.csv", text="Layer,\n"),
    )


def matrix_products(layers: Sequence[Layer], micro_batch: int) -> dict[str, tuple[int, int, int]]:
    """Return the sizes (m, n, k) of the distinct products of layers, forward and backward, by a name of their own."""
    found: dict[str, tuple[int, int, int]] = {}
    for layer in layers:
        for operator in layer.operators:
            if operator.kind is OperatorKind.MATMUL and operator.phase is not Phase.OPTIMIZER:
                _, m, n, k = (size.at(micro_batch) for size in operator.dims)
                if (m, n, k) not in found.values():
                    found[f"gemm{len(found)}"] = (m, n, k)
    return found
