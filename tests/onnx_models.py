"""Small ONNX models as exporters write them: scopes in node names, shapes computed in the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

HIDDEN, HEADS, VOCABULARY, POSITIONS = 16, 4, 11, 12
_RANDOM = np.random.default_rng(3)


class Builder:
    """Collects nodes and weights of a graph; names of nodes are `/scope/Operator_number`."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: dict[str, np.ndarray] = {}

    def add(self, scope: str, operator: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        name = f"{scope}/{operator}_{len(self.nodes)}"
        made = [f"{name}_output_{place}" for place in range(outputs)]
        names = [value if isinstance(value, str) else self.constant(scope, value) for value in inputs]
        self.nodes.append(helper.make_node(operator, names, made, name=name, **attributes))
        return made[0] if outputs == 1 else made

    def constant(self, scope: str, value: Any) -> str:
        name = f"{scope}/Constant_{len(self.nodes)}"
        array = np.array(value, dtype=np.float32 if isinstance(value, float) else np.int64)
        tensor = numpy_helper.from_array(array)
        self.nodes.append(helper.make_node("Constant", [], [name], name=name, value=tensor))
        return name

    def weight(self, name: str, *shape: int) -> str:
        self.weights[name] = (_RANDOM.normal(size=shape) * 0.3).astype(np.float32)
        return name

    def model(self, inputs: list[Any], outputs: list[str], *, opset: int = 17, stored: bool = True, **more: Any) -> Any:
        """Return the model; without `stored` the weights lie in a file that is not there."""
        tensors = [numpy_helper.from_array(value, name) for name, value in self.weights.items()]
        for tensor in tensors if not stored else []:
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="nowhere.bin")
        infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "graph", inputs, infos, tensors)
        imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=imports, ir_version=9, **more)


def tokens(*shape: int | str | None) -> Any:
    return helper.make_tensor_value_info("ids", TensorProto.INT64, shape)


