"""From an ONNX file to a step of inference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hardplace.workload.recording.huggingface import Options
from hardplace.workload.recording.onnx.build import inputs_of, module_of
from hardplace.workload.recording.onnx.file import Graph, read_graph
from hardplace.workload.recording.step import Inputs, TrainingStep, tokens_of


def step_of_onnx(path: Path, name: str, sizes: Mapping[str, int], options: Options, command: str = "") -> TrainingStep:
    """Return the step of an ONNX graph: forward alone, weights unread; the file's code is never run.

    sizes: values of named dimensions. A first dimension that has a name is the micro-batch, and stays symbolic.
    Raises BadInput as onnx_module does.
    """
    graph = read_graph(path)
    batch = _batch(graph)
    given = {**sizes, **({batch: sizes.get(batch, 2)} if batch else {})}
    inputs = inputs_of(graph, given, options.dtype)

    def make(micro_batch: int) -> Inputs:
        return dict(inputs_of(graph, {**given, batch: micro_batch} if batch else given, options.dtype))

    module = module_of(graph, options.dtype)
    return TrainingStep(
        name=name,
        source=str(path),
        command=command,
        sequence_length=tokens_of(inputs),
        module=module,
        inputs=make,
        loss=None,
        dtype=options.dtype,
        autocast=options.autocast,
        own_types=frozenset(name for name, _ in module.named_buffers()),  # constants are as the file has them
    )


def _batch(graph: Graph) -> str:
    """Return the name of the first dimension of the first input, or nothing if it is fixed."""
    first = graph.inputs[0].shape if graph.inputs else ()
    return first[0] if first and isinstance(first[0], str) and first[0].isidentifier() else ""
