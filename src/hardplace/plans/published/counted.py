"""What the published memory of a run counts: torch's allocator, or a tool of the machine.

docs/model-training.md, section 5.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from hardplace.hardware.catalogue import device as device_named
from hardplace.plans.memory import StageMemory
from hardplace.plans.published.nodes import DEVICES

_FIRST = re.compile(r"memory: max allocated of rank 0")  # whose stage is the first
# By the source, or as the note says it.
_ALLOCATED = re.compile(
    r"SimuMax|dlrover|Megatron-Bridge@\w+ skills|max_memory_allocated|(?:max|largest|peak) allocated"
)
_RESERVED = re.compile(r"torchtitan|max_memory_reserved|(?:max|largest|peak) reserved")
# What the device's tool shows of a run of Megatron's on A100 and later beside what torch's allocator gave out, in share
# and bytes: what BLOOM's runs have, whose memory is that tool's too.
_SHOWN = re.compile(r"nvidia-smi|FlagPerf@\w+ training/nvidia")
_MEGATRON = re.compile(r"megatron|NeMo", re.IGNORECASE)
_SHOWN_SHARE, _SHOWN_BYTES = 0.2, 6e9


def as_counted(row: Mapping[str, str], memory: StageMemory) -> float:
    """Return a stage's bytes as the row's source counts them: what torch's allocator gave out, what it reserved, or all
    that the device's tool shows as used, of Megatron's runs cached blocks and communicators too, at most its memory."""
    said = f"{row['source']} {row.get('note', '')}"
    if _RESERVED.search(said):
        return memory.reserved_bytes
    if _ALLOCATED.search(said):
        return memory.allocated_bytes
    old = row["device"].startswith("V100") or memory.reserve_bytes >= _SHOWN_BYTES
    if old or not _SHOWN.search(said) or not _MEGATRON.search(f"{row['source']} {row.get('software', '')}"):
        return memory.total_bytes
    most = device_named(DEVICES[row["device"]][0]).memory_bytes if row["device"] in DEVICES else math.inf
    return max(memory.total_bytes, min(most, (1.0 + _SHOWN_SHARE) * memory.allocated_bytes + _SHOWN_BYTES))


def fullest_bytes(row: Mapping[str, str], stages: Sequence[StageMemory]) -> float:
    """Return the bytes of the fullest stage (`as_counted`), or of the one that a row's source measured."""
    counted = [as_counted(row, one) for one in stages]
    return counted[0] if _FIRST.search(row.get("note", "")) else max(counted)
