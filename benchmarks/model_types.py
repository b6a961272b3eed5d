"""Records a training step of every model type of the installed transformers library, from a shallow default config.

python -m benchmarks.model_types [--table validation/model_types.csv] [--part 1/2] [--screen] [--again] [type ...]

Each type in a process of its own with a limit on processor time and memory. A row a type is added to the table; types
that are there already are left out, unless they are named or --again redoes what is not recorded. FLOPs are compared
with torch's FlopCounterMode. --screen runs one pass of each model and records nothing. At the end the summary of
docs/validation-models.md is written anew.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import json
import os
import resource
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

LIMIT_S = 90  # of processor time
MEMORY_BYTES = 12 * 2**30
_TABLE = Path("validation/model_types.csv")
# What default configs lack; which of it was looked up says docs/validation-models.md.
_FIELDS = Path("validation/model_type_fields.json")
_DOCUMENT = Path("docs/validation-models.md")
_MARKS = ("<!-- written by benchmarks.model_types -->", "<!-- end -->")
_UNTRAINED = (  # what the library says of what it does not make or does not train
    "the model library refuses this config", "does not support training", "is not trainable",
    "Training of VITS is not supported", "has no forward pass of its own",
)  # fmt: skip
COLUMNS = ("type", "of", "class", "dtype", "outcome", "whose", "reason", "parameters", "flops", "counted", "cpu_s")
_DEPTHS = (
    "num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers", "depth",
    "num_encoder_layers", "num_decoder_layers", "n_encoder_layers", "n_decoder_layers", "num_blocks",
    "encoder_num_hidden_layers", "decoder_num_hidden_layers", "num_hidden_layers_per_stack",
)  # fmt: skip
Row = dict[str, Any]


def shallow(fields: dict[str, Any], layers: int) -> dict[str, Any]:
    """Return the fields of a config with at most this many layers, in every config within it too."""
    cut = {key: value for key, value in fields.items() if key in _DEPTHS and isinstance(value, int) and value > layers}
    found: dict[str, Any] = {}
    for key, value in fields.items():
        if cut and key in ("out_features", "out_indices", "stage_names", "_out_features", "_out_indices"):
            continue  # of stages that there are no more
        if key == "per_layer_config" and isinstance(value, dict):
            found[key] = {number: one for number, one in value.items() if int(number) < layers}
        elif isinstance(value, dict):
            found[key] = shallow(value, layers)
        elif key in cut:
            found[key] = layers
        elif isinstance(value, list) and len(value) in cut.values() and len(value) > layers:
            found[key] = value[:layers]
        else:
            found[key] = value
    return found


def fields_of(kind: str, *, whole: bool = False) -> dict[str, Any]:
    """Return the fields of a type's default config, as its config.json would have them, made shallow or whole."""
    import transformers

    given = json.loads(_FIELDS.read_text()).get(kind, {})
    inner = {key: value for key, value in given.items() if isinstance(value, dict)}
    made = transformers.models.auto.configuration_auto.CONFIG_MAPPING[kind]
    try:
        config = made()
    except ValueError:  # a default config that the library refuses, as it does not what is given
        config = made(**inner)
    fields = json.loads(json.dumps(config.to_dict(), default=str))
    if dict(fields.get("backbone_config") or {}).get("model_type") == "timm_backbone":  # of another library
        stages = ["stage1", "stage2", "stage3", "stage4"]
        fields["backbone_config"] = {"model_type": "resnet", "out_features": stages[-max(1, _levels(fields)) :]}
    for key in ("image_token_id", "image_token_index", "video_token_id", "video_token_index"):
        if key in fields and fields[key] is None:
            fields[key] = 9  # a model with images has one; its own default config does not say which
    lists = [value for value in fields.values() if isinstance(value, list) and value and isinstance(value[0], str)]
    mixed = any(len(set(value)) > 1 for value in lists)
    return merged(fields if whole else shallow(fields, 4 if mixed else 2), given)


