"""`hardplace models`: what ships with the package."""

from __future__ import annotations

from hardplace.cli import options
from hardplace.cli.app import app
from hardplace.cli.printing import json_asked, say_json


@app.command()
@options.as_json
def models() -> None:
    """List the models that ship with the package: parameters, sequence length, FLOPs and where the graph is from."""
    from hardplace.report.models import model_rows, show_models
    from hardplace.workload.listing import listed

    found = listed()
    say_json(model_rows(found)) if json_asked() else show_models(found)
