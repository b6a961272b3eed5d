"""An OpenVINO IR (the .xml of an .xml and .bin) as a graph: nodes with types, shapes and who reads whom.

Only the .xml is read: shapes stand in it, weights do not matter. Document types and entities are refused, so nothing
is expanded and nothing else is opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from hardplace.errors import BadInput
from hardplace.files import read_text

_MOST_NODES = 100_000
_MOST_SIZE = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class IrNode:
    """A node: its inputs as (node, output) by index, and of each output the shape and precision (FP16, I64, ...)."""

    name: str
    type: str
    data: dict[str, str]
    inputs: tuple[tuple[int, int], ...]
    shapes: tuple[tuple[int, ...], ...]
    precisions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IrGraph:
    """Nodes, each after those that it reads (constants, their conversions, parameters and results are nodes)."""

    name: str
    nodes: tuple[IrNode, ...]

    @property
    def edges(self) -> int:
        """Of inputs: one for each output that a node reads."""
        return sum(len(node.inputs) for node in self.nodes)


def read_ir(path: str | PathLike[str]) -> IrGraph:
    """Return the graph of an IR's .xml (or .xml.gz); BadInput, one line, for what is none."""
    where = Path(path)
    root = _parsed(read_text(where), where)
    layers, edges = root.find("layers"), root.find("edges")
    if root.tag != "net" or layers is None or edges is None:
        raise BadInput(str(where), f"<{root.tag}>", "an OpenVINO IR: <net> with <layers> and <edges>")
    if not 1 <= len(layers) <= _MOST_NODES:
        raise BadInput(f"{where}: layers", len(layers), f"1 to {_MOST_NODES:,}")
    index: dict[str, int] = {}
    ports: list[dict[str, int]] = []
    for row, layer in enumerate(layers):
        name = layer.get("id", "")
        if not name or name in index:
            raise BadInput(f"{where}: layers[{row}].id", repr(name), "an id that no other layer has")
        index[name] = row
        ports.append({port.get("id", ""): number for number, port in enumerate(layer.findall("output/port"))})
    taken: list[dict[int, tuple[int, int]]] = [{} for _ in layers]
    for row, edge in enumerate(edges):
        source, target = index.get(edge.get("from-layer", "")), index.get(edge.get("to-layer", ""))
        if source is None or target is None:
            raise BadInput(f"{where}: edges[{row}]", str(dict(edge.attrib)), "from-layer and to-layer, ids of layers")
        port, entry = ports[source].get(edge.get("from-port", "")), edge.get("to-port", "")
        if port is None or not entry.isdigit() or len(entry) > 6:
            raise BadInput(f"{where}: edges[{row}]", str(dict(edge.attrib)), "from-port and to-port, ports of them")
        taken[target][int(entry)] = (source, port)
    order = _order(taken, where)
    place = {row: position for position, row in enumerate(order)}
    nodes = []
    for row in order:
        layer = layers[row]
        data = layer.find("data")
        outputs = layer.findall("output/port")
        nodes.append(
            IrNode(
                name=layer.get("name", layer.get("id", "")), type=layer.get("type", ""),
                data={} if data is None else dict(data.attrib),
                inputs=tuple((place[source], port) for _, (source, port) in sorted(taken[row].items())),
                shapes=tuple(_shape(port, f"{where}: layers[{row}]") for port in outputs),
                precisions=tuple(port.get("precision", "") for port in outputs),
            )
        )  # fmt: skip
    return IrGraph(name=root.get("name") or where.name.split(".")[0], nodes=tuple(nodes))


def _parsed(text: str, where: Path) -> ElementTree.Element:
    """Return the document; one with a document type (which alone can declare entities) is refused."""

    def refuse(*_: object) -> None:
        raise BadInput(str(where), "a document type", "XML without one")

    check = expat.ParserCreate()
    check.StartDoctypeDeclHandler = refuse
    try:
        check.Parse(text, True)
        return ElementTree.fromstring(text)
    except (expat.ExpatError, ElementTree.ParseError) as problem:
        raise BadInput(f"{where}: {problem}", None, "XML, an OpenVINO IR") from None


def _shape(port: ElementTree.Element, where: str) -> tuple[int, ...]:
    sizes = []
    for dim in port.findall("dim"):
        text = (dim.text or "").strip()
        if not text.isdigit() or len(text) > 16 or int(text) > _MOST_SIZE:
            raise BadInput(f"{where}: dim", repr(text), "a whole number: give the model static shapes (reshape) first")
        sizes.append(int(text))
    return tuple(sizes)


def _order(taken: list[dict[int, tuple[int, int]]], where: Path) -> list[int]:
    """Return the layers, each after those that it reads."""
    missing = [len(one) for one in taken]
    readers: list[list[int]] = [[] for _ in taken]
    for row, entries in enumerate(taken):
        for source, _ in entries.values():
            readers[source].append(row)
    order = [row for row, count in enumerate(missing) if count == 0]
    for row in order:
        for reader in readers[row]:
            missing[reader] -= 1
            if missing[reader] == 0:
                order.append(reader)
    if len(order) < len(taken):
        row = next(row for row, count in enumerate(missing) if count > 0)
        raise BadInput(f"{where}: edges", f"a circle through layers[{row}]", "a graph without circles")
    return order
