"""The group that the verbs join.

Exit codes: 0 answered, 2 bad input (or a file that cannot be written), 3 infeasible, 70 a defect of ours; as shells
have them, 128 + signal: 130 interrupted (Ctrl-C), 143 terminated (SIGTERM), each before a first answer, 141 the reader
of a pipe has gone.
"""

from __future__ import annotations

from typing import Any

import click

from hardplace.errors import BadInput, unknown
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


class _Verb(click.Command):
    """A verb whose errors name its options: below the command line there are arguments and fields only."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except BadInput as problem:
            name = "--" + _OPTIONS.get(problem.field, problem.field).replace("_", "-")
            if (problem.value is None and not problem.expected) or not any(name in one.opts for one in self.params):
                raise
            raise BadInput(name, problem.value, problem.expected) from None


class _Verbs(click.Group):
    command_class = _Verb

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise unknown("command", args[0], self.commands)
        return super().resolve_command(ctx, args)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="hardplace")
def app() -> None:
    """Which accelerator, and which placement of a model on many of them, trains fastest within a budget.

    \b
    hardplace search llama2-7b     search 29,360 chips and all plans; with a certificate
    hardplace schedule llama2-7b --chip 8x128x128-2x128-128MiB
                                   one layer on the cores of one chip
    hardplace models               list the models that ship with the package
    hardplace show t5-large        one model's graph: layers, operators by cost, a drawing
    hardplace chip h100-sxm        one chip: area, power, peaks, cost; without a name, the catalogue
    hardplace describe gemmini --network resnet-50   an accelerator from its description: mapping and cycles
    hardplace estimate llama2-7b --operators --on tpu-v4   every kernel on a chip
    hardplace estimate llama2-7b --plan plan.json   what a plan costs
    hardplace place llama2-7b --device h100-sxm --devices 64 --batch 512   the ten best plans
    hardplace export plan.json --to megatron   a plan as a trainer's flags or configuration, with its launchers
    hardplace run plan.json --model my_model:tiny   a plan applied to a module, held against its prediction
    hardplace audit llama2-7b --device h100-sxm   every GEMM of a step, and the rules of shapes
    hardplace shape llama2-7b --device h100-sxm   shapes of the same size that train faster
    hardplace replan plan.json --lost 4080-4095   the best plan to go on with after a change
    hardplace split graph.json --device cpu --device gpu   operators over unlike devices
    hardplace tables dlrm.json   embedding tables on many devices
    hardplace chips                list the space of chips, the settings and the chips to compare with
    hardplace verify llama2-7b     write a script that times a model's kernels on your GPU
    hardplace calibrate X.csv      fit the GPU model to what the script measured
    hardplace validate gemm X.csv  compare the GPU model with measurements
    hardplace validate             published training runs: predicted, measured, error
    """
