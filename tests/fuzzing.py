"""Mutated files of every kind, and the commands that read them: an orderly end is an answer, or one line and code 2."""

# ruff: noqa: E501 (tables of values and of kinds)

from __future__ import annotations

import gzip
import random
import re
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx

from commands import Ended, command
from onnx_models import bottleneck, gpt

ROOT = Path(__file__).parent.parent
DATA = Path(__file__).parent / "data/inputs"
TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null|[A-Za-z_][\w-]*')
ODD = [
    "0", "-0", "-1", "1", "2", "3", "7", "255", "65536", "1048577", "2147483648", "9223372036854775807", "9223372036854775808",
    "1" + "0" * 30, "9" * 400, "9" * 4301, "1.5", "-0.0", "1e308", "1e999", "-1e999", "1e-320", "NaN", "Infinity", "nan", "inf",
    "true", "null", '""', '"x"', '"\\u0000"', '"\\u001b]0;x\\u0007"', '"\\ud800"', '".."', '"a/b"', '"' + "A" * 20_000 + '"',
    "[]", "{}", "[[]]", "[" * 600, "[" * 30 + "]" * 30, '{"a": 1}', "bf16", "1 2", "'", "#", ",", "١", "𝟙",
]  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A kind of file: a sound one, its name, and the commands that read it (FILE)."""

    name: str
    file: str
    content: bytes
    commands: tuple[str, ...]
    mutate: Callable[[bytes, random.Random], bytes]


def of_text(content: bytes, rng: random.Random) -> bytes:
    """Return a text with a token, a line or some bytes changed."""
    text = content.decode()
    for _ in range(rng.choice((1, 1, 1, 2))):
        how = rng.random()
        found = list(TOKENS.finditer(text))
        if how < 0.7 and found:
            one = rng.choice(found)
            text = text[: one.start()] + rng.choice(ODD) + text[one.end() :]
        elif how < 0.85:
            lines = re.split(r"(?<=[,\n])", text)
            at = rng.randrange(len(lines))
            lines[at : at + 1] = rng.choice(([], [lines[at]] * 2, [lines[at], rng.choice(lines)]))
            text = "".join(lines)
        else:
            return of_bytes(text.encode(errors="replace"), rng)
    return text.encode(errors="surrogatepass")


def of_bytes(content: bytes, rng: random.Random) -> bytes:
    """Return bytes cut, flipped, doubled or put in."""
    if not content:
        return content
    at = rng.randrange(len(content))
    how = rng.randrange(4)
    if how == 0:
        return content[:at]
    if how == 1:
        return content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]
    if how == 2:
        return content[:at] + content[at : at + rng.randrange(1, 64)] + content[at:]
    return content[:at] + rng.randbytes(rng.randrange(1, 9)) + content[at:]


def of_packed(content: bytes, rng: random.Random) -> bytes:
    """Return a gzip file whose text, or now and then whose packing, is changed."""
    if rng.random() < 0.1:
        return of_bytes(content, rng)
    return gzip.compress(of_text(gzip.decompress(content), rng), compresslevel=1)


def of_journal(content: bytes, rng: random.Random) -> bytes:
    """Return a journal with a cell or some bytes changed."""
    if rng.random() < 0.3:
        return of_bytes(content, rng)
    connection = sqlite3.connect(":memory:")
    connection.deserialize(content)
    table, column = rng.choice(
        [("asked", "value"), ("asked", "field"), *(("evaluations", one) for one in ("job", "kind", "outcome"))]
        + [("state", one) for one in ("model", "objective", "updated_unix_s", "incumbent", "bound", "stop")]
    )
    cells = [row[0] for row in connection.execute(f"SELECT {column} FROM {table}")]
    old = rng.choice(cells) if cells else None
    if isinstance(old, str) and rng.random() < 0.6:
        new: object = of_text(old.encode(), rng).decode(errors="replace")
    else:
        new = rng.choice((0, -1, 1e308, float("inf"), "", "x", b"\xff", "[" * 600, 2**62, rng.choice(ODD)))
    with connection:
        try:
            if rng.random() < 0.1:
                connection.execute(f"DELETE FROM {table}")
            else:
                connection.execute(f"UPDATE OR IGNORE {table} SET {column} = ? WHERE {column} IS ?", (new, old))
        except sqlite3.Error:
            return of_bytes(content, rng)
    return connection.serialize()


def of_onnx(content: bytes, rng: random.Random) -> bytes:
    """Return an ONNX file with an operator, an edge, an attribute, a size, a type or some bytes changed."""
    if rng.random() < 0.3:
        return of_bytes(content, rng)
    model = onnx.load_from_string(content)
    graph, odd = model.graph, (0, -1, 3, 2**31, 2**62, -(2**63))
    node = rng.choice(graph.node)
    how = rng.randrange(8)
    if how == 0:
        node.op_type = rng.choice([*(one.op_type for one in graph.node), "", "Unheard", "\x1b[2J"])
    elif how == 1 and node.input:
        names = [name for one in graph.node for name in (*one.input, *one.output)]
        node.input[rng.randrange(len(node.input))] = rng.choice([*names, "", "nowhere"])  # also circles
    elif how == 2 and node.input:
        del node.input[-1]
    elif how == 3:
        changed = [one for other in graph.node for one in other.attribute if one.ints or one.i]
        if changed:
            one = rng.choice(changed)
            if one.ints:
                one.ints[rng.randrange(len(one.ints))] = rng.choice(odd)
            else:
                one.i = rng.choice(odd)
    elif how == 4:
        tensor = rng.choice(graph.initializer)
        if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(odd)
    elif how == 5:
        rng.choice(graph.initializer).data_type = rng.choice((0, 1, 7, 8, 99))
    elif how == 6:
        size = rng.choice(graph.input).type.tensor_type.shape.dim[0]
        size.dim_value = rng.choice(odd)
    else:
        model.opset_import[0].version = rng.choice(odd)
    return bytes(model.SerializeToString())


def of_name(content: bytes, rng: random.Random) -> bytes:
    """Return a chip's name with a number or a sign changed."""
    odd = [one for one in ODD if "\n" not in one and "\\u" not in one]
    text = content.decode()
    found = list(re.finditer(r"\d+|[x+,-]|MiB", text))
    for one in [rng.choice(found)]:
        text = text[: one.start()] + rng.choice([*odd, "x", "-", "00", " ", "8"]) + text[one.end() :]
    return text.replace("\0", "").encode(errors="replace")


