"""The measured step of a run as a row of a table of runs, which `anchor` takes where the device is of the catalogue."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hardplace.cost.layers.recognise import decoder_of
from hardplace.csv_table import parse
from hardplace.errors import BadInput
from hardplace.files import read_text, write_text
from hardplace.plans.plan import Plan
from hardplace.plans.published.nodes import DEVICES
from hardplace.plans.published.row_shapes import mixture_told
from hardplace.plans.published.rows import COLUMNS, STATED
from hardplace.plans.stage_sizes import stage_layers
from hardplace.run.types import RunResult
from hardplace.workload.decoder import DecoderShape
from hardplace.workload.types import Workload

# What changes a step and no column says: a row would be read as another plan.
_UNTOLD = ("schedule", "assignment", "order", "recompute_modules")
_COLUMNS = (*COLUMNS[:2], "model", *COLUMNS[2:], "devices_per_node", "note", *STATED)


def device_of(title: str) -> str:
    """Return the name of a device in tables of runs for the one that torch gives it; that one itself where none fits.

    >>> device_of("NVIDIA H100 80GB HBM3"), device_of("NVIDIA A100-SXM4-80GB"), device_of("cpu")
    ('H100-80GB', 'A100-80GB', 'cpu')
    """
    words = set(re.findall(r"\w+", title))
    fitting = [name for name in DEVICES if set(re.findall(r"\w+", name)) <= words]
    return max(fitting, key=len, default=title)


def shape_told(workload: Workload, plan: Plan) -> DecoderShape:
    """Return the shape that a row gives; BadInput for a module that is no decoder, and for a plan that no row says."""
    shape = decoder_of(workload)
    if shape is None:
        raise BadInput(f"{workload.name}: no decoder: a table of runs has columns of decoders alone")
    usual = Plan(global_batch=1)
    odd = [name for name in _UNTOLD if getattr(plan, name) != getattr(usual, name)]
    if plan.stages and plan.stages != stage_layers(shape.layers, replace(plan, stages=())):
        odd.append("stages")
    for name in odd:
        value = getattr(plan, name)
        told = "-".join(map(str, value)) if isinstance(value, tuple) else value
        raise BadInput(name, told, "the usual one: a table of runs has no column for another")
    return shape


def measured_row(
    name: str, workload: Workload, plan: Plan, found: RunResult, device: str, devices_per_node: int
) -> dict[str, str]:
    """Return a run as a row of a table of runs.

    Args:
        name: Name of the row, which no other row has.
        workload: Recording of the module, a decoder.
        plan: The plan, as it ran.
        found: The run.
        device: What torch calls the device, or "cpu".
        devices_per_node: Ranks on a node.

    Raises:
        BadInput: As `shape_told` does.
    """
    shape = shape_told(workload, plan)
    row = dict.fromkeys(_COLUMNS, "")
    zero = f"{plan.zero} (divided over {plan.shard} only)" if plan.shard else plan.zero
    some = f"full({plan.recompute_layers}/{-(-shape.layers // plan.pipeline)} layers)"
    again = some if plan.recompute_layers else plan.recompute
    gathered = "; keys and values gathered over the context ranks" if plan.context > 1 else ""
    values: Mapping[str, object] = {
        "id": name, "source": "hardplace run", "model": workload.name, "layers": shape.layers, "hidden": shape.hidden,
        "heads": shape.heads, "kv_heads": shape.kv_heads, "head_dim": shape.head_dim, "ffn": shape.ffn,
        "gated_mlp": int(shape.gated), "vocab": shape.vocab, "seq": shape.sequence, "precision": plan.precision,
        "device": device_of(device), "devices": plan.devices, "devices_per_node": devices_per_node, "tp": plan.tensor,
        "pp": plan.pipeline, "vpp": plan.virtual, "dp": plan.data, "cp": plan.context, "ep": plan.expert,
        "zero_stage/fsdp": zero, "sp": int(plan.sequence), "recompute": again,
        "flash_attention": int(plan.flash), "micro_batch": plan.micro_batch, "global_batch": plan.global_batch,
        "moe": mixture_told(shape), "target_iter_s": f"{found.step_s:.6g}", "software": plan.software or "fsdp-eager",
        "note": f"measured by hardplace run in fp32{gathered}", "grade": "A", "split": "own",
    }  # fmt: skip
    return row | {column: str(value) for column, value in values.items()}


def append_row(path: Path, row: Mapping[str, str]) -> None:
    """Add a row to a table of runs, which is made where it is not there; BadInput for a table of other columns."""
    rows: list[Mapping[str, str]] = []
    if path.exists():
        table = parse(read_text(path), str(path))
        if set(table.columns) != set(_COLUMNS):
            odd = sorted(set(table.columns) ^ set(_COLUMNS))
            raise BadInput(f"{path}: columns {', '.join(odd[:5])}: expected the columns that run writes, or a new file")
        rows = [dict(zip(table.columns, cells, strict=True)) for cells in table.rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*rows, {**row, "id": f"{row['id']}-{len(rows) + 1}"}])
    write_text(path, text.getvalue())
