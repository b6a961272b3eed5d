import gzip
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import pytest

from hardplace.errors import BadInput
from hardplace.files import dumps, read, read_json, read_text, write, write_text


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Point(NamedTuple):
    x: int
    y: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    name: str
    colour: Colour
    at: Point
    weight_kg: float
    spare: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    parts: tuple[Part, ...]
    count: int
    note: str | None
    limit: float | None = None
    best: Part | None = None


PART = Part(name="µ", colour=Colour.BLUE, at=Point(1, -2), weight_kg=2.0)
WHOLE = Whole(parts=(PART,), count=1, note=None, limit=0.1, best=PART)


@pytest.mark.parametrize("name", ["x.json", "x.json.gz"])
def test_what_is_written_is_read(tmp_path, name):
    write(tmp_path / name, WHOLE)
    assert read(tmp_path / name, Whole) == WHOLE
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_byte_order_mark_is_no_text(tmp_path):
    for name, text in (("x.json", b'{"a": 1}'), ("x.csv", b"id,plan\n1,2\n")):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text)
        assert read_text(tmp_path / name) == text.decode()
    assert read_json(tmp_path / "x.json") == {"a": 1}


def test_same_value_same_bytes(tmp_path):
    write(tmp_path / "a.json.gz", WHOLE)
    write(tmp_path / "b.json.gz", WHOLE)
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()


def test_a_failed_write_leaves_the_old_file(tmp_path):
    write_text(tmp_path / "x.json", "old")
    with pytest.raises(ValueError, match="JSON compliant"):
        write(tmp_path / "x.json", Whole(parts=(), count=0, note=None, limit=float("inf")))
    assert (tmp_path / "x.json").read_text() == "old"


def changed(path, value):
    """WHOLE as plain JSON with one value put in, or taken out if it is ..."""
    data = json.loads(dumps(WHOLE))
    *way, last = path
    target = data
    for step in way:
        target = target[step]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["count"], "1", 'count: "1": expected a whole number'),
        (["count"], True, "count: true: expected a whole number"),
        (["count"], 1.0, "count: 1.0: expected a whole number"),
        (["count"], None, "count: null: expected a whole number"),
        (["count"], ..., "count: missing"),
        (["note"], 3, "note: 3: expected a text"),
        (["colour"], "red", "unknown field 'colour'; expected parts, count, note, limit, best"),
        (["parts"], "ab", 'parts: "ab": expected a list'),
        (["parts"], {}, "parts: {}: expected a list"),
        (["parts", 0], [], "parts[0]: []: expected an object"),
        (["parts", 0, "spare"], 0, "parts[0].spare: 0: expected true or false"),
        (["parts", 0, "colour"], "green", 'parts[0].colour: "green": expected one of red, blue'),
        (["parts", 0, "colour"], [], "parts[0].colour: []: expected one of red, blue"),
        (["parts", 0, "at"], [1], "parts[0].at: [1]: expected a list of x, y"),
        (["parts", 0, "at"], [1, "2"], 'parts[0].at: [1, "2"]: expected a whole number'),
        (["parts", 0, "weight_kg"], "2", 'parts[0].weight_kg: "2": expected a finite number'),
        (["best", "weight_kg"], False, "best.weight_kg: false: expected a finite number"),
        (["best", "size"], 1, "best: unknown field 'size'; expected name"),
    ],
)
def test_bad_values_are_named_on_one_line(tmp_path, path, value, said):
    file = tmp_path / "x.json"
    file.write_text(json.dumps(changed(path, value)))
    with pytest.raises(BadInput) as caught:
        read(file, Whole)
    assert str(caught.value).startswith(f"{file}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.json", b"[]", "the whole file: []: expected an object"),
        ("x.json", b"{'a': 1}", "expected JSON"),
        ("x.json", b'{"count": NaN}', "expected JSON: NaN"),
        ("x.json", b"[" * 100_000, "expected JSON"),
        ("x.json", b"", "expected JSON"),
        ("x.json", b"\xff\xfe", "expected UTF-8 text"),
        ("x.json.gz", b"{}", "expected a whole gzip file"),
        ("x.json.gz", gzip.compress(b"{}" * 1000, mtime=0)[:-12], "expected a whole gzip file"),
        ("x.json.gz", gzip.compress(b"{}", mtime=0)[:10] + b"\xff" * 20, "expected a whole gzip file"),
    ],
)
def test_damaged_files_are_told_on_one_line(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput) as caught:
        read(tmp_path / name, Whole)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(BadInput, match="No such file"):
        read(tmp_path / "none.json", Whole)
    with pytest.raises(BadInput, match="directory"):
        read(tmp_path, Whole)
