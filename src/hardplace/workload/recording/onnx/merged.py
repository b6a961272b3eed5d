"""Weights that PyTorch's exporters merged for their equal numbers, as biases of a model not yet trained are.

They would be trained apart, so they are parameters of their own here. Weights that the model itself shares, as
one embedding for input and output, stay one, unless the exporter stored the second as a transposed copy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hardplace.workload.recording.onnx.node import Constant, OnnxNode, Role


def separate_aliases(
    nodes: list[OnnxNode], constants: dict[str, Constant], trained: Callable[[str, int], bool]
) -> list[OnnxNode]:
    """Make constants, in place, of Identity nodes of constants: the older exporter's, with the parameters' names.

    What the model shares is one initializer there, without such a node. trained: whether floats of a name and rank
    are a parameter by their own use; a bias and a batch norm's mean, both zeros, may be one initializer.
    """
    kept, sources = [], set()
    for node in nodes:
        source = constants.get(node.inputs[0]) if node.operator == "Identity" and node.inputs else None
        if source is not None and source.role is not Role.VALUE:
            name = node.outputs[0]
            weighs = source.dtype.is_floating_point and trained(name, len(source.shape))
            constants[name] = replace(source, name=name, role=Role.PARAMETER if weighs else Role.BUFFER)
            sources.add(source.name)
        else:
            kept.append(node)
    for name in sources - {name for node in kept for name in node.inputs}:
        del constants[name]
    return kept


def separate_modules(nodes: list[OnnxNode], constants: dict[str, Constant]) -> list[OnnxNode]:
    """Give each module its own of a one-dimensional parameter that several use; constants change in place.

    The newer exporter (with what torch.export noted) leaves one initializer with one of the names.
    """
    users: dict[str, list[tuple[str, ...]]] = {}
    for node in nodes:
        for name in node.inputs:
            users.setdefault(name, []).append(node.scope)
    flat = [
        one for one in constants.values() if one.role is Role.PARAMETER and len(one.shape) == 1 and one.name in users
    ]
    names: dict[tuple[str, tuple[str, ...]], str] = {}
    for constant in flat:
        named = tuple(constant.name.split(".")[:-1])
        owner = named if named in users[constant.name] else users[constant.name][0]
        for scope in dict.fromkeys(users[constant.name]):
            if scope != owner:
                name = ".".join((*scope, constant.name.rpartition(".")[2]))
                while name in constants:
                    name += "_"
                constants[name] = replace(constant, name=name)
                names[constant.name, scope] = name
    return [replace(node, inputs=tuple(names.get((name, node.scope), name) for name in node.inputs)) for node in nodes]