def gpt(*, layers: int = 2, stored: bool = True, **more: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """Return a GPT as PyTorch's exporter writes it (decomposed attention, tanh GELU), and its weights."""
    b = Builder()
    root = "/transformer"
    wte, wpe = (
        b.weight("transformer.wte.weight", VOCABULARY, HIDDEN),
        b.weight("transformer.wpe.weight", POSITIONS, HIDDEN),
    )
    shape = b.add(root, "Shape", "ids")
    length = b.add(root, "Gather", shape, 1, axis=0)
    batch = b.add(root, "Gather", shape, 0, axis=0)
    positions = b.add(root, "Unsqueeze", b.add(root, "Range", 0, length, 1), [0])
    x = b.add(root, "Add", b.add(f"{root}/wte", "Gather", wte, "ids"), b.add(f"{root}/wpe", "Gather", wpe, positions))
    for layer in range(layers):
        x = _block(b, f"{root}/h.{layer}", f"transformer.h.{layer}", x, batch, length)
    x = _norm(b, f"{root}/ln_f", "transformer.ln_f", x)
    head = b.weight("onnx::MatMul_999", HIDDEN, VOCABULARY)
    b.add("/lm_head", "MatMul", x, head)
    b.nodes[-1].output[0] = "logits"
    return b.model([tokens("batch", "sequence")], ["logits"], stored=stored, **more), b.weights


def _norm(b: Builder, scope: str, name: str, x: str) -> str:
    weight, bias = b.weight(f"{name}.weight", HIDDEN), b.weight(f"{name}.bias", HIDDEN)
    return b.add(scope, "LayerNormalization", x, weight, bias, axis=-1, epsilon=1e-5)


def _linear(b: Builder, scope: str, name: str, x: str, inside: int, outside: int) -> str:
    """Linear as GPT-2's: tokens in one dimension, Gemm, back to the shape, which is computed in the graph."""
    shape = b.add(scope, "Shape", x)
    sizes = [b.add(scope, "Unsqueeze", b.add(scope, "Gather", shape, place, axis=0), [0]) for place in (0, 1)]
    flat = b.add(scope, "Reshape", x, [-1, inside])
    weight, bias = b.weight(f"{name}.weight", inside, outside), b.weight(f"{name}.bias", outside)
    y = b.add(scope, "Gemm", flat, weight, bias)
    return b.add(scope, "Reshape", y, b.add(scope, "Concat", *sizes, [outside], axis=0))


def _block(b: Builder, scope: str, name: str, x: str, batch: str, length: str) -> str:
    y = _attention(b, f"{scope}/attn", f"{name}.attn", _norm(b, f"{scope}/ln_1", f"{name}.ln_1", x), batch, length)
    x = b.add(scope, "Add", x, y)
    inner = _norm(b, f"{scope}/ln_2", f"{name}.ln_2", x)
    inner = _linear(b, f"{scope}/mlp/c_fc", f"{name}.mlp.c_fc", inner, HIDDEN, 4 * HIDDEN)
    act = f"{scope}/mlp/act"
    cube = b.add(act, "Mul", b.add(act, "Pow", inner, 3.0), 0.044715)
    bend = b.add(act, "Tanh", b.add(act, "Mul", b.add(act, "Add", inner, cube), float(np.sqrt(2 / np.pi))))
    inner = b.add(act, "Mul", b.add(act, "Mul", inner, 0.5), b.add(act, "Add", bend, 1.0))
    return b.add(scope, "Add", x, _linear(b, f"{scope}/mlp/c_proj", f"{name}.mlp.c_proj", inner, 4 * HIDDEN, HIDDEN))


def _attention(b: Builder, scope: str, name: str, x: str, batch: str, length: str) -> str:
    packed = _linear(b, f"{scope}/c_attn", f"{name}.c_attn", x, HIDDEN, 3 * HIDDEN)
    parts = b.add(scope, "Split", packed, [HIDDEN] * 3, axis=2, outputs=3)
    rows = [b.add(scope, "Unsqueeze", value, [0]) for value in (batch, length)]
    by_head = b.add(scope, "Concat", *rows, [HEADS], [HIDDEN // HEADS], axis=0)
    q, k, v = (b.add(scope, "Transpose", b.add(scope, "Reshape", part, by_head), perm=[0, 2, 1, 3]) for part in parts)
    width = b.add(scope, "Gather", b.add(scope, "Shape", v), -1, axis=0)
    root = b.add(scope, "Sqrt", b.add(scope, "Cast", width, to=TensorProto.FLOAT))
    scores = b.add(scope, "Div", b.add(scope, "MatMul", q, b.add(scope, "Transpose", k, perm=[0, 1, 3, 2])), root)
    square = b.add(scope, "Concat", rows[1], rows[1], axis=0)
    ones = b.add(scope, "ConstantOfShape", square, value=numpy_helper.from_array(np.array([1], np.int64)))
    seen = b.add(scope, "Cast", b.add(scope, "Trilu", ones, upper=0), to=TensorProto.BOOL)
    scores = b.add(scope, "Where", seen, scores, float(np.finfo(np.float32).min))
    y = b.add(scope, "MatMul", b.add(scope, "Softmax", scores, axis=-1), v)
    back = b.add(scope, "Concat", *rows, [HIDDEN], axis=0)
    joined = b.add(scope, "Reshape", b.add(scope, "Transpose", y, perm=[0, 2, 1, 3]), back)
    return _linear(b, f"{scope}/c_proj", f"{name}.c_proj", joined, HIDDEN, HIDDEN)


def bottleneck() -> tuple[Any, dict[str, np.ndarray]]:
    """Return two bottlenecks of a ResNet and its head, batch norms kept, and the weights."""
    b = Builder()
    x = _conv_norm(b, "/conv1", "conv1", "image", 3, 8, 7, strides=[2, 2], pads=[3] * 4)
    x = b.add("/maxpool", "MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for place in range(2):
        scope, name, inside = f"/layer1/layer1.{place}", f"layer1.{place}", (8, 16)[place]
        y = b.add(f"{scope}/relu", "Relu", _conv_norm(b, f"{scope}/conv1", f"{name}.conv1", x, inside, 4, 1))
        y = _conv_norm(b, f"{scope}/conv2", f"{name}.conv2", y, 4, 4, 3, pads=[1] * 4, group=2)
        y = _conv_norm(b, f"{scope}/conv3", f"{name}.conv3", b.add(f"{scope}/relu", "Relu", y), 4, 16, 1)
        skip = x if place else _conv_norm(b, f"{scope}/downsample", f"{name}.downsample", x, 8, 16, 1)
        x = b.add(f"{scope}/relu", "Relu", b.add(scope, "Add", y, skip))
    x = b.add("/avgpool", "GlobalAveragePool", x)
    weight, bias = b.weight("fc.weight", 5, 16), b.weight("fc.bias", 5)
    b.add("/fc", "Gemm", b.add("", "Flatten", x), weight, bias, transB=1)
    b.nodes[-1].output[0] = "logits"
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 32, 32])
    return b.model([image], ["logits"]), b.weights


def _conv_norm(b: Builder, scope: str, name: str, x: str, inside: int, outside: int, side: int, **how: Any) -> str:
    weight = b.weight(f"{name}.weight", outside, inside // how.get("group", 1), side, side)
    y = b.add(scope, "Conv", x, weight, kernel_shape=[side, side], **how)
    norm = [b.weight(f"{name}.bn.{part}", outside) for part in ("weight", "bias", "running_mean", "running_var")]
    b.weights[norm[-1]] = np.abs(b.weights[norm[-1]]) + 0.5
    return b.add(scope, "BatchNormalization", y, *norm)
