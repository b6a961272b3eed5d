"""`hardplace shape`: model shapes of the same size that train faster on a device."""

from __future__ import annotations

from pathlib import Path

import click

from hardplace.cli import folders, options
from hardplace.cli.app import app
from hardplace.cli.options import StepOptions
from hardplace.cli.printing import give, json_asked, say_json
from hardplace.cli.search_shapes import ranges_of, share_of
from hardplace.errors import BadInput


@app.command()
@click.argument("model", metavar="CONFIG|MODEL")
@click.option("--params", default="2%", show_default=True, help="Allowed change of the number of parameters.")
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME|FILE",
    help="A GPU; repeat the option for shapes that are fast on all.",
)
@click.option(
    "--on", "chips", multiple=True, metavar="NAME|FILE", help="A chip, as `hardplace chip` takes it; repeats."
)
@options.of_step
@click.option("--freeze", multiple=True, metavar="FIELD", help="Keep a field: layers, hidden, heads, kv_heads, ...")
@click.option("--range", "ranges", multiple=True, metavar="FIELD=FROM:TO:STEP|A,B", help="Values of a field.")
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="Alternatives of each tier.")
@options.calibrated
@options.as_json
@options.page_folder
def shape(
    *,
    step: StepOptions,
    model: str,
    params: str,
    devices: tuple[str, ...],
    chips: tuple[str, ...],
    freeze: tuple[str, ...],
    ranges: tuple[str, ...],
    top: int,
    calibrated: Path | None,
    out: Path | None,
) -> None:
    """Rank shapes with about the same number of parameters by how fast they train.

    Fields: layers, hidden, heads, kv_heads, head_dim, ffn, vocab. The safe tier pads the MLP and the vocabulary and
    splits heads another way; the other changes depth and width, within 1.5 times the aspect ratio. Every speed-up has
    a band of confidence; what lies within it is a tie: measure.

    \b
    hardplace shape gpt3-2.7b --device a100-80gb-sxm
    hardplace shape llama2-7b --device h100-sxm --device b200-sxm --freeze layers --range hidden=3584:4608:64
    """
    from hardplace import api
    from hardplace.report.shape import page, show_ranking

    names = tuple(dict.fromkeys((*devices, *chips)))
    if not names:
        raise BadInput("shape: expected --device or --on")
    found = api.shapes(
        model, names, within=share_of(params), freeze=freeze, ranges=ranges_of(ranges), top=top,
        calibrated=calibrated, **step.arguments(),
    )  # fmt: skip
    if json_asked():
        say_json(found.envelope())
        return
    folders.check_writable(out)
    drawn = page(found, folders.command())
    give(lambda: show_ranking(found), lambda: folders.write_page(found.model, out, "shape.html", drawn))
