"""What MaxText's arguments in a run's note say: what remat_policy keeps of a layer, and so which modules run again, and
over which axes of the mesh weights are sharded.

MaxText names a layer's tensors; a policy keeps some on the device or in host memory, `custom` the ones that the run
lists (docs/guides/optimization/benchmark_and_performance.md of AI-Hypercomputer/maxtext@018116f, Apache-2.0; its
policies' names say what they save). The layer's input is always there. docs/model-training.md, section 5.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from hardplace.cost.layers.software import MINIMAL, MINIMAL_WITH_CONTEXT, SAVE_ATTENTION

_QKV = frozenset({"query_proj", "key_proj", "value_proj"})
_OUT, _CONTEXT, _UP, _DOWN = "out_proj", "context", "mlpwi", "mlpwo"
_KEPT = {
    "save_dot_except_mlpwi": _QKV | {_OUT, _DOWN},
    "save_dot_except_mlp": _QKV | {_OUT},
    "save_qkv_proj": _QKV,
    "qkv_proj_offloaded": _QKV,
    "save_out_proj": frozenset({_OUT}),
}
# And those whose modules the software knows, JAX's and Paxml's policies of products without a batch dimension too.
_KNOWN = (
    ("save_dot_with_context_except_mlp", SAVE_ATTENTION),
    ("minimal_with_context", MINIMAL_WITH_CONTEXT),
    ("minimal_flash", MINIMAL_WITH_CONTEXT),
    ("with_no_batch_dim", MINIMAL),
    ("minimal", MINIMAL),
)
_AXIS = re.compile(r"\bici_(\w+)_parallelism=(-?\d+)")  # -1: what the other axes leave
_POLICY = re.compile(r"remat[_ ]policy[ =]*(\w+)")
_PLACED = re.compile(r"\b(\w+)=(?:device|offload)\b")
_LISTED = re.compile(r"keep/offload ([\w+]+)")


def modules_of_policy(row: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the modules that a row's policy computes again, as minimal's where it is not known; None: it names none.

    Keys and values are not told from queries.
    """
    note = row.get("note", "")
    said = _POLICY.search(note)
    name = said[1] if said else ""
    text = f"{row['recompute']} {note}"
    listed = _LISTED.search(row["recompute"])
    if listed or name == "custom":
        kept = set(_PLACED.findall(note)) | set(listed[1].split("+") if listed else ())
        return _without(frozenset(kept))
    known = next((modules for one, modules in _KNOWN if one in text), None)
    some = next((_without(kept) for one, kept in _KEPT.items() if one in text), None)
    return known or some or (MINIMAL if said else None)


def _without(kept: frozenset[str]) -> tuple[str, ...]:
    """Return the modules that run again where these tensors are kept."""
    found = ["layernorm"]
    if not kept >= _QKV:
        found.append("qkv_proj")
    found += [name for name in (_CONTEXT, _OUT) if name not in kept]
    if {_UP, _UP + "_0"} & kept:
        return (*found, "mlp_act")
    return (*found, "mlp", "moe_up" if _DOWN in kept else "moe")


def inputs_offloaded(row: Mapping[str, str]) -> bool:
    """Return whether a row's layers wait in host memory with what else they keep."""
    return "layer input offloaded" in row["recompute"] or "decoder_layer_input=offload" in row.get("note", "")


def sharding_of_mesh(row: Mapping[str, str], replicas: int) -> tuple[int, int] | None:
    """Return ZeRO's stage and the replicas that it shards over by the mesh in a row's note; None: it names no axis of
    FSDP. A device of the mesh may be a part of a chip, so sizes are taken over one another."""
    axes = {name: int(size) for name, size in _AXIS.findall(row.get("note", ""))}
    sizes = [axes[name] for name in ("fsdp", "fsdp_transpose") if name in axes]
    if not sizes or (max(map(abs, sizes)) == 1 and -1 not in sizes):
        return None
    data = axes.get("data", 1)
    if data < 0:
        data = max(1, replicas // math.prod(sizes))
    return 3, replicas // data if data > 1 else 0