def merged(fields: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a config with those that are given, also within configs within it."""
    return fields | {
        key: merged(fields[key], value) if isinstance(value, dict) and isinstance(fields.get(key), dict) else value
        for key, value in given.items()
    }


def _levels(fields: dict[str, Any]) -> int:
    """Return how many feature maps a detector takes from its backbone."""
    inner = dict(fields.get("backbone_config") or {})
    return len(inner.get("out_indices") or inner.get("out_features") or [4])


def result_of(kind: str, screen: bool) -> Row:
    """Return what came of a type: recorded, with its numbers, or refused, with the reason."""
    import torch

    try:
        fields = fields_of(kind)
    except Exception as problem:
        return {"outcome": "no default config", "reason": f"{type(problem).__name__}: {problem}"}
    found: Row = recorded_in(torch.bfloat16, fields, kind, screen)
    only_fp32 = ("torch multiplies one type", "Unsupported dtype BFloat16")
    if any(one in str(found.get("reason")) for one in only_fp32):  # of some models' own code, and of torch's
        found = recorded_in(torch.float32, fields, kind, screen)
    if found["outcome"] == "refused":
        whole = recorded_in(torch.bfloat16, fields_of(kind, whole=True), kind, screen)  # what takes all its layers
        found = whole if whole["outcome"] in ("recorded", "runs") else found
    return found


def recorded_in(dtype: torch.dtype, fields: dict[str, Any], kind: str, screen: bool) -> Row:
    """Return what came of a config with parameters of a type."""
    from hardplace.errors import BadInput
    from hardplace.workload.load import check
    from hardplace.workload.recording.counter import counted_flops
    from hardplace.workload.recording.huggingface import Options, step_of_config
    from hardplace.workload.recording.layers import record_workload
    from hardplace.workload.recording.step import first_that_runs

    row: Row = {"outcome": "refused", "dtype": str(dtype).removeprefix("torch.")}
    try:
        step = step_of_config(fields, "config.json", kind, Options(dtype=dtype))
        row["class"] = type(step.module).__name__
        if screen:
            first_that_runs(step, 11)
            return row | {"outcome": "runs"}
        workload = record_workload(step)
        check(workload)
    except (BadInput, ValueError) as problem:
        return row | {"reason": str(problem)}
    row |= {"outcome": "recorded", "parameters": workload.parameters, "flops": workload.flops_per_sample()}
    for samples in (1, 2):  # a batch norm refuses one value a channel
        try:
            return row | {"counted": counted_flops(step, samples) // samples, "reason": ""}
        except Exception as problem:
            row["reason"] = f"counter: {type(problem).__name__}: {problem}"
    return row


def forked(kind: str, screen: bool) -> Row:
    """Return what came of a type in a process of its own."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_S, LIMIT_S))
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        if not os.environ.get("SWEEP_VERBOSE"):
            os.dup2(devnull, 2)
        try:
            result = result_of(kind, screen)
        except BaseException as problem:  # a traceback is a finding
            import traceback

            last = traceback.extract_tb(problem.__traceback__)[-1]
            said = f"{type(problem).__name__}: {problem} ({Path(last.filename).name}:{last.lineno})"
            result = {"outcome": "traceback", "reason": said}
        used = resource.getrusage(resource.RUSAGE_SELF)
        result["cpu_s"] = round(used.ru_utime + used.ru_stime, 1)
        os.write(write, json.dumps(result).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if text:
        return dict(json.loads(text))
    ended = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else str(status)
    return {"outcome": "ended", "reason": f"more than {LIMIT_S} s of processor time ({ended})", "cpu_s": LIMIT_S}


def whose(row: Row) -> str:
    """Return whose a reason is: the library's (its default config makes no model that runs), the model's (its shapes
    follow from values, which a recording without them cannot have), or ours; nothing for what is recorded."""
    reason = str(row["reason"])
    if row["outcome"] in ("recorded", "runs"):
        return ""
    if row["outcome"] == "no default config" or any(one in reason for one in _UNTRAINED):
        return "library"
    return "model" if "depends on the values of a tensor" in reason else "ours"


def groups() -> dict[str, str]:
    """Return what each type is to the library: of a task (a class has a head), alone, or a part of other models."""
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    heads = {one for name, types in vars(modeling_auto).items() if name.startswith("MODEL_FOR_") for one in types}
    alone = dict.fromkeys(modeling_auto.MODEL_MAPPING_NAMES, "alone")
    return {kind: "task" if kind in heads else alone.get(kind, "part") for kind in CONFIG_MAPPING_NAMES}


def read_table(path: Path) -> dict[str, Row]:
    """Return the rows of a table, by type."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {row["type"]: dict(row) for row in csv.DictReader(file)}


def add_row(path: Path, row: Row) -> dict[str, Row]:
    """Add a row to a table, or put it in the place of its type's, and return all; others may add theirs meanwhile."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = read_table(path) | {row["type"]: row}
        beside = path.with_suffix(".part")
        with beside.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows[kind] for kind in sorted(rows))
        beside.replace(path)
    return rows


def write_summary(rows: list[Row], document: Path) -> None:
    """Write the tables of outcomes and reasons between the marks of a document."""
    before, _, rest = document.read_text().partition(_MARKS[0])
    _, _, after = rest.partition(_MARKS[1])
    text = "\n".join(["", *summary(rows), "", *reasons(rows), ""])
    document.write_text(f"{before}{_MARKS[0]}{text}{_MARKS[1]}{after}")


def reasons(rows: list[Row]) -> list[str]:
    """Return the lines of the table of refusals, those of one reason together."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["whose"]:
            reason = str(row["reason"]).removeprefix("config.json: ").removeprefix("module (the model itself): ")
            reason = reason.partition("; expected a model")[0].partition(": its result depends")[0]
            found.setdefault((row["whose"], reason[:140].replace("|", "/")), []).append(row["type"])
    lines = ["| whose | reason | types |", "|---|---|---|"]
    ordered = sorted(found.items(), key=lambda one: (one[0][0], -len(one[1]), one[0][1]))
    return lines + [f"| {who} | {why} | {', '.join(kinds)} |" for (who, why), kinds in ordered]


def summary(rows: list[Row]) -> list[str]:
    """Return the lines of the table of outcomes."""
    every = Counter(groups().values())
    lines = [
        "| types tried, of all | recorded | of them FLOPs equal | refused: ours | the model's | the library's |",
        "|" + "---|" * 6,
    ]
    for of, text in (("task", "of a task"), ("alone", "without a head"), ("part", "parts of others")):
        some = [row for row in rows if row["of"] == of]
        if not some:
            continue
        recorded = [row for row in some if row["outcome"] == "recorded"]
        equal = sum(str(row["flops"]) == str(row["counted"]) for row in recorded)
        by = Counter(row["whose"] for row in some)
        whole = len(some) == every[of]
        share = f", {len(recorded) / len(some):.1%}".replace("%", " %") if whole else ""
        counts = " | ".join(str(by[one]) for one in ("ours", "model", "library"))
        lines.append(f"| {text}: {len(some)} of {every[of]} | {len(recorded)}{share} | {equal} | {counts} |")
    tasks = [row for row in rows if row["of"] == "task" and row["whose"] != "library"]
    if tasks and len([row for row in rows if row["of"] == "task"]) == every["task"]:
        recorded = [row for row in tasks if row["outcome"] == "recorded"]
        share = f"{len(recorded) / len(tasks):.1%}".replace("%", " %")
        lines += [
            "",
            f"Of the {len(tasks)} types of a task whose own class the library can make and trains, {len(recorded)} are "
            f"recorded: {share}.",
        ]
    if left := sum(every[of] for of in ("task", "alone")) - len(rows):
        lines += [
            "",
            f"The run is not finished: {left} types are still to be tried, those that were refused once among them.",
        ]
    return lines


def main() -> None:
    """Record types, add to the table and write the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*")
    parser.add_argument("--table", type=Path, default=_TABLE)
    parser.add_argument("--of", default="task,alone")
    parser.add_argument("--part", default="1/1")
    parser.add_argument("--screen", action="store_true")
    parser.add_argument("--again", action="store_true")
    asked = parser.parse_args()

    import logging

    import torch
    import transformers

    torch.set_num_threads(1)  # nothing is computed, and threads do not outlive a fork
    logging.disable(logging.ERROR)
    transformers.logging.set_verbosity_error()
    result_of("llama", asked.screen)  # what torch imports late is imported once, before the processes part
    rows, of = read_table(asked.table), groups()
    done = {kind for kind, row in rows.items() if row["outcome"] in ("recorded", "runs") or not asked.again}
    wanted = asked.types or [kind for kind in of if of[kind] in asked.of.split(",") and kind not in done]
    part, parts = map(int, asked.part.split("/"))
    for kind in sorted(wanted[part - 1 :: parts], key=lambda kind: (("task", "alone", "part").index(of[kind]), kind)):
        row = dict.fromkeys(COLUMNS, "") | {"type": kind, "of": of[kind]} | forked(kind, asked.screen)
        row["reason"] = " ".join(str(row["reason"]).split())[:300]
        rows = add_row(asked.table, row | {"whose": whose(row)})
        print(kind, row["outcome"], row["cpu_s"], row["reason"], file=sys.stderr, flush=True)
    print("\n".join(summary(list(rows.values()))))
    if not asked.screen and asked.table.resolve() == _TABLE.resolve():
        write_summary(list(rows.values()), _DOCUMENT)


if __name__ == "__main__":
    main()
