"""`hardplace compare`: other ways to search, beside the certified one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from hardplace.cli import folders, options
from hardplace.cli.app import app
from hardplace.cli.goal import limits_of
from hardplace.cli.printing import end_search, give_answer, say, say_written
from hardplace.cli.working import Where, options_named, search_folder, where_options


@app.command()
@click.argument("model")
@options.setting
@click.option("--objective", default="throughput", show_default=True, help="throughput or throughput-per-watt (TDP).")
@options.area
@click.option("--limit", "limits", multiple=True, metavar="NAME=VALUE", help="As for search, e.g. tdp=300W.")
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
@where_options
def compare(
    *,
    where: Where,
    model: str,
    setting_name: str,
    objective: str,
    area_mm2: float | None,
    limits: tuple[str, ...],
    devices: int,
    batch: int,
    strategies: tuple[str, ...],
    limit_s: float | None,
    limit_evaluations: int | None,
    seed: int,
    out: Path | None,
) -> None:
    """Search the space of MODEL with PHAZE's, WHAM's, Bayesian and random search, and with the certified one.

    All use the same cost model and exact evaluations; each strategy has the same limits and the same budget. The
    certified search runs until its proof is complete. Writes compare.json and compare.html (the best found over time).
    """
    from hardplace.answers import Infeasible
    from hardplace.api.search_runs import journalling, search_run
    from hardplace.api.strategies import asked_trials, compared
    from hardplace.design.exact.evaluator import in_process
    from hardplace.files import write_text
    from hardplace.report.compare import page, show

    folders.check_writable(out)
    how: dict[str, Any] = {
        "setting": setting_name, "objective": objective, "limits": limits_of(area_mm2, limits), "devices": devices,
        "batch": batch, "gap": 0.001, "seconds": limit_s, "evaluations": limit_evaluations, "seed": seed,
    }  # fmt: skip
    trials = asked_trials(model, strategies, **how)
    beside = {name: how[name] for name in ("seconds", "evaluations", "seed")}
    kept = journalling(
        trials.question, trials.ends, file="compare.sqlite", strategies=",".join(trials.strategies), **beside
    )
    folder = partial(search_folder, kept, out, where, "compare")
    with options_named(), search_run(kept, in_process(trials.question, trials.ends.gap), folder, **where.how) as work:
        comparison = compared(
            trials, {"model": model, "strategies": strategies, **how}, evaluator=work.evaluator,
            progress=lambda name: say(f"{name} ...", err=True),
        )  # fmt: skip
        if isinstance(comparison, Infeasible):
            work.journal.end(comparison)
        else:
            best = comparison.certified
            work.journal.tell(best.score, best.bound_score, best.stop)
    if isinstance(comparison, Infeasible):
        end_search(model, comparison)
    drawn = page(comparison, folders.command())

    def keep() -> None:
        folder = work.folder
        comparison.save(folder / "compare.json")
        write_text(folder / "compare.html", drawn)
        say_written(f"{folder / 'compare.json'}, {folder / 'compare.html'} (open it in a browser)")

    give_answer(comparison, show, keep)
