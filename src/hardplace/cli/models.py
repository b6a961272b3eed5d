"""`hardplace models`: what ships with the package."""

from __future__ import annotations

from hardplace.cli import options
from hardplace.cli.app import app


@app.command()
@options.as_json
def models(as_json: bool) -> None:
    """List the models that ship with the package: parameters, sequence length, FLOPs and where the graph is from."""
    from hardplace.report.terminal import show_models
    from hardplace.workload.load import catalogue, load

    show_models([load(name) for name in catalogue()], as_json)
