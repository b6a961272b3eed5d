"""Settings of one's own: a TOML file with memory, network and optimizer for all candidates of a search
(docs/formats.md)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hardplace.errors import BadInput
from hardplace.files import read_toml
from hardplace.hardware.catalogue import levels_of, node
from hardplace.hardware.device import Node
from hardplace.hardware.records import Record
from hardplace.hardware.settings import ADAMW, HBM3, SGD, setting, settings, with_devices
from hardplace.hardware.types import Optimizer, Setting
from hardplace.units import parse_quantity

_OPTIMIZERS = {one.name: one for one in (ADAMW, SGD)}
_SIZES = ("weight_bytes", "gradient_bytes", "state_bytes", "reduction_bytes", "step_bytes")


def setting_of(name_or_file: str, devices: int | None = None, node_name: str | None = None) -> Setting:
    """Return a setting by name, or of a TOML file, for a number of devices, on the network of a node if one is named.

    Args:
        name_or_file: A name of `settings`, or a path that ends in .toml.
        devices: Number of devices; None: 1,024, or as many as the network holds where these are fewer.
        node_name: A node's name or TOML file, whose levels take the place of the setting's network.

    Raises:
        BadInput: With the nearest names if there is none, or with file, field and value for the first fault.
    """
    own = name_or_file.endswith(".toml")
    found, where = read_setting(Path(name_or_file)) if own else (setting(name_or_file), None)
    if node_name is not None:
        where = node(node_name)
        found = replace(found, name=f"{found.name} on {where.name}")
    if where is None:
        return found if devices is None else with_devices(found, devices)
    return replace(found, cluster=where.cluster(devices or _usual(where)))


def _usual(where: Node) -> int:
    most = where.levels[-1].devices
    return HBM3.cluster.devices if most is None else min(HBM3.cluster.devices, most)


def read_setting(path: Path) -> tuple[Setting, Node]:
    """Return the setting that a TOML file describes, and its network.

    Raises:
        BadInput: One line, for the first fault in it.
    """
    top = Record(str(path), read_toml(path))
    name = top.text("name")
    if name in {one.name for one in settings()}:
        raise BadInput(f"{path}: name", repr(name), "a name of its own, which no setting of the package has")
    memory = top.table("memory")
    buffer_bytes_per_s = HBM3.buffer_bandwidth_bytes_per_s
    if top.has("buffer"):
        buffer = top.table("buffer")
        buffer_bytes_per_s = buffer.quantity("bandwidth", "B/s")
        buffer.end()
    if top.has("node") == top.has("levels"):
        raise BadInput(f"{path}: expected one of `node` (a node's name or file) and the tables [[levels]]")
    where = node(_beside(path, top.text("node"))) if top.has("node") else _network(path, top)
    found = Setting(
        name=name,
        description=top.text("description"),
        clock_hz=top.quantity("clock", "Hz") if top.has("clock") else HBM3.clock_hz,
        memory_bandwidth_bytes_per_s=memory.quantity("bandwidth", "B/s"),
        buffer_bandwidth_bytes_per_s=buffer_bytes_per_s,
        memory_capacities_bytes=_capacities(memory),
        cluster=where.cluster(_usual(where)),
        batch_samples=HBM3.batch_samples,
        optimizer=_optimizer(top),
        function_cycles=HBM3.function_cycles,
    )
    memory.end()
    top.end()
    return found, where


def _network(path: Path, top: Record) -> Node:
    levels, records = levels_of(path, top)
    for record in records:
        record.end()
    return Node(name="network", title="network", device="", levels=levels, price_usd=None, provenance=())


def _capacities(memory: Record) -> tuple[float, ...]:
    """Return the memory sizes to choose from, least first."""
    memory.has("capacities")
    texts = memory.data.get("capacities")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BadInput(memory.where("capacities"), repr(texts), "a list of sizes, such as ['64 GiB', '80 GiB']")
    return tuple(sorted({parse_quantity(text, "B", memory.where("capacities")) for text in texts}))


def _beside(path: Path, name: str) -> str:
    """Return a node's name, or its file, which lies beside the setting's unless its path says more."""
    return str(path.parent / name) if name.endswith(".toml") else name


def _optimizer(top: Record) -> Optimizer:
    """Return the optimizer: one of the package, with sizes of its own where the file has them; AdamW where it has
    none."""
    if not top.has("optimizer"):
        return ADAMW
    table = top.table("optimizer")
    base = _OPTIMIZERS[table.choice("like", _OPTIMIZERS)]
    sizes: dict[str, Any] = {name: _bytes(table, name) for name in _SIZES if table.has(name)}
    sharded = _flag(table, "sharded", base.sharded)
    name = table.text("name") if table.has("name") else base.name
    table.end()
    return replace(base, name=name, sharded=sharded, **sizes)


def _bytes(table: Record, name: str) -> int:
    """Return whole bytes a parameter, 0 allowed."""
    value = table.data[name]
    if value.__class__ is not int or not 0 <= value <= 1024:
        raise BadInput(table.where(name), repr(value), "a whole number of bytes a parameter, 0 to 1024")
    return int(value)


def _flag(table: Record, name: str, usual: bool) -> bool:
    """Return true or false."""
    value = table.data.get(name, usual)
    table.has(name)
    if value.__class__ is not bool:
        raise BadInput(table.where(name), repr(value), "true or false")
    return bool(value)
