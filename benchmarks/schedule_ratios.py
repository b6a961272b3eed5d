"""Print what pipeline schedules gain over 1F1B, published and predicted.

    python benchmarks/schedule_ratios.py

Of schedules.csv (Zero Bubble), and of AMD's Primus in runs-2026b.csv, which states neither batch nor micro-batch:
priced with one sample a micro-batch and as many micro-batches as the option says. benchmarks/write_validation.py puts
them into docs/validation.md.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from hardplace.csv_table import parse
from hardplace.plans.fleet import Pricers
from hardplace.plans.published.rows import rows_of
from hardplace.plans.published.runs import spelled
from hardplace.plans.published.scores import RunScore, score

FOLDER = Path(__file__).parent.parent / "validation/training"
TITLE = "**Schedules against 1F1B of the same run (schedules.csv; Primus of runs-2026b.csv), that no fit has seen**"
MICRO_BATCHES = 32  # of a replica in Primus' runs, judged: the model is nearest there to interleaved 1F1B and ZB-H1
SIDES = ("rate published", "model", "memory published", "model")
Row = Mapping[str, str]
Scored = tuple[Row, RunScore]


def rows(name: str) -> list[dict[str, str]]:
    """Return the rows of a table of runs."""
    path = FOLDER / name
    return rows_of(parse(path.read_text(), str(path)))


def line(cells: Sequence[str]) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(cells)} |"


def named(row: Row) -> str:
    """Return a row's schedule with its chunks."""
    chunks = int(float(row["vpp"] or 1))
    return f"{row['schedule']}, {chunks} chunks" if row["schedule"] == "1f1b" and chunks > 1 else row["schedule"]


def ratios(one: Scored, base: Scored) -> tuple[float, ...]:
    """Return samples/s and memory of a run over those of 1F1B: published, predicted, published, predicted."""
    (row, run), (of, other) = one, base
    seconds, bytes_ = (run.predicted_s, other.predicted_s), (run.memory_gib, other.memory_gib)
    if None in seconds or None in bytes_:
        raise SystemExit(f"{row['id']}: {run.not_modelled or other.not_modelled}")
    faster = (seconds[1] or 0.0) / (seconds[0] or 1.0)
    fuller = (bytes_[0] or 0.0) / (bytes_[1] or 1.0)
    said = float(of["target_iter_s"]) / float(row["target_iter_s"]), float(row["memory_gb"]) / float(of["memory_gb"])
    return said[0], faster, said[1], fuller


def listed(values: Sequence[float]) -> str:
    """Return numbers for a cell, once where they are the same."""
    texts = [f"{one:.2f}" for one in values]
    return texts[0] if len(set(texts)) == 1 else ", ".join(texts)


def zero_bubble(known: Pricers) -> tuple[list[str], list[tuple[float, ...]]]:
    """Return lines of a table of schedules.csv, and all its ratios."""
    lines, every = [], []
    scored = [(row, score(row, known)) for row in rows("schedules.csv")]
    for (source, model, devices, size), group in groupby(
        scored, lambda one: tuple(one[0][name] for name in ("source", "model", "devices", "micro_batch"))
    ):
        runs, table = list(group), re.search(r"table (\d)", source)
        bases = {row["global_batch"]: (row, one) for row, one in runs if named(row) == "1f1b"}
        for schedule in dict.fromkeys(named(row) for row, _ in runs if named(row) != "1f1b"):
            own = [(row, one) for row, one in runs if named(row) == schedule]
            found = [ratios(one, bases[one[0]["global_batch"]]) for one in own]
            counts = ", ".join(str(int(row["global_batch"]) // int(size)) for row, _ in own)
            cells = (table[1] if table else "", model, devices, size, counts, schedule)
            lines.append(line([*cells, *map(listed, zip(*found, strict=True))]))
            every += found
    return lines, every


def primus(micro_batches: int, known: Pricers) -> list[str]:
    """Return lines of a table of Primus' runs."""
    found = []
    for row in rows("runs-2026b.csv"):
        said = re.search(r"schedule ([\w-]+)", row["note"])
        if row["id"].startswith("primus") and said:
            batch = {"micro_batch": "1", "global_batch": str(micro_batches * int(row["dp"]))}
            tokens = micro_batches * int(row["dp"]) * int(row["seq"])
            rate = float(row["tokens_per_s_per_device"]) * int(row["devices"])
            seconds = {"target_iter_s": str(tokens / rate)}
            asked = spelled(row | batch | seconds | {"schedule": said[1]})
            found.append((asked, score(asked, known)))
    lines = []
    for model, group in groupby(found, lambda one: one[0]["model"]):
        base, *others = group
        for one in others:
            cells = (model, one[0]["devices"], one[0]["device"], named(one[0]))
            lines.append(line([*cells, *(f"{side:.2f}" for side in ratios(one, base))]))
    return lines


def text(micro_batches: int = MICRO_BATCHES) -> str:
    """Return the tables."""
    known: Pricers = {}
    lines, every = zero_bubble(known)
    off = [(abs(model / said - 1.0), abs(held / kept - 1.0)) for said, model, kept, held in every]
    speed, memory = (sum(side) / len(side) for side in zip(*off, strict=True))
    return "\n".join(
        [
            TITLE,
            "",
            "Zero Bubble (Qi et al. 2024, arXiv 2401.10241, tables 4 and 6: GPT on A100, pipelines alone, sequences of "
            "1,024): samples/s and the fullest stage over those of 1F1B",
            "",
            line(["table", "model", "GPUs", "micro-batch", "micro-batches", "schedule", *SIDES]),
            "|---|---|---:|---:|---|---|---:|---:|---:|---:|",
            *lines,
            "",
            f"{len(every)} ratios: the model is {speed:.1%} off in samples/s and {memory:.1%} in memory, in the mean.",
            "",
            "Primus (AMD-AGI/Primus@fd1eeab; batch and micro-batch not stated, here "
            f"{micro_batches} micro-batches of one sample): tokens/s and memory over those of 1F1B",
            "",
            line(["model", "GPUs", "device", "schedule", *SIDES]),
            "|---|---:|---|---|---:|---:|---:|---:|",
            *primus(micro_batches, known),
            "",
        ]
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--micro-batches", type=int, default=MICRO_BATCHES, help="of a replica, in Primus' runs")
    print(text(parser.parse_args().micro_batches))


if __name__ == "__main__":
    main()
