"""`hardplace replan PLAN`: the best plan to go on with when devices or links change."""

from __future__ import annotations

import re
from pathlib import Path

import click

from hardplace.cli import folders, options
from hardplace.cli.app import app
from hardplace.cli.printing import end_infeasible, give_answer, say_written
from hardplace.errors import BadInput

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


@app.command()
@click.argument("path", metavar="PLAN", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--cluster", metavar="FILE|NAME", help="The node with its links as they are now.  [default: as before]")
@click.option("--devices", type=click.IntRange(min=1), help="Devices at hand.  [default: those not lost]")
@click.option(
    "--lost", metavar="LIST", help="Ranks of the lost devices: 16-23,40.  [default: the last, if --devices is fewer]"
)
@click.option(
    "--horizon", default="4h", show_default=True, metavar="TIME", help="Time until the next change: 90min, 4h, 2d."
)
@click.option(
    "--restart", default="60s", show_default=True, metavar="TIME", help="Time of a restart without any transfer."
)
@click.option(
    "--store", default="125 MB/s", show_default=True, help="Bandwidth at which each device reads a checkpoint."
)
@click.option("--model", metavar="NAME|FILE", help="Model, if PLAN does not name it.")
@click.option("--device", metavar="NAME", help="Device, if PLAN does not name it.")
@click.option("--node", metavar="FILE|NAME", help="Node, if PLAN does not name it.  [default: the device's usual]")
@options.calibrated
@options.as_json
@options.answer_folder
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
    calibrated: Path | None,
    out: Path | None,
) -> None:
    """Find the plan to continue with after devices of a running plan are lost or gained, or links became slower: most
    work until the next change, the bytes to move, the pause.

    \b
    hardplace replan examples/gpt3-175b-4096.json --lost 4080-4095
    hardplace replan examples/gpt3-175b-4096.json --devices 4032 --horizon 30min
    hardplace replan examples/gpt3-175b-4096.json --cluster slow-links.toml
    """
    from hardplace import api
    from hardplace.api.anchored_plans import naming, planned
    from hardplace.files import write_text
    from hardplace.plans.infeasible import PlanInfeasible
    from hardplace.report.replan import say_stuck, show_replanned
    from hardplace.report.replan_page import page
    from hardplace.units import parse_quantity

    folders.check_writable(out)
    with naming(path, calibrated):
        found = api.replan(
            planned(path, None, calibrated),
            lost=lost,
            devices=devices,
            cluster=cluster,
            horizon_s=_seconds("--horizon", horizon),
            restart_s=_seconds("--restart", restart),
            store_bytes_per_s=parse_quantity(store, "B/s", "--store"),
            model=model,
            device=device,
            node=node,
        )
    if isinstance(found, PlanInfeasible):
        end_infeasible(found, say_stuck)
    drawn = page(found, folders.command())

    def keep() -> None:
        folder = folders.folder_of(found.title.partition(":")[0], out)
        found.save(folder / "replan.json")
        write_text(folder / "replan.html", drawn)
        say_written(f"{folder / 'replan.json'}, {folder / 'replan.html'} (open it in a browser)")

    give_answer(found, show_replanned, keep)


def _seconds(option: str, text: str) -> float:
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(s|min|h|d)\s*", text)
    if match is None or float(match[1]) <= 0.0:
        raise BadInput(f"{option} {text}: expected a time above zero with its unit (s, min, h or d), such as 4h")
    return float(match[1]) * _SECONDS[match[2]]
