"""A running plan with its model and devices: what `replan` starts from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from hardplace.errors import BadInput
from hardplace.plans.plan import Plan
from hardplace.plans.plan_files import PlanFile, bare


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A running plan with what it runs.

    Attributes:
        model: Name or Workload file of the model.
        device: Name or TOML file of the device.
        node: Name or TOML file of the node.
        plan: The plan.
    """

    model: str
    device: str
    node: str
    plan: Plan


def running_of(path: str, file: PlanFile, model: str | None, device: str | None, node: str | None) -> Running:
    """Return a running plan; a plan alone needs the names of model and device beside it.

    Raises:
        BadInput: With file, field, value and what was expected, also where a name is given that is not the file's.
    """
    if len(file.on) > 1:
        raise BadInput(f"{path}: on: {len(file.on)} kinds of device: expected a plan on devices of one kind")
    lot = file.on[0] if file.on else None
    if lot is not None and lot.count != file.devices:
        raise BadInput(f"{path}: on: count: {lot.count}: expected as many devices as the plan has, {file.devices}")
    names = {"model": file.model, "device": lot.device if lot else "", "node": lot.node if lot else ""}
    for name, asked in (("model", model), ("device", device), ("node", node)):
        if asked is not None and names[name] not in ("", asked):
            raise BadInput(name, asked, f"{names[name]}, which {path} is a plan of, or nothing")
        names[name] = names[name] or asked or ""
    if not (names["model"] and names["device"]):
        raise BadInput(path, "a plan alone", "model and device with it")
    return Running(**names, plan=bare(file))


def lost_of(running: int, lost: Iterable[int] | str | None, devices: int | None) -> tuple[frozenset[int], int]:
    """Return the lost devices, by rank, and the number at hand.

    Args:
        running: Devices of the running plan.
        lost: Ranks, or a text such as "16-23,40"; None: the last ones, where `devices` is fewer than are running.
        devices: Devices at hand; None: those not lost.

    Raises:
        BadInput: For a text of another form, and for a rank that the running plan does not have.
    """
    if lost is None:
        left = running if devices is None else devices
        return frozenset(range(min(left, running), running)), left
    gone: set[int] = set()
    for part in lost.split(",") if isinstance(lost, str) else map(str, lost):
        match = re.fullmatch(r"\s*([0-9]{1,9})(?:-([0-9]{1,9}))?\s*", part)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if low > high:
            raise BadInput("lost", repr(part), "devices by number, such as 16-23,40")
        if high >= running:
            raise BadInput("lost", high, f"a device of the running plan, 0 to {running - 1}")
        gone.update(range(low, high + 1))
    return frozenset(gone), running - len(gone) if devices is None else devices
