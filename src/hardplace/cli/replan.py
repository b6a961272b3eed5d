"""`hardplace replan PLAN`: the best plan to go on with when devices or links change."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from hardplace.cli import options
from hardplace.cli.app import INFEASIBLE, app
from hardplace.cli.printing import say_json
from hardplace.errors import BadInput

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


@app.command()
@click.argument("path", metavar="PLAN", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--cluster", metavar="FILE|NAME", help="The node with its links as they are now.  [default: as before]")
@click.option("--devices", type=click.IntRange(min=1), help="Devices at hand.  [default: those not lost]")
@click.option("--lost", metavar="LIST", help="Lost ones by rank: 16-23,40.  [default: the last, if --devices is fewer]")
@click.option(
    "--horizon", default="4h", show_default=True, metavar="TIME", help="Until the next change: 90min, 4h, 2d."
)
@click.option("--restart", default="60s", show_default=True, metavar="TIME", help="A stop without any transfer.")
@click.option("--store", default="125 MB/s", show_default=True, help="Reading of checkpoints, a device.")
@click.option("--model", metavar="NAME|FILE", help="Of a PLAN that is a plan alone.")
@click.option("--device", metavar="NAME", help="Of a PLAN that is a plan alone.")
@click.option("--node", metavar="FILE|NAME", help="Of a PLAN that is a plan alone.  [default: the device's usual]")
@options.as_json
def replan(
    path: Path,
    cluster: str | None,
    devices: int | None,
    lost: str | None,
    horizon: str,
    restart: str,
    store: str,
    model: str | None,
    device: str | None,
    node: str | None,
    as_json: bool,
) -> None:
    """Print the plans that do most work until the next change when devices of a running plan are lost or gained, or
    links are slower: throughput, bytes to move from the running plan, the pause.

    \b
    hardplace replan examples/gpt3-175b-4096.json --lost 4080-4095
    hardplace replan examples/gpt3-175b-4096.json --devices 4032 --horizon 30min
    hardplace replan examples/gpt3-175b-4096.json --cluster slow-links.toml
    """
    from hardplace.hardware.catalogue import device as device_named
    from hardplace.hardware.catalogue import node as node_named
    from hardplace.plans.fleet import node_of
    from hardplace.plans.replanning.replan import Change, Stuck
    from hardplace.plans.replanning.replan import replan as solve
    from hardplace.plans.replanning.running import read_running
    from hardplace.report.replan import say_stuck, show_replanned
    from hardplace.units import parse_quantity
    from hardplace.workload.load import load

    running = read_running(path, model, device, node)
    chip = device_named(running.device)
    before = node_named(running.node) if running.node else node_of(chip.name)
    if before.device != chip.name:
        raise BadInput(f"{path}: node: {before.name}: has {before.device}: expected a node of {chip.name}")
    gone, left = _devices(running.plan.devices, lost, devices)
    change = Change(
        devices=left,
        lost=gone,
        node=node_named(cluster) if cluster else before,
        horizon_s=_seconds("--horizon", horizon),
        restart_s=_seconds("--restart", restart),
        store_bytes_per_s=parse_quantity(store, "B/s", "--store"),
    )
    found = solve(load(running.model), chip, running.plan, before, change)
    if as_json:
        say_json(found)
    elif isinstance(found, Stuck):
        say_stuck(found, change)
    else:
        title = f"{running.model}: {running.plan.devices} {chip.title} until now, {left} in {change.node.title} at hand"
        show_replanned(title, found, change)
    if isinstance(found, Stuck):
        sys.exit(INFEASIBLE)


def _devices(running: int, lost: str | None, devices: int | None) -> tuple[frozenset[int], int]:
    """Return the lost devices, and how many are at hand."""
    if lost is None:
        left = running if devices is None else devices
        return frozenset(range(min(left, running), running)), left
    gone: set[int] = set()
    for part in lost.split(","):
        match = re.fullmatch(r"\s*([0-9]+)(?:-([0-9]+))?\s*", part)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if low > high:
            raise BadInput(f"--lost {lost}: {part!r}: expected devices by number, such as 16-23,40")
        if high >= running:
            raise BadInput(f"--lost {lost}: {high}: expected a device of the running plan, 0 to {running - 1}")
        gone.update(range(low, high + 1))
    return frozenset(gone), running - len(gone) if devices is None else devices


def _seconds(option: str, text: str) -> float:
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(s|min|h|d)\s*", text)
    if match is None or float(match[1]) <= 0.0:
        raise BadInput(f"{option} {text}: expected a time above zero with its unit (s, min, h or d), such as 4h")
    return float(match[1]) * _SECONDS[match[2]]
