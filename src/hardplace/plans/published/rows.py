"""The table of published training runs: its columns, checks of its cells, what a row says of its memory."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hardplace.csv_table import Table
from hardplace.errors import BadInput, unknown
from hardplace.units import GIB

COLUMNS = (
    "id",
    "source",
    "layers",
    "hidden",
    "heads",
    "kv_heads",
    "ffn",
    "gated_mlp",
    "vocab",
    "seq",
    "precision",
    "device",
    "devices",
    "intra_bw",
    "inter_bw",
    "tp",
    "pp",
    "vpp",
    "dp",
    "cp",
    "ep",
    "zero_stage/fsdp",
    "sp",
    "recompute",
    "flash_attention",
    "micro_batch",
    "global_batch",
    "memory_gb",
    "head_dim",
    "moe",
    "target_iter_s",
    "flag",
    "grade",
    "split",
)
# Of these, what no run goes without.
NEEDED = (
    *("layers", "hidden", "heads", "ffn", "gated_mlp", "vocab", "seq"),
    *("precision", "device", "devices", "tp", "pp", "global_batch"),
)
# Columns that a table may have besides: what a run states of how it was run, and what is kept for readers.
STATED = (
    *("software", "backend", "dispatcher", "graphs", "tp_overlap", "dp_overlap", "ep_overlap"),
    *("recompute_modules", "offload_layers", "context_exchange", "schedule", "fp8_recipe", "fp8_gather"),
)
_BESIDE = (
    *("model", "devices_per_node", "tflops_per_device", "mfu", "tokens_per_s_per_device", "iter_s", "note", "oom"),
    *("flops_convention", "target_basis", "calc_tflops_model_full", "calc_tflops_model_causal"),
    *("calc_tflops_source_conv", "check_ratio", "version", "year", "low_recipe", "licence"),
)
_WHOLE = (
    *("layers", "hidden", "heads", "kv_heads", "ffn", "gated_mlp", "vocab", "seq", "devices", "head_dim"),
    *("tp", "pp", "vpp", "dp", "cp", "ep", "sp", "global_batch"),
)
_MOST = 1e9  # of parts of a model, devices, samples, seconds
_NUMBERS = ("memory_gb", "target_iter_s", "micro_batch")  # MaxText's batch of a device may be part of a sequence
_BESIDE_NUMBERS = ("iter_s", "tokens_per_s_per_device")
_UNSTATED = re.compile(r"offload|recompute modules per recipe|remat policy")
_DECIMAL = re.compile(r"Megatron-Bridge@\w+ skills")  # mem-max-allocated-gigabytes of its log, unless the row says GiB


class NotModelled(Exception):
    """Why a row has no prediction."""


def whole_in(row: Mapping[str, str], column: str, default: int | None = None) -> int:
    """Return a cell's whole number from 0, `default` for an empty one.

    Raises:
        NotModelled: For a cell that is none.
    """
    text = row[column].strip()
    if not text and default is not None:
        return default
    try:
        value = float(text)
    except ValueError:
        raise NotModelled(f"{column}: {text!r}: not given as a number") from None
    if value != int(value) or value < 0:
        raise NotModelled(f"{column}: {text!r}: no whole number")
    return int(value)


def some_in(row: Mapping[str, str], column: str, default: int | None = None) -> int:
    """Return a count of what there must be one of at least; NotModelled as `whole_in`."""
    value = whole_in(row, column, default)
    if value < 1:
        raise NotModelled(f"{column}: {value}: expected at least 1")
    return value


def rows_of(table: Table) -> list[dict[str, str]]:
    """Return the rows by column name; a column that is not there is not stated in any row, an id is its line's.

    Raises:
        BadInput: For a column that no run goes without and is missing, for one that is not known (with the nearest), or
            a cell that is no such number.
    """
    if missing := [name for name in NEEDED if name not in table.columns]:
        said = f"column{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
        raise BadInput(f"{table.place}: {said}: missing; expected {', '.join(NEEDED)} at the least")
    for name in table.columns:
        if name not in (*COLUMNS, *STATED, *_BESIDE):
            raise BadInput(f"{table.place}: {unknown('column', name, (*COLUMNS, *STATED, *_BESIDE))}")
    if len(set(table.columns)) < len(table.columns):
        twice = next(name for name in table.columns if table.columns.count(name) > 1)
        raise BadInput(f"{table.place}: column {twice}: there twice: expected each column once")
    beside = [
        name for name in ("offload_layers", "devices_per_node", "year", *_BESIDE_NUMBERS) if name in table.columns
    ]
    for column in (*(name for name in (*_WHOLE, *_NUMBERS) if name in table.columns), *beside):
        for index, text in enumerate(table.texts(column)):
            whole = column not in (*_NUMBERS, *_BESIDE_NUMBERS)
            if not _is_number(text, whole=whole):
                expected = "a whole number" if whole else "a number"
                expected = f"{expected} from 0, or an empty cell (and none above {_MOST:g})"
                raise BadInput(f"{table.where(index, column)}: {text!r}: expected {expected}")
    empty = dict.fromkeys(COLUMNS, "")
    return [
        empty | {"id": f"line {line}"} | dict(zip(table.columns, row, strict=True))
        for line, row in zip(table.lines, table.rows, strict=True)
    ]


def _is_number(text: str, *, whole: bool) -> bool:
    """Return whether a cell is empty or a finite number from 0."""
    try:
        value = float(text or 0)
    except ValueError:
        return False
    return 0.0 <= value < _MOST and (not whole or value == int(value))


_ALIASES = {"aws-neuron-sdk": "github.com/aws-neuron/aws-neuron-sdk"}  # names that tables have of one source


def source_of(row: Mapping[str, str]) -> str:
    """Return where a run was published: the repository or the document, one source whatever its commit or release."""
    name = re.sub(r"@.*|/[\d.]+$", "", row["source"].split(" ")[0])
    return _ALIASES.get(name, name)


def measured_s(row: Mapping[str, str]) -> float | None:
    """Return the measured seconds of a row's step: its target, else its iteration, else what its tokens a second say;
    None where it has none of these."""
    for column in ("target_iter_s", "iter_s"):
        if value := _positive(row.get(column, "")):
            return value
    each, batch = _positive(row.get("tokens_per_s_per_device", "")), _positive(row["global_batch"])
    sequence, devices = _positive(row["seq"]), _positive(row["devices"])
    return batch * sequence / (each * devices) if each and batch and sequence and devices else None


def _positive(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0.0 < value < _MOST else None


def published_bytes(row: Mapping[str, str]) -> float:
    """Return the measured memory of a row; 0: none was published. Megatron Core logs decimal GB, the others GiB."""
    decimal = _DECIMAL.search(row["source"]) and "GiB" not in row.get("note", "")
    return float(row["memory_gb"].strip() or 0.0) * (1e9 if decimal else GIB)


def memory_unstated(row: Mapping[str, str]) -> bool:
    """Return whether a row leaves out what its memory depends on: recompute, or how much is offloaded to the host.

    On TPUs, what XLA keeps: it orders kernels for memory, and its policies keep other tensors than Megatron-LM's.
    """
    if row["device"].startswith("TPU"):
        return True
    return not row["recompute"].strip() or bool(_UNSTATED.search(f"{row['recompute']} {row.get('note', '')}"))
