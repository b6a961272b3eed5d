"""`hardplace trace`: any PyTorch model in, its training graph out, without weights."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from pathlib import Path

import click

from hardplace.cli.app import app
from hardplace.cli.options import by_name, gathered
from hardplace.cli.printing import say
from hardplace.cli.progress import progress_bar
from hardplace.errors import BadInput

_DTYPES = ("bf16", "fp16", "fp32")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """How a model is to be recorded, as the options were given."""

    name: str | None
    sequence_length: int | None
    dtype: str
    autocast: str | None
    attention: str
    size: tuple[str, ...]
    freeze: tuple[str, ...]
    trust_code: bool

    def command(self, source: str) -> str:
        """Return the command that records a source again."""
        given = (
            ("--name", self.name),
            ("--sequence-length", self.sequence_length),
            ("--dtype", self.dtype if self.dtype != "bf16" else None),
            ("--autocast", self.autocast),
            ("--attention", self.attention if self.attention != "fused" else None),
            *(("--size", one) for one in self.size),
            *(("--freeze", one) for one in self.freeze),
        )
        words = [word for name, value in given if value is not None for word in (name, str(value))]
        return shlex.join(["hardplace", "trace", source, *words, *(["--trust-code"] if self.trust_code else [])])


recording_options = gathered(
    "asked",
    Recording,
    click.option("--name", help="Name of the workload.  [default: from the source]"),
    click.option("--sequence-length", type=int, help="Tokens a sample.  [default: the config's, at most 4096]"),
    click.option("--dtype", type=click.Choice(_DTYPES), default="bf16", show_default=True, help="Of parameters."),
    click.option("--autocast", type=click.Choice(["bf16", "fp16"]), help="Mixed precision: dtype that autocast picks."),
    click.option(
        "--attention",
        type=click.Choice(["fused", "unfused"]),
        default="fused",
        show_default=True,
        help="One kernel that keeps nothing quadratic, or products and softmax apart.",
    ),
    click.option(
        "--size", multiple=True, metavar="NAME=N", help="A dynamic dimension of an ONNX file, such as batch=8."
    ),
    click.option(
        "--freeze",
        multiple=True,
        metavar="PATTERN",
        help="Parameters that are not trained, by name: 'vision_tower.*', '*.base_layer.weight'.",
    ),
    click.option(
        "--trust-code", is_flag=True, help="Run the Python files beside a config of custom code. Read them first."
    ),
)


@app.command()
@click.argument("source")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Workload file.  [default: NAME.json.gz]")
@recording_options
def trace(*, source: str, asked: Recording, out: Path | None) -> None:
    """Record one training step of SOURCE as a Workload file, on a laptop, for a model of any size.

    \b
    SOURCE is one of
      config.json               of a Hugging Face model (or its folder): text, images or speech
      package.module:function   that returns (module, example inputs[, loss])
      model.onnx                an inference graph
    No weights are created, no model hub is contacted, no GPU is needed. Extra: pip install 'hardplace[torch]'.
    """
    from hardplace.files import path_name, write
    from hardplace.report.recorded import recording_lines, recording_warnings
    from hardplace.workload.recording.choose import recorded, step_of

    _check_names(asked.name, out)
    start = time.perf_counter()
    step = step_of(
        source,
        name=asked.name,
        sequence_length=asked.sequence_length,
        dtype=asked.dtype,
        autocast=asked.autocast,
        attention=asked.attention,
        size=_sizes(asked.size),
        trust_code=asked.trust_code,
        freeze=asked.freeze,
        command=asked.command(source),
    )
    from hardplace.workload.recording.watch import watched  # torch is there

    loaded_s = time.perf_counter() - start
    with progress_bar("recording") as show, watched(step.module, show):
        workload = recorded(step)
    path = out or Path(f"{path_name(workload.name)}.json.gz")
    write(path, workload)
    for note in step.notes:
        say(f"note: {note}", err=True)
    for warning in recording_warnings(workload, fused=asked.attention == "fused"):
        say(f"warning: {warning}", err=True)
    for line in recording_lines(workload, loaded_s, time.perf_counter() - start):
        say(line)
    say(f"written: {path} ({path.stat().st_size:,} bytes); look at it with: hardplace show {path}")


def _check_names(name: str | None, out: Path | None) -> None:
    """Refuse what cannot be written before minutes of recording."""
    if name is not None and (not name.strip() or "/" in name or not name.isprintable()):
        raise BadInput(f"--name: {name!r}: expected a name without slashes")
    if out is None:
        return
    if not out.name.endswith((".json", ".json.gz")):
        raise BadInput(f"--out: {out}: expected a name that ends in .json or .json.gz")
    if not out.absolute().parent.is_dir():
        raise BadInput(f"--out: {out}: expected a file in a folder that exists; {out.parent} is none")


def _sizes(texts: tuple[str, ...]) -> dict[str, int]:
    """Return the dimensions given as NAME=N."""
    found = by_name("size", texts, "batch=8")
    for name, value in found.items():
        if not value.isdecimal() or int(value) < 1:
            raise BadInput(f"--size: {name}={value}: expected a whole number of at least 1, such as batch=8")
    return {name: int(value) for name, value in found.items()}
