"""Records a training step of every model type of the installed transformers library, from a shallow default config.

python benchmarks/model_types.py [--out RESULTS.jsonl] [--part 1/8] [type ...]

Each type in a process of its own with a limit on time and memory. Results are added to RESULTS.jsonl, types that are
there already are left out. FLOPs are compared with torch's FlopCounterMode.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECONDS = 120
MEMORY_BYTES = 12 * 2**30
_DEPTHS = (
    "num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers", "depth",
    "num_encoder_layers", "num_decoder_layers", "n_encoder_layers", "n_decoder_layers", "num_blocks",
    "encoder_num_hidden_layers", "decoder_num_hidden_layers", "num_hidden_layers_per_stack",
)  # fmt: skip


def shallow(fields: dict[str, Any], layers: int) -> dict[str, Any]:
    """Return the fields of a config with at most this many layers, in every config within it too."""
    cut = {key: value for key, value in fields.items() if key in _DEPTHS and isinstance(value, int) and value > layers}
    found: dict[str, Any] = {}
    for key, value in fields.items():
        if key in ("out_features", "out_indices", "stage_names", "_out_features", "_out_indices"):
            continue  # of stages that there are no more
        if isinstance(value, dict):
            found[key] = shallow(value, layers)
        elif key in cut:
            found[key] = layers
        elif isinstance(value, list) and len(value) in cut.values() and len(value) > layers:
            found[key] = value[:layers]
        else:
            found[key] = value
    return found


def fields_of(kind: str) -> dict[str, Any]:
    """Return the fields of a type's default config, as its config.json would have them, made shallow."""
    import transformers

    config = transformers.models.auto.configuration_auto.CONFIG_MAPPING[kind]()
    fields = json.loads(json.dumps(config.to_dict(), default=str))
    lists = [value for value in fields.values() if isinstance(value, list) and value and isinstance(value[0], str)]
    mixed = any(len(set(value)) > 1 for value in lists)
    return shallow(fields, 4 if mixed else 2)


def one(kind: str) -> dict[str, Any]:
    """Return what came of a type: recorded, with its numbers, or refused, with the reason."""
    from hardplace.errors import BadInput
    from hardplace.workload.load import check
    from hardplace.workload.recording.counter import counted_flops
    from hardplace.workload.recording.huggingface import Options, step_of_config
    from hardplace.workload.recording.layers import record_workload

    start = time.perf_counter()
    try:
        fields = fields_of(kind)
    except Exception as problem:
        return {"type": kind, "outcome": "no default config", "why": f"{type(problem).__name__}: {problem}"[:300]}
    try:
        step = step_of_config(fields, "config.json", kind, Options())
        name = type(step.module).__name__
        workload = record_workload(step)
        check(workload)
    except (BadInput, ValueError) as problem:
        return {"type": kind, "outcome": "refused", "why": str(problem)[:500], "seconds": time.perf_counter() - start}
    seconds = time.perf_counter() - start
    counted: int | str
    try:
        counted = counted_flops(step, 1)
    except Exception as problem:
        counted = f"{type(problem).__name__}: {problem}"[:200]
    operators = sum(len(layer.operators) for layer in workload.layers)
    return {
        "type": kind,
        "outcome": "recorded",
        "class": name,
        "seconds": round(seconds, 1),
        "parameters": workload.parameters,
        "held": sum(workload.layers[number].parameters for number in workload.order),
        "flops": workload.flops_per_sample(),
        "counted": counted,
        "operators": operators,
    }


def forked(kind: str) -> dict[str, Any]:
    """Return what came of a type in a process of its own."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        if not os.environ.get("SWEEP_VERBOSE"):
            os.dup2(devnull, 2)
        try:
            result = one(kind)
        except BaseException as problem:  # a traceback is a finding
            import traceback

            last = traceback.extract_tb(problem.__traceback__)[-1]
            said = f"{type(problem).__name__}: {problem} ({last.filename}:{last.lineno})"
            result = {"type": kind, "outcome": "traceback", "why": said[:500]}
        os.write(write, json.dumps(result).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if text:
        return dict(json.loads(text))
    ended = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else str(status)
    return {"type": kind, "outcome": "ended", "why": f"more than {SECONDS} s of processor time ({ended})"}


def read_results(path: Path) -> dict[str, dict[str, Any]]:
    """Return the results of a file, by type."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {row["type"]: row for row in map(json.loads, lines)}


def groups() -> dict[str, str]:
    """Return what each type is to the library: of a task (a class has a head), alone, or a part of other models."""
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    heads = {one for name, types in vars(modeling_auto).items() if name.startswith("MODEL_FOR_") for one in types}
    alone = dict.fromkeys(modeling_auto.MODEL_MAPPING_NAMES, "alone")
    return {kind: "task" if kind in heads else alone.get(kind, "part") for kind in CONFIG_MAPPING_NAMES}


def types(part: str, named: list[str]) -> Iterator[str]:
    """Give the types that are asked for: those of a task first, parts of other models last."""
    if named:
        yield from named
        return
    which, of = map(int, part.split("/"))
    found = groups()
    yield from sorted(found, key=lambda kind: (("task", "alone", "part").index(found[kind]), kind))[which - 1 :: of]


def main() -> None:
    """Record types and add to the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*")
    parser.add_argument("--out", type=Path, default=Path("model-types.jsonl"))
    parser.add_argument("--part", default="1/1")
    asked = parser.parse_args()

    import logging

    import torch
    import transformers

    torch.set_num_threads(1)  # nothing is computed, and threads do not outlive a fork

    logging.disable(logging.ERROR)
    transformers.logging.set_verbosity_error()
    one("llama")  # what torch imports late is imported once, before the processes part
    done = {} if asked.types else read_results(asked.out)
    for kind in types(asked.part, asked.types):
        if kind in done:
            continue
        row = forked(kind)
        with asked.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(kind, row["outcome"], row.get("why", row.get("seconds")), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
