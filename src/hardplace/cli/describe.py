"""`hardplace describe`: an accelerator from its description, and layers on it."""

from __future__ import annotations

from pathlib import Path

import click

from hardplace.cli import folders, options
from hardplace.cli.app import app
from hardplace.cli.printing import end_infeasible, give, json_asked, say_json
from hardplace.errors import BadInput


@app.command()
@click.argument("accelerator", metavar="FILE|NAME")
@click.option("--network", metavar="NAME", help="resnet-50, mobilenet, tc-resnet8 or llama2-7b-block.")
@click.option("--layer", "layers", multiple=True, metavar="KIND:SIZES", help="A layer, such as product:128,256,512.")
@click.option("--set", "parameters", multiple=True, metavar="NAME=NUMBER", help="A parameter in place of the file's.")
@click.option(
    "--vary", multiple=True, metavar="NAME=N,N", help="Values of a parameter: search for the fastest variant."
)
@click.option("--within", multiple=True, metavar="LIMIT", help="A limit on variants, such as 'rows * columns <= 4096'.")
@click.option("--programs", is_flag=True, help="Write out each layer's loops and instructions.")
@click.option("--simulate", is_flag=True, help="Simulate each layer cycle by cycle too; for small layers.")
@options.as_json
@options.folder("Folder of the page.  [default: hardplace-out/NAME]")
def describe(
    accelerator: str,
    network: str | None,
    layers: tuple[str, ...],
    parameters: tuple[str, ...],
    vary: tuple[str, ...],
    within: tuple[str, ...],
    programs: bool,
    simulate: bool,
    out: Path | None,
) -> None:
    """Read an accelerator from its description and check it; map layers onto it; print and draw.

    FILE is a description in TOML (docs/model-described.md), NAME one that ships: eyeriss, gemmini, plasticine,
    systolic, ultratrail, vector-dsp.

    \b
    hardplace describe gemmini
    hardplace describe gemmini --network resnet-50
    hardplace describe systolic --set rows=64 --layer product:128,256,512 --programs
    hardplace describe systolic --network tc-resnet8 --vary rows=8,16,32 --within "rows * columns <= 512"
    hardplace describe ultratrail --layer convolution:16,24,20,3 --simulate
    """
    from hardplace import api
    from hardplace.answers import Infeasible
    from hardplace.described.parameters import ParameterResult
    from hardplace.report.described import page, show_described
    from hardplace.report.described_variants import parameters_page, show_parameters
    from hardplace.report.terminal import show_infeasible

    folders.check_writable(out)
    found = api.describe(
        accelerator, network=network, layers=layers, programs=programs, simulate=simulate,
        parameters=options.by_name("set", parameters, "rows=64"),
        vary=_values(vary), within=within,
    )  # fmt: skip
    if isinstance(found, Infeasible):
        end_infeasible(found, show_infeasible)
    if json_asked():
        say_json(found.envelope())
        return
    if isinstance(found, ParameterResult):
        show_parameters(found)
        shown, drawn = found.best, parameters_page(found, folders.command())
    else:
        shown, drawn = found, page(found, folders.command())
    give(lambda: show_described(shown), lambda: folders.write_page(shown.name, out, "described.html", drawn))


def _values(texts: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Return the values of each text NAME=N,N; BadInput for another form."""
    found = {}
    for name, values in options.by_name("vary", texts, "rows=8,16,32").items():
        numbers = values.split(",")
        if not all(number.isdecimal() and len(number) < 16 for number in numbers):
            raise BadInput("vary", repr(f"{name}={values}"), "NAME=N,N with whole numbers")
        found[name] = tuple(int(number) for number in numbers)
    return found
