"""Every plan of a few embedding tables within a step, priced from docs/model-split.md alone ("Our prices of tables");
random small questions for it, seeded, as files of `tables`."""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path
from typing import Any

import hardplace as hp
from hardplace.files import write

WAYS = ("table_wise", "column_wise", "row_wise", "table_row_wise", "data_parallel", "host_cached")
Shards = list[tuple[float, float, float]]  # seconds on the device, seconds of exchanges, bytes


def exchange_s(data: dict[str, Any], size: float) -> float:
    """Return the seconds in which every device gives the others their part of so many bytes."""
    devices, near = data["devices"], data["devices_per_node"]
    inside, outside = (near - 1) / devices, (devices - near) / devices
    return size * max(inside / data["node_bytes_per_s"], outside / data["network_bytes_per_s"])


def shard(
    data: dict[str, Any], rows: int, width: int, indices: float, output: float, *, host: bool = False
) -> tuple[float, float]:
    """Return the seconds of a shard on its device, and its bytes."""
    step, row = data["step"], math.ceil(4 * width / 32) * 32
    weights = [place ** -step["skew"] for place in range(1, rows + 1)]
    share = [one / sum(weights) for one in weights]
    touched, states = sum(1 - (1 - one) ** indices for one in share), step["optimizer_bytes"]
    moved = 8 * indices + row * indices + output + 128 * indices + output + 2 * touched * (row + states)
    seconds, held = moved / data["hbm_bytes_per_s"], rows * (4 * width + states)
    if host:
        hits = sum(one * min(1.0, max(0.0, 0.1 * rows - place)) for place, one in enumerate(share))
        seconds += min(touched, indices * (1 - hits)) * (2 * row + states) / step["host_bytes_per_s"]
        held *= 0.1
    return seconds, math.ceil(held + 8 * indices + 2 * output) if rows else 0.0


