"""`hardplace compare`: other ways to search, beside the certified one."""

from __future__ import annotations

from pathlib import Path

import click

from hardplace.cli import folders, options
from hardplace.cli.app import INFEASIBLE, app
from hardplace.cli.printing import give, say, say_json
from hardplace.errors import unknown

_GAP = 0.001  # of the certified search


@app.command()
@click.argument("model")
@options.setting
@options.area
@options.devices
@options.batch
@click.option("--strategy", "strategies", multiple=True, help="phaze, wham, bayesian or random.  [default: all four]")
@options.seconds("Seconds for each strategy.  [default: 30, or none with --evaluations]")
@click.option(
    "--evaluations",
    "limit_evaluations",
    type=click.IntRange(min=1),
    help="Exact evaluations (a chip with a plan family each) for each strategy.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of bayesian and random.")
@options.folder("Folder.  [default: hardplace-out/MODEL, MODEL-2, ...]")
@options.as_json
def compare(
    model: str,
    setting_name: str,
    area_mm2: float | None,
    devices: int,
    batch: int,
    strategies: tuple[str, ...],
    limit_s: float | None,
    limit_evaluations: int | None,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Search the space of MODEL with PHAZE's, WHAM's, Bayesian and random search, and with the certified one.

    All use the same cost model and exact evaluations; each strategy has the same budget. The certified search runs to
    its proof. Writes compare.json and compare.html (the best found over time).
    """
    from dataclasses import replace

    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.cli.goal import Asking, area_limit, question_of
    from hardplace.cli.search import choices_of
    from hardplace.design.partition.types import Infeasible
    from hardplace.design.strategies.compare import STRATEGIES
    from hardplace.design.strategies.compare import compare as compared
    from hardplace.files import write, write_text
    from hardplace.hardware.settings import setting as named
    from hardplace.hardware.settings import with_devices
    from hardplace.report.compare import page, show
    from hardplace.report.terminal import infeasible_line
    from hardplace.workload.load import load

    for name in strategies:
        if name not in STRATEGIES:
            raise unknown("strategy", name, STRATEGIES)
    setting = replace(with_devices(named(setting_name), devices), batch_samples=batch)
    workload = load(model)
    question = question_of(
        (workload,), setting, choices_of(setting, (), (), (), ()), Asking(limits=area_limit(area_mm2))
    )
    if limit_s is None and limit_evaluations is None:
        limit_s = 30.0
    strategies = strategies or tuple(STRATEGIES)
    folders.check_writable(out)
    comparison = compared(
        question,
        strategies,
        StoppingRule(gap=_GAP, limit_s=limit_s, evaluations=limit_evaluations),
        seed=seed,
        report=lambda name: say(f"{name} ...", err=True),
    )
    if isinstance(comparison, Infeasible):
        say(f"infeasible: {workload.name}: {infeasible_line(comparison)}", err=True)
        raise SystemExit(INFEASIBLE)
    drawn = page(comparison)

    def keep() -> None:
        folder = folders.folder_of(workload.name, out)
        write(folder / "compare.json", comparison)
        write_text(folder / "compare.html", drawn)
        if not as_json:
            say(f"\nwritten: {folder / 'compare.json'}, {folder / 'compare.html'} (open it in a browser)")

    give(lambda: say_json(comparison) if as_json else show(comparison), keep)
