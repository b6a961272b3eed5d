"""`hardplace new KIND`: a commented template of a file of one's own, valid as it is written."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from hardplace.cli.app import app
from hardplace.cli.printing import say
from hardplace.starters import KINDS

# The command that takes such a file.
USES = {
    "chip": "hardplace chip FILE",
    "node": "hardplace place llama2-7b --device h100-sxm --devices 16 --batch 64 --node FILE",
    "space": "hardplace search llama2-7b --space FILE",
    "setting": "hardplace search llama2-7b --setting FILE",
    "plan": "hardplace estimate llama2-7b --plan FILE --device h100-sxm",
}


@app.command()
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write.  [default: my-KIND.toml]")
def new(kind: str, out: Path | None) -> None:
    """Write a commented template of a chip, node, space, setting or plan, which is valid as it is.

    \b
    hardplace new chip                       my-chip.toml, for `hardplace chip` and `place --device`
    hardplace new node                       my-node.toml, for `place --node` and `search --node`
    hardplace new space                      my-space.toml, for `search --space`
    hardplace new setting                    my-setting.toml, for `search --setting`
    hardplace new plan                       my-plan.toml, for `estimate --plan`
    """
    from hardplace.errors import BadInput
    from hardplace.files import write_new
    from hardplace.starters import starter

    path = out or Path(f"my-{kind}.toml")
    if not write_new(path, starter(kind)):
        raise BadInput("--out", str(path), "a file that does not exist yet")
    say(f"written: {path}; use it with: {USES[kind].replace('FILE', shlex.quote(str(path)))}")
