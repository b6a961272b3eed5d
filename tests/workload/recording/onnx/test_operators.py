"""Each operator gives what ONNX's own reference gives, and the same shapes on fake tensors."""

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

import numpy as np  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

from hardplace.workload.recording.onnx import onnx_module  # noqa: E402
from hardplace.workload.recording.onnx.operators import OPERATORS  # noqa: E402
from onnx_cases import CASES  # noqa: E402


def model_of(one):
    """Return a model of one node: its graph inputs as arrays; numbers and what decides about shapes are constants."""
    names = ["" if value is None else f"x{place}" for place, value in enumerate(one.inputs)]
    outputs = [f"y{place}" for place in range(one.outputs)]
    inputs, constants = {}, []
    for place, (name, value) in enumerate(zip(names, one.inputs, strict=True)):
        if name and (value.ndim == 0 or place in OPERATORS[one.operator].values):
            constants.append(numpy_helper.from_array(value, name))
        elif name:
            inputs[name] = value
    node = helper.make_node(one.operator, names, outputs, name="node", **one.attributes)
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in inputs.items()
    ]
    unknown = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in outputs]
    graph = helper.make_graph([node], "graph", infos, unknown, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", one.opset)], ir_version=9), inputs


NEWEST = onnx.defs.onnx_opset_version()


@pytest.mark.parametrize("one", [one for one in CASES if one.opset <= NEWEST], ids=str)
def test_operator_gives_what_the_reference_gives(one, tmp_path):
    model, inputs = model_of(one)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    expected = ReferenceEvaluator(model).run(None, inputs)
    module, examples = onnx_module(path, {})
    module.to_empty(device="cpu")
    for name, weight in [*module.named_parameters(), *module.named_buffers()]:
        stored = next(entry for entry in model.graph.initializer if entry.name == module.names_in_file[name])
        weight.data.copy_(torch.from_numpy(numpy_helper.to_array(stored).copy()))
    results = module(**{name: torch.from_numpy(value.copy()) for name, value in inputs.items()})
    for result, value in zip(results.values(), expected, strict=True):
        value = np.asarray(value)
        assert result.detach().numpy().dtype == value.dtype
        np.testing.assert_allclose(result.detach().numpy(), value, rtol=1e-4, atol=1e-5)
    with FakeTensorMode(allow_non_fake_inputs=True):
        fakes = {name: torch.empty(value.shape, dtype=value.dtype) for name, value in examples.items()}
        for result, value in zip(module(**fakes).values(), expected, strict=True):
            assert tuple(result.shape) == np.asarray(value).shape


def test_cases_cover_the_operators():
    """All of ai.onnx but those that random numbers or no reference leave out."""
    left_out = {name for name in OPERATORS if "." not in name} - {one.operator for one in CASES}
    assert len({one.operator for one in CASES}) >= 120
    assert "MatMul" not in left_out
    assert left_out <= {
        "Acosh", "Asinh", "Atanh", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Det",
        "NegativeLogLikelihoodLoss", "RandomNormalLike", "RandomUniformLike", "SimplifiedLayerNormalization",
    }  # fmt: skip