def _kinds() -> tuple[Kind, ...]:
    tiny = (DATA / "tiny.json.gz").read_bytes()
    plan = (
        b'{"global_batch": 8, "tensor": 2, "data": 2, "micro_batch": 1, "zero": 1, "stages": [], "recompute": "none", '
    )
    plan += b'"schedule": "1f1b", "fragmentation": 0.04, "reserve_bytes": 2e9, "order": ["tensor", "context", "data", "pipeline"]'
    alone = plan + b"}"
    running = plan + b', "model": "TINY", "on": [{"device": "h100-sxm", "node": "dgx-h100", "count": 4}]}'
    toml = b'global_batch = 8\ntensor = 2\ndata = 2\nmicro_batch = 1\nzero = 1\nschedule = "1f1b"\nrecompute = "none"\n'
    device = (ROOT / "src/hardplace/hardware/devices/h100-sxm.toml").read_bytes()
    config = (ROOT / "examples/llama-3.2-1b/config.json").read_bytes()
    gemm = b"m,n,k,layout,us\n" + b"".join(b"%d,1760,2048,NN,%d.5\n" % (16 << i, 61 + i) for i in range(8))
    gemm += b"".join(b"4096,%d,4096,TN,%d.5\n" % (512 * i, 30 * i) for i in range(1, 17))
    head = b"backend,batch_size,sequence,num_heads,num_key_value_heads,head_dim,causal,backward,us\n"
    attention = head + b"".join(b"fa2,1,%d,32,32,128,1,0,%d.5\n" % (1024 * i, 100 * i) for i in range(1, 17))
    lines = (ROOT / "validation/training/training.csv").read_bytes().splitlines(keepends=True)
    training = lines[0] + b"".join(lines[1:4])
    journal = (DATA / "journal-bound-text/journal.sqlite").read_bytes()
    connection = sqlite3.connect(":memory:")
    connection.deserialize(journal)
    with connection:
        connection.execute("UPDATE state SET bound = incumbent * 1.01")
    journal = connection.serialize()
    estimate = "estimate TINY --plan FILE --device h100-sxm"
    return (
        Kind("workload", "w.json.gz", tiny, ("show FILE", "audit FILE --device h100-sxm"), of_packed),
        Kind("workload placed", "w.json.gz", tiny, ("place FILE --device h100-sxm --devices 2 --batch 4",), of_packed),
        Kind(
            "workload scheduled",
            "w.json.gz",
            tiny,
            ("schedule FILE --chip 2x16x16-2x16-2MiB --seconds 1", "estimate FILE --operators --on tpu-v4"),
            of_packed,
        ),
        Kind("plan JSON", "p.json", alone, (estimate,), of_text),
        Kind("plan TOML", "p.toml", toml, (estimate,), of_text),
        Kind("running plan", "r.json", running, ("replan FILE --lost 3",), of_text),
        Kind("device", "d.toml", device, ("chip FILE",), of_text),
        Kind("chip TOML", "c.toml", (ROOT / "examples/my-chip.toml").read_bytes(), ("chip FILE",), of_text),
        Kind("node", "n.toml", (ROOT / "examples/dgx-h100-slow-links.toml").read_bytes(), ("replan RUNNING --cluster FILE",), of_text),
        Kind("space", "s.toml", (DATA / "tiny.toml").read_bytes(), (_search("FILE"),), of_text),
        Kind("chip", "FILE", b"8x128x128-2x128-128MiB", ("chip FILE", "estimate TINY --operators --on FILE"), of_name),
        Kind("config", "config.json", config, ("audit FILE --device h100-sxm", "shape FILE --device h100-sxm --top 1"), of_text),
        Kind("ONNX decoder", "m.onnx", gpt(layers=1)[0].SerializeToString(), ("trace FILE --size batch=2 --size sequence=8 --out w.json",), of_onnx),
        Kind("ONNX convolutions", "m.onnx", bottleneck()[0].SerializeToString(), ("trace FILE --size batch=2 --out w.json",), of_onnx),
        Kind("gemm CSV", "g.csv", gemm, ("validate gemm FILE --device h100-sxm",), of_text),
        Kind("attention CSV", "a.csv", attention, ("validate attention FILE --device a100-80gb-pcie",), of_text),
        Kind("training CSV", "t.csv", training, ("validate training --data FILE",), of_text),
        Kind("journal", "out/journal.sqlite", journal, ("runs out", "runs out --parquet e.parquet", _search(str(DATA / "tiny.toml")) + " --out out"), of_journal),
    )  # fmt: skip


