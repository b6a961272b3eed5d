"""Measured times of kernels, as read from CSV files, and the split into rows to fit and rows to judge."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from hardplace.cost.gpu.gemm import LAYOUTS, Gemms
from hardplace.csv_table import Table, parse
from hardplace.errors import BadInput, unknown
from hardplace.ndtypes import Bools, Floats, Ints
from hardplace.workload.decoder import LARGEST

UNITS_S = {"us": 1e-6, "time_us": 1e-6, "latency_us": 1e-6, "ms": 1e-3, "seconds": 1.0, "s": 1.0}
BACKENDS = ("fa2", "fa3", "fa4", "cudnn", "aiter", "trtllm", "flashinfer", "triton", "sdpa")
_HELD_OUT = 4  # one in so many
_FORMATS = ("", "bf16", "bfloat16", "fp16", "float16", "half")  # of two bytes, on tensor cores
_SIZES = ("m", "n", "k")
_NOT_LATENCIES = (*_SIZES, "batch", "b", "layout", "output_bytes", "kind", "dtype", "name", "accumulate", "out_dtype")
# Names that measurements go by -> backend
_SOURCES = {
    "fa3": "fa3",
    "vllm_flash_attn_fa3": "fa3",
    "flash_attention_v3": "fa3",
    "vllm_vit_flash_attn_fa3": "fa3",
    "flash_attention": "fa2",
    "vllm_flash_attn": "fa2",
    "vllm_flash_attn_fa2": "fa2",
    "vllm_vit_flash_attn_fa2": "fa2",
    "flash_attention_v4": "fa4",
    "vllm_vit_flash_attn_fa4": "fa4",
    "vllm_flash_attn_fa4": "fa4",
    "torch_flow": "trtllm",
    "torch_flow_flashinfer": "flashinfer",
    "trtllm_mha": "flashinfer",
    "flashinfer": "flashinfer",
    "vllm_flashinfer": "flashinfer",
    "vllm_flashinfer_trtllmprefill": "flashinfer",
    "triton": "triton",
} | {name: name for name in BACKENDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmRows:
    """GEMMs with the median of their measured times over the sources, and the spread (largest / smallest - 1).

    spread is nan where there is one source only. unit_s: the unit that the file gave them in.
    """

    shapes: Gemms
    time_s: Floats
    spread: Floats
    unit_s: float = 1e-6

    def take(self, rows: Ints) -> GemmRows:
        """Return these rows."""
        shapes = Gemms(**{field.name: getattr(self.shapes, field.name)[rows] for field in fields(Gemms)})
        return GemmRows(shapes=shapes, time_s=self.time_s[rows], spread=self.spread[rows], unit_s=self.unit_s)

    @property
    def held_out(self) -> Bools:
        """Whether each row is kept from every fit: by the hash of its (n, k)."""
        return _hashed(np.stack([self.shapes.n, self.shapes.k], axis=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionRows:
    """Attention kernels with the median of their times over the sources of one backend, and the spread.

    causal, backward and cached are 0 or 1; cached: a serving benchmark, which also writes keys and values to its cache.
    """

    backend: tuple[str, ...]
    batch: Ints
    sequence: Ints
    heads: Ints
    kv_heads: Ints
    head_dim: Ints
    causal: Ints
    backward: Ints
    cached: Ints
    time_s: Floats
    spread: Floats

    def take(self, rows: Ints) -> AttentionRows:
        """Return these rows."""
        arrays = {field.name: getattr(self, field.name)[rows] for field in fields(self)[1:]}
        return AttentionRows(backend=tuple(self.backend[row] for row in rows), **arrays)

    @property
    def held_out(self) -> Bools:
        """Whether each row is kept from every fit: by the hash of its (sequence, heads, kv heads, head dimension)."""
        return _hashed(np.stack([self.sequence, self.heads, self.kv_heads, self.head_dim], axis=1))


def _hashed(keys: Ints) -> Bools:
    """Return whether the SHA-256 of "a,b,..." of each row, as a number, is divisible by four."""
    known: dict[bytes, bool] = {}
    result = np.empty(len(keys), dtype=bool)
    for row, key in enumerate(keys.tolist()):
        text = ",".join(map(str, key)).encode()
        if text not in known:
            known[text] = int.from_bytes(hashlib.sha256(text).digest(), "big") % _HELD_OUT == 0
        result[row] = known[text]
    return result


def read_gemms(files: Sequence[tuple[str, str]]) -> GemmRows | None:
    """Return the GEMMs of CSV texts (place, text); None if none has any.

    A file has m, n, k and either one column of latencies with its unit (us, ms, seconds) or one column of
    microseconds for each source; batch, layout (TN, NN, NT) and output_bytes may stand beside. BadInput otherwise.
    """
    parts = [_gemms(table) for table in _of_kind(files, "gemm", _SIZES)]
    if not parts:
        return None
    shapes = Gemms(**{f.name: np.concatenate([getattr(p.shapes, f.name) for p in parts]) for f in fields(Gemms)})
    time_s = np.concatenate([part.time_s for part in parts])
    spread = np.concatenate([part.spread for part in parts])
    _check_varied(time_s, files[0][0])
    return GemmRows(shapes=shapes, time_s=time_s, spread=spread, unit_s=parts[0].unit_s)


def read_attention(files: Sequence[tuple[str, str]]) -> AttentionRows | None:
    """Return the attention kernels of CSV texts (place, text); None if none has any.

    A file has batch_size, isl (or sequence), num_heads, head_dim, kernel_source (or backend) and us; a file without
    num_key_value_heads and without a column causal is of encoders: not causal. BadInput otherwise.
    """
    groups: dict[tuple[str | int, ...], list[float]] = {}
    for table in _of_kind(files, "attention", ("num_heads", "head_dim")):
        for key, one_s in _attention(table):
            groups.setdefault(key, []).append(one_s)
    if not groups:
        return None
    sizes = np.array([key[1:] for key in groups], dtype=np.int64).T
    time_s = np.array([np.median(times) for times in groups.values()])
    spread = [max(times) / min(times) - 1.0 if len(times) > 1 else np.nan for times in groups.values()]
    _check_varied(time_s, files[0][0])
    names = [field.name for field in fields(AttentionRows)][1:9]
    return AttentionRows(
        backend=tuple(str(key[0]) for key in groups),
        time_s=time_s,
        spread=np.array(spread),
        **dict(zip(names, sizes, strict=True)),
    )


def _of_kind(files: Sequence[tuple[str, str]], kind: str, needed: tuple[str, ...]) -> list[Table]:
    """Return the tables, or the rows of tables with a column `kind`, that are of this kind."""
    found = []
    for place, text in files:
        table = parse(text, place)
        _check_one(table)
        if table.has("kind"):
            rows = [row for row, name in enumerate(table.texts("kind")) if name == kind]
            if rows:
                found.append(table.take(rows))
        elif table.has(*needed):
            found.append(table)
        elif not table.has(*_SIZES) and not table.has("num_heads", "head_dim"):
            expected = "m, n, k and latencies, or num_heads, head_dim, ... and us, or kind"
            raise BadInput(f"{place}: columns {', '.join(table.columns)[:80]}: expected {expected}")
    return found


def _check_one(table: Table) -> None:
    """Raise BadInput for a table of several devices, or of a number format that the models do not know."""
    for name in ("device", "accelerator", "gpu"):
        if table.has(name) and len(found := sorted(set(table.texts(name)))) > 1:
            several = ", ".join(found)[:80]
            raise BadInput(f"{table.place}: column {name}: rows of {several}: expected those of one device alone")
    if table.has("dtype"):
        for row, text in enumerate(table.texts("dtype")):
            if text.lower() not in _FORMATS:
                expected = "expected bf16 or fp16, the formats that the models are of"
                raise BadInput(f"{table.where(row, 'dtype')}: {text!r}: {expected}")


def _gemms(table: Table) -> GemmRows:
    for name in _SIZES:
        if name not in table.columns:
            raise BadInput(f"{table.place}: column {name}: missing; expected m, n, k and latencies")
    sizes = {name: table.whole(name, LARGEST) for name in _SIZES}
    units = [name for name in table.columns if name in UNITS_S]
    sources = units[:1] or [name for name in table.columns if name not in _NOT_LATENCIES]
    if not sources:
        raise BadInput(f"{table.place}: columns {', '.join(table.columns)}: expected latencies, e.g. a column us")
    unit_s = UNITS_S[units[0]] if units else 1e-6
    times = table.latencies_s(sources, unit_s)
    measured = np.isfinite(times).sum(axis=1)
    spread = np.where(measured > 1, np.nanmax(times, axis=1) / np.nanmin(times, axis=1) - 1.0, np.nan)
    layout = np.array([LAYOUTS.index(name) for name in _layouts(table)], dtype=np.int64)
    output_bytes = table.whole("output_bytes", 16, 2).astype(np.float64)
    if table.has("out_dtype"):  # SimuMax: weight gradients are added up in fp32
        output_bytes = np.where(np.array(table.texts("out_dtype")) == "fp32", 8.0, output_bytes)
    batch = table.whole("batch" if table.has("batch") else "b", LARGEST, 1)
    shapes = Gemms(**sizes, batch=batch, layout=layout, output_bytes=output_bytes)
    return GemmRows(shapes=shapes, time_s=np.nanmedian(times, axis=1), spread=spread, unit_s=unit_s)


def _layouts(table: Table) -> list[str]:
    if not table.has("layout"):
        return ["TN"] * len(table.rows)
    names = [name or "TN" for name in table.texts("layout")]
    for row, name in enumerate(names):
        if name not in LAYOUTS:
            raise BadInput(f"{table.where(row, 'layout')}: {name!r}: expected one of {', '.join(LAYOUTS)}")
    return names


def _attention(table: Table) -> list[tuple[tuple[str | int, ...], float]]:
    """Return (backend, the fields of AttentionRows from batch to cached) and seconds of each row."""
    length = "isl" if table.has("isl") else "sequence"
    source = "kernel_source" if table.has("kernel_source") else "backend"
    for name in ("batch_size", length, source, "us"):
        if name not in table.columns:
            raise BadInput(f"{table.place}: column {name}: missing; expected it for attention kernels")
    times = table.latencies_s(["us"], 1e-6)[:, 0]
    heads = table.whole("num_heads", LARGEST)
    serving = table.has("isl")  # aiconfigurator's prefill
    encoder = not table.has("num_key_value_heads") and not table.has("causal")
    kv_heads = table.whole("num_key_value_heads", LARGEST) if table.has("num_key_value_heads") else heads
    causal = table.flags("causal") if table.has("causal") else None
    backward = table.flags("backward") if table.has("backward") else [False] * len(heads)
    rows = []
    batch, sequence = table.whole("batch_size", LARGEST), table.whole(length, LARGEST)
    dim = table.whole("head_dim", 4096)
    for row, name in enumerate(table.texts(source)):
        if name not in _SOURCES:
            raise unknown(f"attention backend ({table.where(row, source)})", name, sorted(_SOURCES))
        masked = int(causal[row]) if causal else int(not encoder)
        key = (_SOURCES[name], batch[row], sequence[row], heads[row], kv_heads[row], dim[row], masked)
        whole = (int(part) if not isinstance(part, str) else part for part in key)
        flags = (int(backward[row]), int(masked and serving))
        rows.append(((*whole, *flags), float(times[row])))
    return rows


def _check_varied(time_s: Floats, place: str) -> None:
    if len(time_s) > 2 and np.ptp(time_s) <= 1e-9 * time_s.max():
        raise BadInput(f"{place}: every latency is {time_s[0] * 1e6:g} us: expected measurements that differ by shape")
