"""The command line: one module a verb; heavy imports happen within the verbs."""

from __future__ import annotations

import sys

import click

from hardplace.cli import (
    audit,
    calibrate,
    chip,
    chips,
    compare,
    estimate,
    models,
    place,
    replan,
    runs,
    schedule,
    search,
    shape,
    show,
    trace,
    validate,
    validate_training,
    verify,
)
from hardplace.cli.app import BAD_INPUT, DEFECT, INTERRUPTED, app
from hardplace.errors import BadInput, Contradiction

__all__ = [
    "audit",
    "calibrate",
    "chip",
    "chips",
    "compare",
    "estimate",
    "main",
    "models",
    "place",
    "replan",
    "runs",
    "schedule",
    "search",
    "shape",
    "show",
    "trace",
    "validate",
    "validate_training",
    "verify",
]


def main() -> None:
    """Run the command line; every error ends in one line on standard error."""
    try:
        app(prog_name="hardplace", standalone_mode=False)
    except BadInput as problem:
        click.echo(f"hardplace: {problem}", err=True)
        sys.exit(BAD_INPUT)
    except Contradiction as problem:
        click.echo(f"hardplace: {problem}: a defect of hardplace, so no answer is given; please report it", err=True)
        sys.exit(DEFECT)
    except click.exceptions.NoArgsIsHelpError as problem:
        click.echo(problem.format_message())
    except click.ClickException as problem:
        click.echo(f"hardplace: {problem.format_message()}", err=True)
        sys.exit(BAD_INPUT)
    except (KeyboardInterrupt, click.Abort):
        click.echo("hardplace: interrupted before a first answer", err=True)
        sys.exit(INTERRUPTED)
    except OSError as problem:
        click.echo(f"hardplace: {problem.filename}: {problem.strerror}", err=True)
        sys.exit(BAD_INPUT)
