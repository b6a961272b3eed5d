"""Options that several verbs take, each written once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any

import click

from hardplace.cli.printing import ask_json
from hardplace.errors import BadInput

Command = Callable[..., None]
Option = Callable[[Command], Command]


def as_json_option(text: str) -> Option:
    """Return the option --json, which `printing.json_asked` reads."""
    return click.option("--json", "as_json", is_flag=True, expose_value=False, callback=ask_json, help=text)


as_json = as_json_option("Print the result as JSON, and nothing else.")
setting = click.option(
    "--setting",
    "setting_name",
    default="hbm3",
    show_default=True,
    metavar="NAME|FILE",
    help="Memory, network and optimizer: hbm3, phaze, or a TOML file.",
)
area = click.option("--area", "area_mm2", type=float, help="Area budget of the chip, mm2.  [default: the space's]")
devices = click.option(
    "--devices", type=click.IntRange(min=1), default=1024, show_default=True, help="Number of accelerators."
)
batch = click.option(
    "--batch", type=click.IntRange(min=1), default=4096, show_default=True, help="Samples of a global batch."
)
micro_batch = click.option(
    "--micro-batch", type=click.IntRange(min=1), default=1, show_default=True, help="Samples of a micro-batch."
)
tensor_parallel = click.option(
    "--tensor-parallel", type=click.IntRange(min=1), default=1, show_default=True, help="Degree."
)
sequence_parallel = click.option(
    "--sequence-parallel", is_flag=True, help="With tensor parallelism, as Megatron-LM has it."
)


class _Finite(click.FloatRange):
    """A range of numbers; nan, which compares with nothing, and inf are in none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class _Share(_Finite):
    """A share from 0 to below 1, as a number or in percent: 0.05 or 5%."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the share; fails for a text that is none."""
        if not isinstance(value, str) or not value.strip().endswith("%"):
            return super().convert(value, param, ctx)
        try:
            share = float(value.strip()[:-1]) / 100.0
        except ValueError:
            self.fail(f"{value!r} is no share such as 0.05 or 5%.", param, ctx)
        return super().convert(share, param, ctx)


def seconds(text: str, default: float | None = None) -> Option:
    """Return the option of a time limit, whose text says of what."""
    kind = _Finite(min=0, min_open=True)
    return click.option("--seconds", "limit_s", type=kind, default=default, show_default=True, help=text)


def gap(text: str, default: float) -> Option:
    """Return the option of the gap at which a verb stops, as a share."""
    kind = _Share(min=0, max=1, max_open=True)
    return click.option("--gap", type=kind, default=default, show_default=True, help=text)


def folder(text: str) -> Option:
    """Return the option of the folder that a verb writes, whose text says what goes there."""
    return click.option("--out", type=click.Path(file_okay=False, path_type=Path), help=text)


trace_file = click.option(
    "--trace",
    "trace_path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write one step as a trace for ui.perfetto.dev.",
)
page_folder = folder("Folder of the page.  [default: hardplace-out/MODEL]")
answer_folder = folder("Folder of the answer.  [default: hardplace-out/MODEL]")


def by_name(option: str, texts: Iterable[str], example: str) -> dict[str, str]:
    """Return the values of an option that is given as NAME=VALUE, by name.

    Args:
        option: Its name, for messages.
        texts: What was given.
        example: One that is right, for messages.

    Raises:
        BadInput: For another form, and for a name given twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise BadInput(f"--{option}: {text!r}: expected NAME=VALUE, such as {example}")
        if name in found:
            raise BadInput(f"--{option}: {text!r}: {name} a second time; expected it once")
        found[name] = value
    return found


def gathered(name: str, kind: type[Any], *options: Option) -> Option:
    """Return what adds options to a command that takes them together, as `name`: a dataclass of kind `kind`, whose
    fields have the options' names."""

    def add(command: Command) -> Command:
        @wraps(command)
        def taking(**given: Any) -> None:
            mine = {field.name: given.pop(field.name) for field in fields(kind)}
            command(**{name: kind(**mine)}, **given)

        found: Command = taking
        for option in reversed(options):
            found = option(found)
        return found

    return add


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """The step in which `audit` and `shape` price a model's GEMMs."""

    micro_batch: int
    tensor_parallel: int
    sequence_parallel: bool
    pipeline_parallel: int
    sequence: int | None
    attention: str

    def arguments(self) -> dict[str, Any]:
        """Return them as `hardplace.audit` and `hardplace.shaping` take them."""
        return {
            "micro_batch": self.micro_batch,
            "tensor": self.tensor_parallel,
            "sequence_parallel": self.sequence_parallel,
            "pipeline": self.pipeline_parallel,
            "sequence": self.sequence,
            "attention": self.attention,
        }


of_step = gathered(
    "step",
    StepOptions,
    micro_batch,
    tensor_parallel,
    sequence_parallel,
    click.option("--pipeline-parallel", type=click.IntRange(min=1), default=1, show_default=True, help="Stages."),
    click.option(
        "--sequence", type=click.IntRange(min=1), help="Tokens.  [default: the model's, of a config at most 4096]"
    ),
    click.option(
        "--attention",
        default="default",
        show_default=True,
        help="unfused, default (PyTorch's flash), or a backend: fa3, ...",
    ),
)

software = click.option(
    "--software",
    metavar="NAME",
    help="Training software: megatron-core, fsdp-eager, ...  [default: none; figures pooled over all software]",
)
calibrated = click.option(
    "--calibrated",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that `anchor` wrote from measured steps of your system.",
)
headroom = click.option(
    "--headroom",
    type=_Share(min=0, max=1, max_open=True),
    default=0.05,
    show_default=True,
    help="Share of each device's memory to keep free.",
)
