"""How a recommendation model's throughput grows with batch, tables, pooling and MLP width: `table_growth.py`.

Under our prices of tables (docs/model-split.md, "Our prices of tables"), on 16 GPUs and on 16 CPU servers; prints
the tables of docs/model-split.md. Figures of the devices: H100 SXM (HBM, NVLink and a 400 Gb/s port a GPU, half of the
dense bf16 peak) and a two-socket server (16 channels of DDR5-4800 at 80 %, 4 Tflop/s reached, one 200 Gb/s port).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hardplace.graph_split.table_plans import TableShortage
from hardplace.graph_split.table_step import StepSystem
from hardplace.graph_split.table_steps import plan_step
from hardplace.graph_split.tables import EmbeddingTable, TableSharding, TableSystem

GPUS = TableSystem(
    devices=16, devices_per_node=8, hbm_bytes=80e9, batch_per_device=2048, hbm_bytes_per_s=3.35e12,
    node_bytes_per_s=450e9, network_bytes_per_s=50e9,
)  # fmt: skip
CPUS = TableSystem(
    devices=16, devices_per_node=1, hbm_bytes=1e12, batch_per_device=2048, hbm_bytes_per_s=490e9,
    node_bytes_per_s=490e9, network_bytes_per_s=25e9,
)  # fmt: skip
FLOPS = {"GPUs": 494e12, "CPUs": 4e12}
SYSTEMS = {"GPUs": GPUS, "CPUs": CPUS}


def cases() -> Iterator[tuple[str, int, int, float, int]]:
    """Yield (what changes, batch of a device, tables, pooling, MLP width)."""
    for batch in (256, 1024, 4096, 16384):
        yield "batch", batch, 64, 20.0, 1024
    for tables in (16, 64, 256, 1024):
        yield "tables", 2048, tables, 20.0, 1024
    for pooling in (1.0, 10.0, 100.0):
        yield "pooling", 2048, 64, pooling, 1024
    for width in (256, 1024, 4096):
        yield "MLP width", 2048, 64, 20.0, width


def main() -> None:
    """Print a row for each case."""
    print("| Changes | batch | tables | pooling | MLP width | 16 GPUs, samples/s (gap) | 16 CPU servers |")
    print("|---|---|---|---|---|---|---|")
    ways = [one for one in TableSharding if one is not TableSharding.HOST_CACHED]
    for what, batch, count, pooling, width in cases():
        tables = [
            EmbeddingTable(name=str(one), rows=(10_000, 1_000_000, 5_000_000)[one % 3], width=128, pooling=pooling)
            for one in range(count)
        ]
        cells = []
        for name, system in SYSTEMS.items():
            step = StepSystem(
                bottom=(13, width, 128),
                top=(128 * (count + 1) // 4, width, width, 1),
                flops_per_s=FLOPS[name],
                skew=1.05,
            )
            found = plan_step(tables, replace(system, batch_per_device=batch), step, ways, 3.0)
            if isinstance(found, TableShortage):
                cells.append("does not fit")
            else:
                rate = batch * system.devices / found.value_s
                cells.append(f"{rate / 1e6:,.2f} M ({found.value_s / found.bound_s - 1:.1%})")
        print(f"| {what} | {batch:,} | {count:,} | {pooling:g} | {width:,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
