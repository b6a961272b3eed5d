"""The spaces of chips that ship with the package, and the reading of a user's own ones (TOML; docs/formats.md)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hardplace.errors import BadInput, unknown
from hardplace.files import read
from hardplace.hardware import phaze
from hardplace.hardware.chip_pricer import Preset
from hardplace.hardware.space import ChipSpace, MemoryChoice
from hardplace.hardware.technology import BITS, MEMORY_MM2_PER_STACK, NODES, technology
from hardplace.hardware.types import own_buffer_bytes
from hardplace.units import parse_quantity

_FOLDER = Path(__file__).parent / "spaces"
_TIED = "array_columns"
_RANGE = re.compile(r"(\d+)\s*\.\.\s*(\d+)(?:\s+(?:step\s+(\d+)|(doubling)))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Memories:
    """Stacks of one kind of memory, as the file has them."""

    kind: str
    stacks: str
    stack_size: str
    stack_bandwidth: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A space as its file has it."""

    name: str
    description: str
    area_model: Preset
    node_nm: float
    dtype: str
    area_limit_mm2: float
    tensor_cores: str
    array_rows: str
    array_columns: str
    vector_cores: str
    vector_lanes: str
    buffers: tuple[str, ...]
    clocks: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    memories: tuple[_Memories, ...] = ()
    least_area_share: float = 0.0
    tdp_limit_w: float | None = None


def space_names() -> tuple[str, ...]:
    """Return the names of the spaces that ship with the package."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def space(name_or_file: str) -> ChipSpace:
    """Return a space by name, or of a TOML file; BadInput with the nearest names, or with file, field and value."""
    if name_or_file.endswith(".toml"):
        return _space(Path(name_or_file))
    if name_or_file not in space_names():
        raise unknown("space", name_or_file, space_names())
    return _space(_FOLDER / f"{name_or_file}.toml")


def label_of(space: ChipSpace) -> str:
    """Return the name of a space, with a mark where one that ships has the name and other chips, or another node.

    >>> label_of(space("phaze")), label_of(replace(space("phaze"), array_rows=(64,)))
    ('phaze', 'phaze (a file)')
    >>> label_of(at_process(space("reticle"), "7nm"))
    'reticle at 7 nm'
    """
    if space.name not in space_names():
        return space.name
    shipped = _space(_FOLDER / f"{space.name}.toml")
    if replace(space, description=shipped.description, node_nm=shipped.node_nm) != shipped:
        return f"{space.name} (a file)"
    return space.name if space.node_nm == shipped.node_nm else f"{space.name} at {space.node_nm:g} nm"


def at_process(chips: ChipSpace, process: str | float) -> ChipSpace:
    """Return a space at another process node, such as "7nm" or 7; BadInput for a node that the tables do not have, and
    for a space whose area is PHAZE's."""
    text = str(process).strip().lower().removesuffix("nm").strip()
    known = {f"{one:g}": one for one in NODES}
    if text.removesuffix(".0") not in known:
        raise BadInput("process", process, f"one of {', '.join(f'{one}nm' for one in known)}")
    if chips.area_model is Preset.PHAZE:
        raise BadInput(
            "process", process, f"a space whose area is by parts: the area of space {chips.name} is PHAZE's at 45 nm"
        )
    return replace(chips, node_nm=known[text.removesuffix(".0")])


