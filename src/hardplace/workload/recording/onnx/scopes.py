"""Which module an ONNX node came from, by what its exporter left."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Any

from hardplace.workload.recording.onnx.node import OnnxNode

_DEEPEST = 64  # modules one in another


def scope_of(proto: Any) -> tuple[str, ...]:
    """Return the path of the module that a node came from, as its exporter left it; ("?",) if it did not.

    PyTorch's exporter from 2.5 on leaves it in the metadata, the one before in the name: `/layer1/layer1.0/conv1/Conv`.
    """
    for entry in getattr(proto, "metadata_props", ()):
        if entry.key == "pkg.torch.onnx.name_scopes":
            try:
                scopes = ast.literal_eval(entry.value)
                path = str(scopes[-2]) if len(scopes) > 1 else ""
            except (ValueError, SyntaxError, TypeError, IndexError, MemoryError, RecursionError):
                break
            return () if path.startswith("_empty") else tuple(part for part in path.split(".") if part)
    if "/" not in proto.name:
        return ("?",)
    pieces: list[str] = []
    before = ""
    for part in [part for part in proto.name.split("/")[:-1] if part]:
        inner = part.removeprefix(f"{before}.") if before and part.startswith(f"{before}.") else part
        pieces += [piece for piece in inner.split(".") if piece]
        before = part
    return tuple(pieces)


def with_scopes(nodes: list[OnnxNode]) -> list[OnnxNode]:
    """Give nodes without a scope that of the node that made their first input; none if no node has one."""
    of: dict[str, tuple[str, ...]] = {}
    result = []
    for node in nodes:
        scope = node.scope
        if scope == ("?",):
            scope = next((of[name] for name in node.inputs if name in of), ())
        of.update(dict.fromkeys(node.outputs, scope))
        result.append(replace(node, scope=scope[:_DEEPEST]))
    return result
