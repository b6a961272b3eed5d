"""`hardplace chip`: one chip, its area and power by part, peaks and ridge points, cost."""

from __future__ import annotations

from pathlib import Path

import click

from hardplace.cli import folders, options
from hardplace.cli.app import app
from hardplace.cli.printing import give, json_asked, say_json


@app.command()
@click.argument("chip", metavar="FILE|NAME", required=False)
@click.option("--node", "node_nm", type=float, help="Build it at this process node, nm.  [default: its own]")
@click.option("--dtype", help="Print in which type operands of this type are computed.")
@options.as_json
@options.folder("Folder of the page.  [default: hardplace-out/NAME]")
def chip(chip: str | None, node_nm: float | None, dtype: str | None, out: Path | None) -> None:
    """Print and draw a chip: area and power by part, peaks and ridge points, cost and carbon.

    FILE is a device in TOML, NAME one of the catalogue or of a search (8x128x128-2x128-128MiB). Without either, list
    the catalogue.
    """
    from hardplace.hardware.catalogue import device, device_names, node, node_names
    from hardplace.hardware.sheet import find, sheet
    from hardplace.report.terminal_chip import show_catalogue, show_chip

    if chip is None:
        if json_asked():
            say_json({"devices": device_names(), "nodes": node_names()})
        else:
            show_catalogue(tuple(map(device, device_names())), tuple(map(node, node_names())))
        return
    found = sheet(find(chip), node_nm, dtype)
    if json_asked():
        say_json(found)
        return
    from hardplace.report.chip import page

    folders.check_writable(out)
    drawn = page(found, folders.command())
    give(lambda: show_chip(found), lambda: folders.write_page(found.name, out, "chip.html", drawn))