def shards(data: dict[str, Any], way: str, rows: int, width: int, pooling: int) -> Shards:
    """Return the shards of a table in one way."""
    devices, near, batch = data["devices"], data["devices_per_node"], data["batch_per_device"]
    indices, output = batch * devices * pooling, 4 * batch * devices * width
    if way == "data_parallel":
        seconds, held = shard(data, rows, width, batch * pooling, 4 * batch * width)
        return [(seconds, 2 * exchange_s(data, 4 * rows * width), held)] * devices
    if way in ("row_wise", "table_row_wise"):
        count = devices if way == "row_wise" else near
        moved = 2 * exchange_s(data, output)
        if way == "table_row_wise":
            nodes = devices / near
            inside = output * (near - 1) / near / data["node_bytes_per_s"]
            moved = 2 * (inside + output / near * (nodes - 1) / nodes / data["network_bytes_per_s"])
        each = -(-rows // count)
        held_rows = [max(0, min(each, rows - each * one)) for one in range(count)]
        found = [shard(data, here, width, indices * here / rows, output) for here in held_rows]
        return [(seconds, moved, held) for seconds, held in found]
    widths = [width]
    if way == "column_wise":
        widths = [min(32, width - start) for start in range(0, width, 32)]
    cut: Shards = []
    for one in widths:
        size = 4 * batch * devices * one
        seconds, held = shard(data, rows, one, indices, size, host=way == "host_cached")
        cut.append((seconds, 2 * exchange_s(data, size), held))
    return cut


def places(data: dict[str, Any], way: str, count: int) -> list[tuple[int, ...]]:
    """Return where the shards of a table may lie."""
    devices, near = data["devices"], data["devices_per_node"]
    if way in ("row_wise", "data_parallel"):
        return [tuple(range(devices))]
    if way == "table_row_wise":
        return [tuple(range(first, first + near)) for first in range(0, devices, near)]
    every = itertools.product(range(devices), repeat=count)
    return [where for where in every if count > devices or len(set(where)) == count]


def every_plan(data: dict[str, Any]) -> list[tuple[float, float]]:
    """Return the bytes of the fullest device and the seconds of a step of every plan."""
    step, devices, batch = data["step"], data["devices"], data["batch_per_device"]
    products = {name: sum(a * b for a, b in itertools.pairwise(step[name])) for name in ("bottom", "top")}
    bottom_s, top_s = (3 * 2 * batch * products[name] / step["flops_per_s"] for name in ("bottom", "top"))
    biases = sum(sum(step[name][1:]) for name in products)
    reduce_s = 2 * exchange_s(data, 4 * (sum(products.values()) + biases))
    ways = [
        [(cut, where) for way in data["sharding_types"] for cut in [shards(data, way, *table)]
         for where in places(data, way, len(cut))]
        for _, *table in data["tables"]
    ]  # fmt: skip
    found = []
    for plan in itertools.product(*ways):
        local, moved, held = ([0.0] * devices for _ in range(3))
        for cut, where in plan:
            for (seconds, exchanged, size), device in zip(cut, where, strict=True):
                local[device] += seconds
                moved[device] += exchanged
                held[device] += size
        slowest = max(one + max(0.0, other - bottom_s) for one, other in zip(local, moved, strict=True))
        found.append((max(held), bottom_s + top_s + max(slowest, reduce_s)))
    return found


def random_tables(draw: random.Random) -> dict[str, Any]:
    """Return a random question of one to three tables on one to four devices, with memory for some of its plans."""
    devices = draw.choice((1, 2, 2, 3, 4))
    count = draw.choice((1, 2, 2, 3) if devices < 4 else (1, 2))
    tables = [
        [str(one), draw.choice((1, 10, 12, 40, 48, 120, 200)), draw.choice((16, 32, 48, 64)), draw.randint(1, 9)]
        for one in range(count)
    ]
    if count > 1 and draw.random() < 0.4:
        tables[1] = ["again", *tables[0][1:]]
    data: dict[str, Any] = {
        "devices": devices, "devices_per_node": draw.choice([one for one in (1, 2, 3, 4) if devices % one == 0]),
        "batch_per_device": draw.choice((8, 64)), "hbm_bytes_per_s": draw.choice((1e11, 1e12)),
        "node_bytes_per_s": draw.choice((2e10, 1e11)), "network_bytes_per_s": draw.choice((1e9, 1e10)),
        "tables": tables, "sharding_types": [*(one for one in WAYS[:-1] if draw.random() < 0.75), WAYS[-1]],
        "step": {
            "bottom": [16, draw.choice((8, 64, 1024))], "top": [draw.choice((8, 64)), 1],
            "flops_per_s": draw.choice((1e11, 1e13)), "skew": draw.choice((0.0, 0.6, 1.1)),
            "optimizer_bytes": draw.choice((0, 4, 8)), "host_bytes_per_s": draw.choice((1e9, 2e10, 2e11)),
        },
    }  # fmt: skip
    sizes = sorted(held for held, _ in every_plan(data))
    hbm_bytes = sizes[int(draw.random() ** 2 * (len(sizes) - 1))] - (draw.random() < 0.1)
    return {**data, "hbm_bytes": max(1.0, hbm_bytes)}


def contradiction(data: dict[str, Any], path: Path) -> str:
    """Return what is wrong with the answer to a question, asked as a file at `path`; "": nothing."""
    write(path, data)
    ways = tuple(data["sharding_types"])
    found = hp.tables(path, prices="step", sharding=ways, seconds=1)
    if isinstance(found, hp.Infeasible) and not found.proven:  # on a busy machine
        found = hp.tables(path, prices="step", sharding=ways, seconds=20)
    best_s = min((step_s for held, step_s in every_plan(data) if held <= data["hbm_bytes"]), default=math.inf)
    if isinstance(found, hp.Infeasible):
        return "" if best_s == math.inf else f"no plan (proven: {found.proven}): expected {best_s} s"
    if found.bound_s > best_s * (1 + 1e-9) or found.busiest_s < best_s * (1 - 1e-9):
        return f"bound {found.bound_s} s and step {found.busiest_s} s: expected {best_s} s between them"
    return "" if max(found.device_bytes) <= data["hbm_bytes"] else "a plan that does not fit"
