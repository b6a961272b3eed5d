"""`hardplace audit`: every GEMM of a model's step on one device, and the rules of co-design, priced."""

from __future__ import annotations

from pathlib import Path

import click

from hardplace.cli.app import app
from hardplace.errors import BadInput


@app.command()
@click.argument("model", metavar="CONFIG|MODEL")
@click.option(
    "--device", metavar="NAME|FILE", help="A GPU of the catalogue, a TOML file, or a calibrated model's file."
)
@click.option("--on", "chip", metavar="NAME|FILE", help="A chip, as `hardplace chip` takes it, in place of --device.")
@click.option("--micro-batch", type=click.IntRange(min=1), default=1, show_default=True, help="Samples.")
@click.option("--tensor-parallel", type=click.IntRange(min=1), default=1, show_default=True, help="Width.")
@click.option("--sequence-parallel", is_flag=True, help="With tensor parallelism.")
@click.option("--pipeline-parallel", type=click.IntRange(min=1), default=1, show_default=True, help="Stages.")
@click.option(
    "--sequence", type=click.IntRange(min=1), help="Tokens.  [default: the model's, of a config at most 4096]"
)
@click.option(
    "--attention",
    default="default",
    show_default=True,
    help="unfused, default (PyTorch's flash), or a backend: fa3, ...",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the page.  [default: hardplace-out/MODEL]")
def audit(
    model: str,
    device: str | None,
    chip: str | None,
    micro_batch: int,
    tensor_parallel: int,
    sequence_parallel: bool,
    pipeline_parallel: int,
    sequence: int | None,
    attention: str,
    as_json: bool,
    out: Path | None,
) -> None:
    """List every GEMM of one step with what decides its speed, and say which rules the model breaks at what cost.

    CONFIG is a Hugging Face config.json, MODEL a name of the catalogue or a Workload file. The rules are those of
    arXiv 2401.14489; those that flash attention makes void are said to be.

    \b
    hardplace audit gpt3-2.7b --device a100-80gb-sxm --attention unfused
    hardplace audit llama2-7b --on tpu-v4
    """
    from hardplace.files import dumps, write_text
    from hardplace.report.audit import page, show_audit
    from hardplace.search.shapes.audit import audited
    from hardplace.search.shapes.sources import model_named, target
    from hardplace.search.shapes.types import Conditions

    name = device or chip
    if name is None or (device and chip):
        raise BadInput("audit: expected one of --device and --on")
    asked = Conditions(
        micro_batch=micro_batch,
        tensor=tensor_parallel,
        sequence=sequence_parallel,
        pipeline=pipeline_parallel,
        attention=attention,
    )
    found = audited(model_named(model, sequence), target(name, asked), asked)
    if as_json:
        click.echo(dumps(found))
        return
    show_audit(found)
    folder = out or Path("hardplace-out") / found.model.replace("/", "-")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "audit.html", page(found))
    click.echo(f"\nwritten: {folder / 'audit.html'} (open it in a browser)")