def _space(path: Path) -> ChipSpace:
    file = read(path, _File)
    if file.dtype not in BITS:
        raise BadInput(f"{path}: dtype: {file.dtype!r}: expected one of {', '.join(BITS)}")
    if not file.area_limit_mm2 > 0.0 or not 0.0 <= file.least_area_share < 1.0:
        raise BadInput(f"{path}: area_limit_mm2, least_area_share: expected a positive area, a share below 1")
    if file.tdp_limit_w is not None and not 0.0 < file.tdp_limit_w < float("inf"):
        raise BadInput(f"{path}: tdp_limit_w: {file.tdp_limit_w:g}: expected a positive number of W")
    technology(file.node_nm)
    found = ChipSpace(
        name=file.name,
        description=file.description,
        tensor_cores=_counts(path, "tensor_cores", file.tensor_cores),
        array_rows=_counts(path, "array_rows", file.array_rows),
        array_columns=_counts(path, "array_columns", file.array_columns),
        vector_cores=_counts(path, "vector_cores", file.vector_cores),
        vector_lanes=() if file.vector_lanes == _TIED else _counts(path, "vector_lanes", file.vector_lanes),
        buffer_bytes=tuple(int(size) for size in _quantities(path, "buffers", file.buffers, "B", least=1)),
        clock_hz=_quantities(path, "clocks", file.clocks, "Hz"),
        memories=tuple(_memories(path, file.memories)),
        links_bytes_per_s=_quantities(path, "links", file.links, "B/s"),
        area_model=file.area_model,
        node_nm=file.node_nm,
        dtype=file.dtype,
        area_limit_mm2=file.area_limit_mm2,
        least_area_share=file.least_area_share,
        tdp_limit_w=file.tdp_limit_w,
    )
    if found.area_model is Preset.PHAZE:
        _check_phaze(path, found)
    return found


def _counts(path: Path, field: str, text: str) -> tuple[int, ...]:
    """Return the whole numbers of a list such as "1, 2, 8..64 step 8, 128..1024 doubling", sorted."""

    def wrong(part: str) -> BadInput:
        expected = "expected whole numbers from 1 and ranges, such as '1, 2, 8..64 step 8, 128..1024 doubling'"
        return BadInput(f"{path}: {field}: {part.strip()!r}: {expected}")

    found: set[int] = set()
    for part in text.split(","):
        if len(part.strip().lstrip("0")) > 40:
            raise wrong(part)  # longer than any range, and than what Python reads as a number
        if part.strip().isdecimal():
            found.add(int(part))
            continue
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise wrong(part)
        first, last, step = int(match[1]), int(match[2]), int(match[3] or 1)
        if not 1 <= first <= last <= 2**20 or step < 1:
            raise wrong(part)
        if match[4]:
            found |= {first << power for power in range((last // first).bit_length()) if first << power <= last}
        else:
            found |= set(range(first, last + 1, step))
    if min(found) < 1 or max(found) > 2**20:
        raise wrong(text)
    return tuple(sorted(found))


def _quantities(path: Path, field: str, texts: tuple[str, ...], unit: str, least: int = 0) -> tuple[float, ...]:
    if len(texts) < least:
        raise BadInput(f"{path}: {field}: expected at least one quantity in {unit}")
    return tuple(sorted({parse_quantity(text, unit, f"{path}: {field}") for text in texts}))


def _memories(path: Path, files: tuple[_Memories, ...]) -> Iterator[MemoryChoice]:
    for one in files:
        if one.kind not in MEMORY_MM2_PER_STACK:
            raise BadInput(
                f"{path}: memories.kind: {one.kind!r}: expected memory in stacks: {', '.join(MEMORY_MM2_PER_STACK)}"
            )
        size = parse_quantity(one.stack_size, "B", f"{path}: memories.stack_size")
        bandwidth = parse_quantity(one.stack_bandwidth, "B/s", f"{path}: memories.stack_bandwidth")
        for stacks in _counts(path, "memories.stacks", one.stacks):
            yield MemoryChoice(
                kind=one.kind, stacks=stacks, bytes=stacks * size, bandwidth_bytes_per_s=stacks * bandwidth
            )


def _check_phaze(path: Path, found: ChipSpace) -> None:
    """Raise BadInput for sizes that PHAZE's area model has no figure for."""
    arrays = np.outer(found.array_rows, found.array_columns).ravel()
    lanes = np.array(found.vector_lanes or found.array_columns)
    own = set(own_buffer_bytes(np.concatenate([arrays, lanes])).tolist())
    for field, sizes, known in (
        ("array_rows, array_columns, vector_lanes", own, phaze.CORE_BUFFER_UM2),
        ("buffers", set(found.buffer_bytes), phaze.GLOBAL_BUFFER_UM2),
    ):
        if sizes - set(known):
            raise BadInput(
                f"{path}: {field}: no area for a buffer of {min(sizes - set(known))} bytes in PHAZE's model; expected "
                f"{min(known)} to {max(known)} in powers of two, or area_model = 'parts'"
            )
