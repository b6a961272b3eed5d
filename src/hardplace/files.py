"""The only door to disk: values of our own types as JSON (.json, or .json.gz packed), strict both ways.

What is read is limited: in bytes (unpacked, and while it is read: a device without an end, a small file that unpacks to
gigabytes), in depth, and in the digits and range of numbers.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import tomllib
import zlib
from pathlib import Path
from typing import IO, Any, NoReturn, TypeVar

from hardplace.errors import BadInput
from hardplace.typed import typed, untyped

T = TypeVar("T")

MOST_BYTES = 32 * 2**20  # of a text, unpacked: sixty times the largest Workload that ships
MOST_BYTES_TOML = 2**20  # written by hand, and read slowly
MOST_BYTES_BINARY = 2**31  # an ONNX file holds no more
MOST_DEPTH = 64  # brackets within brackets
_MOST_DIGITS = 4000  # what Python reads as a whole number has 4,300
_CHUNK = 2**20
_LONGEST_NAME = 100  # bytes of a name that becomes a file's
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


def read(path: str | os.PathLike[str], kind: type[T]) -> T:
    """Return the value of type `kind` that a JSON file, or a TOML file by its name, holds.

    Raises BadInput, one line with file, field, value and what was expected, for anything that is not exactly
    that: no such file, damaged, not JSON, unknown or missing fields, a text or a fraction for a whole number.
    """
    where = Path(path)
    return typed(where, read_toml(where) if where.suffix == ".toml" else read_json(where), kind)


def parse(text: str, kind: type[T], where: str | os.PathLike[str]) -> T:
    """Return the value of type `kind` that a JSON text holds, as strictly as read; where: what a message names."""
    return typed(Path(where), parse_json(text, where), kind)


def read_json(path: str | os.PathLike[str]) -> Any:
    """Return the JSON value of a file; BadInput, one line, if it cannot be read or is no JSON."""
    return parse_json(_load(Path(path)), path)


def parse_json(text: str, where: str | os.PathLike[str]) -> Any:
    """Return the JSON value of a text; BadInput for other text, for values too deep, numbers too long, NaN."""

    def constant(name: str) -> NoReturn:
        raise _NoNumber(f"{name} is not a number that JSON has")

    _check_depth(text, where, "JSON")
    try:
        return json.loads(text, parse_constant=constant)
    except json.JSONDecodeError as problem:
        raise BadInput(f"{where}: line {problem.lineno}: expected JSON: {_line(problem)}") from None
    except (ValueError, RecursionError) as problem:
        raise BadInput(f"{_place(text, where)}: expected JSON: {_digits(problem)}") from None


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the table that a TOML file holds; BadInput, one line, if it cannot be read or is no TOML."""
    where = Path(path)
    text = _load(where, MOST_BYTES_TOML)
    _check_depth(text, where, "TOML")
    try:
        found = tomllib.loads(text)
    except (ValueError, RecursionError) as problem:  # TOMLDecodeError, or a number of thousands of digits
        raise BadInput(f"{where}: expected TOML: {_digits(problem)}") from None
    if _deep(found):  # a.b.c.d...: no brackets
        raise BadInput(f"{where}: tables within tables: expected at most {MOST_DEPTH}")
    return found


def write(path: str | os.PathLike[str], value: object) -> None:
    """Write a value as JSON, packed if the name ends in .gz; the file is whole or as it was before.

    The same value always gives the same bytes.
    """
    where = Path(path)
    if where.suffix == ".gz":
        import gzip

        content = gzip.compress(dumps(value, compact=True).encode(), compresslevel=9, mtime=0)
    else:
        content = (dumps(value) + "\n").encode()
    _replace(where, content)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text as UTF-8; the file is whole or as it was before."""
    _replace(Path(path), text.encode(errors="backslashreplace"))  # a name may hold half a pair of UTF-16


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write bytes; the file is whole or as it was before."""
    _replace(Path(path), content)


def write_new(path: str | os.PathLike[str], text: str) -> bool:
    """Write a text as a file that is not there yet, whole at once; return whether it was not: of several processes
    that try, one gets True."""
    where = Path(path)
    temporary = _temporary(where, text.encode())
    try:
        os.link(temporary, where)
    except FileExistsError:
        return False
    except OSError as problem:
        raise _named(problem, where) from None
    finally:
        os.unlink(temporary)
    return True


def read_text(path: str | os.PathLike[str]) -> str:
    """Return a text file, unpacked if its name ends in .gz; BadInput if it cannot be read or is not UTF-8."""
    return _load(Path(path))


def dumps(value: object, *, compact: bool = False) -> str:
    """Return a value as JSON text; ValueError for numbers that JSON does not have (inf, nan)."""
    plain = untyped(value)
    if compact:
        return json.dumps(plain, separators=(",", ":"), allow_nan=False)
    return json.dumps(plain, indent=1, allow_nan=False, ensure_ascii=False)


def read_bytes(path: str | os.PathLike[str], most: int = MOST_BYTES_BINARY) -> bytes:
    """Return the content of a file; BadInput if it cannot be read, or holds more than `most` bytes (of what has no
    length, such as a device, no more than a text may have)."""
    where = Path(path)
    try:
        with where.open("rb") as file:
            return _limited(file, where, most if where.is_file() else min(most, MOST_BYTES))
    except OSError as problem:
        raise BadInput(f"{path}: cannot be read: {problem.strerror}") from None
    except BadInput:
        raise
    except ValueError as problem:  # a NUL in the name
        raise BadInput(f"{path}: cannot be read: {problem}") from None


