"""The group that the verbs join.

Exit codes: 0 answered, 2 bad input (or a file that cannot be written), 3 infeasible, 70 a defect of ours; as shells
have them, 128 + signal: 130 interrupted (Ctrl-C), 143 terminated (SIGTERM), each before a first answer, 141 the reader
of a pipe has gone.
"""

from __future__ import annotations

import contextlib
import re
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import click
from click.shell_completion import CompletionItem

from hardplace.errors import BadInput, ModelNote, printable, unknown
from hardplace.version import __version__

BAD_INPUT, INFEASIBLE, DEFECT = 2, 3, 70
INTERRUPTED, BROKEN_PIPE, TERMINATED = 130, 141, 143


# Options whose name is not that of the argument that they set.
_OPTIONS = {
    "fixed": "fix",
    "ranges": "range",
    "tensor": "tensor-parallel",
    "context": "context-parallel",
    "expert": "expert-parallel",
    "limits": "limit",
    "trainer": "for",
    "layers": "layer",
    "parameters": "set",
}


_QUIET = "hardplace.quiet"


def quiet() -> bool:
    """Return whether the verb that runs was asked to print its answer only."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_QUIET))


class _Named(click.types.StringParamType):
    """A name of the catalogue, or a file: a shell completes the names; what it is, is said where it is read."""

    def __init__(self, what: str) -> None:
        self.what = what

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the names that begin like this, else files."""
        found = [CompletionItem(name) for name in self._names() if name.startswith(incomplete)]
        return found or [CompletionItem(incomplete, type="file")]

    def _names(self) -> tuple[str, ...]:
        if self.what == "model":
            from hardplace.workload.load import catalogue

            return tuple(catalogue())
        from hardplace.hardware.catalogue import device_names, node_names

        return node_names() if self.what == "node" else device_names()


_COMPLETED = {"model": "model", "models": "model", "device": "device", "chip": "device", "node": "node"}


class _Verb(click.Command):
    """A verb whose errors name its options: below the command line there are arguments and fields only."""

    def __init__(self, *words: Any, **how: Any) -> None:
        super().__init__(*words, **how)
        for one in self.params:
            what = _COMPLETED.get(one.name or "")
            if what is not None and one.type is click.STRING:
                one.type = _Named(what)
        self.params += [
            click.Option(["-q", "--quiet"], is_flag=True, help="Print the answer only.", expose_value=False,
                         callback=_quieten),
            click.Option(["-v", "--verbose"], is_flag=True, expose_value=False, callback=_measure,
                         help="Print the time and memory that the answer took, on standard error."),
        ]  # fmt: skip

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; what a recorded model lacks of its config is a note on standard error."""
        try:
            with _noted():
                return super().invoke(ctx)
        except BadInput as problem:
            name = "--" + _OPTIONS.get(problem.field, problem.field).replace("_", "-")
            if (problem.value is None and not problem.expected) or not any(name in one.opts for one in self.params):
                raise
            raise BadInput(name, problem.value, problem.expected) from None


@contextlib.contextmanager
def _noted() -> Iterator[None]:
    """Print each note of a model once, in a line, and other warnings as Python does."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", ModelNote)
        shown, said = warnings.showwarning, set()

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if not issubclass(category, ModelNote):
                shown(message, category, *where, **more)
            elif str(message) not in said:
                said.add(str(message))
                click.echo(f"note: {printable(str(message))}", err=True)

        warnings.showwarning = show
        yield


def _quieten(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.meta[_QUIET] = value


def _measure(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Print at the end of a verb, on standard error, versions, processor time and memory of the process."""
    if not value:
        return

    def told() -> None:
        import platform
        import time

        size = ""
        with contextlib.suppress(ImportError):  # not on every system
            import resource

            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
            size = f", {most / 1e6:,.0f} MB at most"
        where = f"hardplace {__version__}, Python {platform.python_version()}, {platform.machine()}"
        click.echo(f"{where}: {time.process_time():.1f} s of processor time{size}", err=True)

    ctx.call_on_close(told)


def _complete(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Print a shell's completion script."""
    if value is None:
        return
    from click.shell_completion import get_completion_class

    kind = get_completion_class(value)
    if kind is None:
        raise BadInput("--completion", repr(value), "bash, zsh or fish")
    click.echo(kind(app, {}, "hardplace", "_HARDPLACE_COMPLETE").source())
    ctx.exit()


class _Verbs(click.Group):
    command_class = _Verb

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise unknown("command", args[0], self.commands)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command with the first clause of its help, whole: nothing is cut."""
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                first = re.split(r"[.;:](?:\s|$)", " ".join((command.help or "").split()), maxsplit=1)[0]
                rows.append((name, first))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="hardplace")
@click.option(
    "--completion",
    metavar="SHELL",
    is_eager=True,
    expose_value=False,
    callback=_complete,
    help="Print the completion script of bash, zsh or fish.",
)
def app() -> None:
    """Which accelerator, and which placement of a model on many of them, trains fastest within a budget.

    \b
    hardplace search llama2-7b     4.3 million chips at 5 nm within 858 mm2 and 700 W, and all plans
    hardplace schedule llama2-7b --chip 8x128x128-2x128-128MiB
                                   one layer on the cores of one chip
    hardplace models               list the models that ship with the package
    hardplace show t5-large        one model's graph: layers, operators by cost, a drawing
    hardplace chip h100-sxm        one chip: area, power, peaks, cost; without a name, the catalogue
    hardplace describe gemmini --network resnet-50   an accelerator from its description
    hardplace estimate llama2-7b --operators --on tpu-v4   every kernel on a chip
    hardplace estimate llama2-7b --plan plan.json   what a plan costs
    hardplace place llama2-7b --device h100-sxm --devices 64 --batch 512   the ten best plans
    hardplace export plan.json --to megatron   a plan as a trainer's flags or configuration
    hardplace run plan.json --model my_model:tiny   apply a plan to a module, in PyTorch
    hardplace audit llama2-7b --device h100-sxm   every GEMM of a step, and the rules of shapes
    hardplace shape llama2-7b --device h100-sxm   shapes of the same size that train faster
    hardplace replan plan.json --lost 4080-4095   the best plan to continue with after a change
    hardplace split graph.json --device cpu --device gpu   operators on different kinds of device
    hardplace tables dlrm.json   embedding tables on many devices
    hardplace chips                list PHAZE's space of chips, the settings and the chip to compare with
    hardplace verify llama2-7b     write a script that times a model's kernels on your GPU
    hardplace calibrate X.csv      fit the GPU model to what the script measured
    hardplace validate gemm X.csv  compare the GPU model with measurements
    hardplace validate             published training runs: predicted, measured, error
    hardplace new chip             a template of a chip, node, space, setting or plan of your own
    hardplace explain MFU          what a word means here
    hardplace doctor               what is installed, and a self-test
    """
