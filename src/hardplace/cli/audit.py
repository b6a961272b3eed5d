"""`hardplace audit`: every GEMM of a model's step on one device, and the rules of co-design, priced."""

from __future__ import annotations

from pathlib import Path

import click

from hardplace.cli import folders, options
from hardplace.cli.app import app
from hardplace.cli.options import StepOptions
from hardplace.cli.printing import give, json_asked, say_json
from hardplace.errors import BadInput


@app.command()
@click.argument("model", metavar="CONFIG|MODEL")
@click.option(
    "--device", metavar="NAME|FILE", help="A GPU of the catalogue, a TOML file, or a calibrated model's file."
)
@click.option("--on", "chip", metavar="NAME|FILE", help="A chip, as `hardplace chip` takes it, in place of --device.")
@options.of_step
@options.as_json
@options.page_folder
def audit(
    *,
    step: StepOptions,
    model: str,
    device: str | None,
    chip: str | None,
    out: Path | None,
) -> None:
    """List every GEMM of one step with what limits its speed, and the rules that the model breaks with their cost.

    CONFIG is a Hugging Face config.json, MODEL a name of the catalogue or a Workload file. The rules are those of
    arXiv 2401.14489; those that flash attention makes irrelevant are marked.

    \b
    hardplace audit gpt3-2.7b --device a100-80gb-sxm --attention unfused
    hardplace audit llama2-7b --on tpu-v4
    """
    from hardplace import api
    from hardplace.report.audit import page, show_audit

    name = device or chip
    if name is None or (device and chip):
        raise BadInput("audit: expected one of --device and --on")
    found = api.audit(model, name, **step.arguments())
    if json_asked():
        say_json(found.envelope())
        return
    folders.check_writable(out)
    drawn = page(found, folders.command())
    give(lambda: show_audit(found), lambda: folders.write_page(found.model, out, "audit.html", drawn))