def path_name(name: str) -> str:
    """Return a name as one part of a path: no separators, no leading dots, no characters that cannot be printed.

    >>> path_name("llama2-7b"), path_name("org/model"), path_name(".."), path_name("")
    ('llama2-7b', 'org-model', '-', '-')
    """
    found = "".join(one if one.isprintable() and one not in "/\\:" else "-" for one in name)
    if not (found := found.strip().lstrip(".")):
        return "-"
    whole = found.encode()
    if len(whole) <= _LONGEST_NAME:
        return found
    check = zlib.crc32(name.encode(errors="surrogatepass"))
    return f"{whole[: _LONGEST_NAME - 9].decode(errors='ignore')}-{check:08x}"


def _load(path: Path, most: int = MOST_BYTES) -> str:
    """Return the text of a file, unpacked."""
    packed = path.suffix == ".gz"
    content = read_bytes(path, most)
    try:
        return (_unpacked(content, path) if packed else content).decode("utf-8-sig")  # Excel marks the byte order
    except BadInput:
        raise
    except (EOFError, ValueError, zlib.error) as problem:
        expected = "a whole gzip file of UTF-8 text" if packed else "UTF-8 text"
        raise BadInput(f"{path}: expected {expected}: {_line(problem)}") from None


def _limited(file: IO[bytes], where: Path, most: int) -> bytes:
    """Return all that a file gives; BadInput as soon as it is more than `most` bytes."""
    chunks, total = [], 0
    while chunk := file.read(_CHUNK):
        chunks.append(chunk)
        total += len(chunk)
        if total > most:
            raise BadInput(f"{where}: more than {most / 2**20:,.0f} MiB: expected a smaller file")
    return b"".join(chunks)


def _unpacked(content: bytes, where: Path) -> bytes:
    """Return what a gzip file of one or more members unpacks to; BadInput as soon as it is too much."""
    found, total = [], 0
    while content:
        member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        while not member.eof:
            chunk = member.decompress(content, _CHUNK)
            content = member.unconsumed_tail
            found.append(chunk)
            total += len(chunk)
            if total > MOST_BYTES:
                raise BadInput(f"{where}: unpacks to more than {MOST_BYTES // 2**20} MiB: expected a smaller file")
            if not chunk and not content and not member.eof:
                raise EOFError("it ends before its end-of-stream marker")
        content = member.unused_data.lstrip(b"\0")  # padding, as tar and tapes have it
    if not found:
        raise EOFError("it is empty")
    return b"".join(found)


def _check_depth(text: str, where: str | os.PathLike[str], kind: str) -> None:
    """Raise BadInput for brackets too deep within brackets, before a parser recurses into them."""
    content = text.encode(errors="replace")
    brackets = content.translate(None, _NOT_BRACKETS)
    for _ in range(MOST_DEPTH):
        if not brackets:
            return
        before = len(brackets)
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(brackets) == before:
            break  # some within texts: count them
    depth = 0
    for token in _TOKENS.finditer(content):
        if token[0] in (b"[", b"{"):
            depth += 1
        elif token[0] in (b"]", b"}"):
            depth -= 1
        if depth > MOST_DEPTH:
            raise BadInput(f"{where}: expected {kind} of at most {MOST_DEPTH} brackets within brackets")


def _deep(value: Any) -> bool:
    """Return whether tables and lists are deeper within each other than they may be."""
    level = [value]
    for _ in range(MOST_DEPTH):
        level = [
            item
            for one in level
            for item in (one.values() if isinstance(one, dict) else one)
            if isinstance(item, dict | list)
        ]
        if not level:
            return False
    return True


def _temporary(path: Path, content: bytes) -> Path:
    """Return a new file beside a path that holds the content, with the mode that the umask leaves."""
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
    except BaseException as problem:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(problem, OSError):
            raise _named(problem, path) from None
        raise
    return temporary


def _named(problem: OSError, path: Path) -> OSError:
    """Return an error that names the file, not the temporary one that nobody asked for."""
    return OSError(problem.errno, problem.strerror, str(path))


def _replace(path: Path, content: bytes) -> None:
    """Put content in place of a file in one step, so that no reader and no crash sees half of it."""
    temporary = _temporary(path, content)
    try:
        os.replace(temporary, path)
    except BaseException as problem:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(problem, OSError):
            raise _named(problem, path) from None
        raise


class _NoNumber(ValueError):
    """A word for a number that JSON does not have."""


def _place(text: str, where: str | os.PathLike[str]) -> str:
    """Return the file and the field of the first number that JSON does not have, or of too many digits."""

    def whole(digits: str) -> int | _NoNumber:
        return _NoNumber() if len(digits) > _MOST_DIGITS else 0

    try:
        level = [("", json.loads(text, parse_constant=_NoNumber, parse_int=whole))]
    except ValueError:  # it is no JSON further on
        return str(where)
    while level:
        field, value = level.pop()
        if isinstance(value, _NoNumber):
            return f"{where}: {field.removeprefix('.') or 'the whole file'}"
        if isinstance(value, dict):
            level += [(f"{field}.{name}", one) for name, one in value.items()]
        elif isinstance(value, list):
            level += [(f"{field}[{index}]", one) for index, one in enumerate(value)]
    return str(where)


def _digits(problem: BaseException) -> str:
    """Return what a parser says, of a number with thousands of digits without advice to programmers."""
    found = re.match(r"Exceeds the limit \((\d+) digits\)", str(problem))
    return f"a number of more than {found[1]} digits: expected fewer" if found else _line(problem)


def _line(problem: BaseException) -> str:
    """Return the text of an exception on one line."""
    return " ".join(str(problem).split())
