"""Inventory of devices from names: kinds, their nodes and numbers, and a plan's file that names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from hardplace.described.reading import is_description
from hardplace.errors import BadInput
from hardplace.hardware.catalogue import node as node_named
from hardplace.hardware.device import Node
from hardplace.hardware.sheet import find
from hardplace.plans.fleet import PlanDevice, node_of
from hardplace.plans.plan import Plan
from hardplace.plans.plan_files import DeviceCount, PlanFile
from hardplace.version import __version__

Parts = list[tuple[PlanDevice, Node, int]]


def inventory_of(names: Sequence[str], devices: int | None, nodes: Sequence[str]) -> Parts:
    """Return the kinds of device with their nodes and numbers.

    Args:
        names: NAME, whose number is `devices`, or NAME:COUNT of each of several.
        devices: Number of devices; None with NAME:COUNT.
        nodes: Names or TOML files; a kind without one has its usual node.

    Raises:
        BadInput: Where a number is missing or given twice, for an unknown name, and for a node of another device.
    """
    if not names:
        raise BadInput("device", None, "a name or a TOML file")
    named = [node_named(one) for one in nodes]
    found: Parts = []
    for text in names:
        name, colon, number = text.partition(":")
        if colon and (not number.isdecimal() or len(number) > 12 or int(number) < 1):
            raise BadInput("device", f"{text}: {number!r}", "NAME:COUNT with a whole number from 1")
        if bool(colon) == (devices is not None) or (devices is not None and len(names) > 1):
            raise BadInput("device", text, "a number of devices with one kind, or NAME:COUNT with each of several")
        if devices is not None and devices < 1:
            raise BadInput("devices", devices, "a whole number from 1")
        chip = _described(name) if is_description(name) else find(name)
        named = [node_with(one, name, chip) for one in named]
        own = [one for one in named if one.device == chip.name]
        found.append((chip, own[0] if own else node_of(chip.name), int(number) if colon else devices or 0))
    for one in named:
        if one.device not in {chip.name for chip, _, _ in found}:
            others = ", ".join(chip.name for chip, _, _ in found)
            raise BadInput("node", f"{one.name}: has {one.device}", f"a node of {others}")
    return found


def _described(name: str) -> PlanDevice:
    from hardplace.cost.one_chip.described_timer import described_device  # its mappings are of no use to other devices

    return described_device(name)


def node_with(node: Node, name: str, chip: PlanDevice) -> Node:
    """Return a node; where it names its device by the file of a description, with the description's name."""
    return replace(node, device=chip.name) if node.device == Path(name).name else node


def inventory_of_plan(place: str, file: Plan, names: Sequence[str], nodes: Sequence[str]) -> Parts:
    """Return the devices that a plan is for: those named, else those of its file; without a number as many as it has.

    Args:
        place: What a message names: the plan's file.
        file: The plan, or the file with it.
        names: As for `inventory_of`; none: the file's.
        nodes: As for `inventory_of`; none: the file's.

    Raises:
        BadInput: Where neither says a device, and as `inventory_of`.
    """
    lots = file.on if isinstance(file, PlanFile) else ()
    if not names and not lots:
        raise BadInput("device", f"{place} names none", "a device, or a file that `place` wrote")
    named = tuple(names) or tuple(f"{lot.device}:{lot.count}" for lot in lots)
    nodes = nodes or (() if names else tuple(dict.fromkeys(lot.node for lot in lots)))
    try:
        return inventory_of(named, None if any(":" in one for one in named) else file.devices, nodes)
    except BadInput as problem:
        raise problem if names else BadInput(f"{place}: on: {problem}") from None


def inventory_title(parts: Parts, *, nodes: bool = False) -> str:
    """Return the devices in words, with their nodes where these are wanted."""
    return " and ".join(
        f"{count:,} {chip.title}" + (f" in {node.title}" if nodes else "") for chip, node, count in parts
    )


def plan_file_of(plan: Plan, model: str, names: Sequence[str], parts: Parts, nodes: Sequence[str]) -> PlanFile:
    """Return a plan with its model, devices and nodes by the names that were asked for.

    Args:
        plan: The plan.
        model: Catalogue name or file.
        names: Devices as they were asked for.
        parts: The same as device, node and number (`inventory_of`).
        nodes: Nodes as they were asked for.
    """
    asked = {node_named(one).name: one for one in nodes}
    lots = tuple(
        DeviceCount(device=text.partition(":")[0], node=asked.get(where.name, where.name), count=count)
        for text, (_, where, count) in zip(names, parts, strict=True)
    )
    own = {one.name: getattr(plan, one.name) for one in fields(plan)}
    return PlanFile(**own, model=model, on=lots, version=__version__)
