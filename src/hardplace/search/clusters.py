"""Clusters of equally filled nodes."""

from __future__ import annotations

from dataclasses import replace

from hardplace.errors import BadInput
from hardplace.hardware.catalogue import node, node_names
from hardplace.hardware.device import Node
from hardplace.hardware.types import Cluster

_USUAL = ("dgx-a100", "dgx-a100-320gb", "dgx-h100", "dgx-h200", "dgx-b200", "dgx-v100", "gb200-nvl72", "hgx-mi300x")
_USED = 0.8  # least share of a node's devices that a plan may use where its devices do not divide into whole nodes


def even_cluster(one: Node, devices: int) -> Cluster:
    """Return so many devices of a node, each group of a level as full as the others.

    64 of the 72 devices of an NVL72 are used for 256, as published runs do. Raises BadInput where less than 80 % of a
    node's devices would be (12 devices on nodes of 8).
    """
    found = one.cluster(devices)
    levels = list(found.levels)
    for index, level in enumerate(levels[:-1]):
        if devices % level.devices:
            used = next(size for size in range(level.devices, 0, -1) if devices % size == 0)
            if used < _USED * level.devices:
                raise BadInput(
                    f"devices: {devices}: expected a multiple of the {level.devices} devices of one {one.name}"
                )
            levels[index] = replace(level, devices=used)
    return Cluster(devices=devices, levels=tuple(levels))


def node_of(device: str) -> Node:
    """Return the usual node of a device, else the first of the catalogue; BadInput if there is none."""
    for name in (*_USUAL, *node_names()):
        if node(name).device == device:
            return node(name)
    raise BadInput(f"{device}: no node of the catalogue has it: expected --node with a node's name or TOML file")
