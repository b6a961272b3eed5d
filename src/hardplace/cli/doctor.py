"""`hardplace doctor`: what is installed and works here."""

from __future__ import annotations

import sys

import click

from hardplace.cli import options
from hardplace.cli.app import DEFECT, app
from hardplace.cli.printing import json_asked, say_json


@app.command()
@options.as_json
def doctor() -> None:
    """Print versions, extras, devices of this machine, the folder of answers, and a self-test of two seconds.

    Exit code 70 if the self-test fails.
    """
    from hardplace.api.checkup import checkup
    from hardplace.cli import folders

    found = checkup(folders.OUT)
    if json_asked():
        say_json(found)
    else:
        for one in found:
            click.echo(f"{'ok' if one.ok else 'FAILS' if one.needed else '-':6} {one.what:22} {one.told}")
    if not all(one.ok for one in found if one.needed):
        sys.exit(DEFECT)