def _search(space: str) -> str:
    rest = "--devices 8 --batch 8 --micro-batch 1 --tensor-parallel 1 --recompute none --evaluations 2"
    return f"search TINY --space {space} {rest}"


KINDS = _kinds()


def tried(kind: Kind, seed: int, folder: Path) -> tuple[str, Ended]:
    """Write one mutant of a kind and run one of its commands on it; return the command and how it ended."""
    rng = random.Random(f"{kind.name} {seed}")
    content = kind.mutate(kind.content, rng)
    words = rng.choice(kind.commands).split()
    shutil.rmtree(folder, ignore_errors=True)
    (folder / kind.file).parent.mkdir(parents=True)
    file = content.decode() if kind.file == "FILE" else kind.file
    if kind.file != "FILE":
        (folder / kind.file).write_bytes(content.replace(b"TINY", str(DATA / "tiny.json.gz").encode()))
    named = {"FILE": file, "TINY": str(DATA / "tiny.json.gz")}
    if "RUNNING" in words:
        running = next(one for one in KINDS if one.name == "running plan").content
        (folder / "running.json").write_bytes(running.replace(b"TINY", named["TINY"].encode()))
        named["RUNNING"] = "running.json"
    words = [named.get(word, word) for word in words]
    return " ".join(words), command(*words, folder=folder)


def complaint(ended: Ended) -> str:
    """Return what is wrong with an end; empty where it is an answer, or one line."""
    for stream in (ended.out, ended.err):
        if any(not (one.isprintable() or one in "\n\xa0\u202f") for one in stream):
            return "a control character on a stream"
    if ended.code not in (0, 2, 3):
        return f"exit code {ended.code}"
    lines = [one for one in ended.err.splitlines() if one.startswith("hardplace:")]
    if ended.code == 2 and (len(lines) != 1 or len(ended.err) > 4000):
        return f"{len(lines)} lines, {len(ended.err)} characters"
    if ended.code == 2 and lines[0].count("AAAAA") > 60:
        return "a long value whole"
    return ""
