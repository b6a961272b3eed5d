"""ONNX models as modules: same numbers and FLOPs as torch, places in the module tree, bad files said in one line."""

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

import math  # noqa: E402
import sys  # noqa: E402
import warnings  # noqa: E402
from contextlib import suppress  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from onnx import TensorProto, helper, numpy_helper, version_converter  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from hardplace.errors import BadInput  # noqa: E402
from hardplace.workload.recording.huggingface import Options  # noqa: E402
from hardplace.workload.recording.layers import record_workload  # noqa: E402
from hardplace.workload.recording.onnx import onnx_module, step_of_onnx  # noqa: E402
from hardplace.workload.recording.step import fake  # noqa: E402
from onnx_models import HEADS, HIDDEN, POSITIONS, VOCABULARY, Builder, bottleneck, gpt  # noqa: E402

SIZES = {"batch": 2, "sequence": 6}


@pytest.fixture
def write(tmp_path):
    """Write a model, or what replaces its bytes, to a file."""

    def written(model):
        path = tmp_path / "model.onnx"
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        return path

    return written


def fill(module, weights):
    """Put true weights in the place of the meta ones."""
    module.to_empty(device="cpu")
    for name, weight in [*module.named_parameters(), *module.named_buffers()]:
        weight.data.copy_(torch.from_numpy(weights[module.names_in_file[name]]))
    return module


def torch_gpt(weights, ids, layers=2):
    """The model of onnx_models.gpt, written with torch."""
    w = {name: torch.from_numpy(value).requires_grad_() for name, value in weights.items()}

    def linear(name, x):
        return torch.addmm(w[f"{name}.bias"], x.flatten(0, 1), w[f"{name}.weight"]).unflatten(0, x.shape[:2])

    def norm(name, x):
        return functional.layer_norm(x, (HIDDEN,), w[f"{name}.weight"], w[f"{name}.bias"])

    x = functional.embedding(ids, w["transformer.wte.weight"]) + w["transformer.wpe.weight"][: ids.shape[1]]
    for layer in range(layers):
        name = f"transformer.h.{layer}"
        packed = linear(f"{name}.attn.c_attn", norm(f"{name}.ln_1", x))
        q, k, v = (part.unflatten(2, (HEADS, -1)).transpose(1, 2) for part in packed.split(HIDDEN, 2))
        scores = q @ k.mT / math.sqrt(HIDDEN // HEADS)
        seen = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
        y = scores.masked_fill(~seen, torch.finfo(torch.float32).min).softmax(-1) @ v
        x = x + linear(f"{name}.attn.c_proj", y.transpose(1, 2).flatten(2))
        inner = functional.gelu(linear(f"{name}.mlp.c_fc", norm(f"{name}.ln_2", x)), approximate="tanh")
        x = x + linear(f"{name}.mlp.c_proj", inner)
    return norm("transformer.ln_f", x) @ w["onnx::MatMul_999"]


@pytest.mark.parametrize("sizes", [(2, 6), (1, 1), (3, POSITIONS)])
def test_a_gpt_gives_what_torch_gives(write, sizes):
    model, weights = gpt()
    module, examples = onnx_module(write(model), {"batch": sizes[0], "sequence": sizes[1]})
    assert {name: tuple(value.shape) for name, value in examples.items()} == {"ids": sizes}
    ids = torch.randint(0, VOCABULARY, sizes)
    with FlopCounterMode(display=False) as ours:
        result = fill(module, weights)(ids=ids)["logits"]
        result.sum().backward()
    with FlopCounterMode(display=False) as torchs:
        expected = torch_gpt(weights, ids)
        expected.sum().backward()
    torch.testing.assert_close(result, expected)
    assert ours.get_total_flops() == torchs.get_total_flops() > 0


def test_parameters_are_the_files_and_lie_where_they_are_used(write):
    model, weights = gpt(stored=False)
    module, examples = onnx_module(write(model), SIZES)
    shapes = {name: tuple(weight.shape) for name, weight in module.named_parameters()}
    assert {module.names_in_file[name]: shape for name, shape in shapes.items()} == {
        name: value.shape for name, value in weights.items()
    }
    assert shapes["transformer.h.1.attn.c_attn.weight"] == (HIDDEN, 3 * HIDDEN)
    assert shapes["lm_head.weight"] == (HIDDEN, VOCABULARY)
    assert isinstance(module.transformer.h, torch.nn.ModuleList)
    assert len(module.transformer.h) == 2
    assert all(weight.device.type == "meta" for weight in module.parameters())
    assert module(**examples)["logits"].shape == (2, 6, VOCABULARY)


def test_batch_statistics_are_buffers_and_convolutions_count(write):
    model, weights = bottleneck()
    module, _ = onnx_module(write(model), {"batch": 2})
    statistics = {name for name in weights if "running" in name}
    assert {module.names_in_file[name] for name, _ in module.named_buffers()} == statistics
    assert {module.names_in_file[name] for name, _ in module.named_parameters()} == set(weights) - statistics
    image = torch.randn(2, 3, 32, 32)
    with FlopCounterMode(display=False) as counter:
        result = fill(module, weights)(image=image)["logits"]
    torch.testing.assert_close(result, torch_bottleneck(weights, image), rtol=1e-4, atol=1e-5)
    outputs = {"conv1": 16 * 16}  # all others have 8 x 8 pixels
    flops = sum(
        2 * 2 * value.size * outputs.get(name.removesuffix(".weight"), 64)
        for name, value in weights.items()
        if value.ndim == 4
    )
    assert counter.get_total_flops() == flops + 2 * 2 * weights["fc.weight"].size
    assert [name for name, part in module.named_modules() if isinstance(part, torch.nn.ModuleList)] == ["layer1"]


def torch_bottleneck(weights, x):
    w = {name: torch.from_numpy(value) for name, value in weights.items()}

    def conv(name, x, **how):
        y = functional.conv2d(x, w[f"{name}.weight"], **how)
        mean, variance = w[f"{name}.bn.running_mean"], w[f"{name}.bn.running_var"]
        return functional.batch_norm(y, mean, variance, w[f"{name}.bn.weight"], w[f"{name}.bn.bias"])

    x = functional.max_pool2d(conv("conv1", x, stride=2, padding=3), 3, 2, 1)
    for place in range(2):
        name = f"layer1.{place}"
        y = conv(f"{name}.conv2", conv(f"{name}.conv1", x).relu(), padding=1, groups=2)
        y = conv(f"{name}.conv3", y.relu())
        x = (y + (x if place else conv(f"{name}.downsample", x))).relu()
    return x.mean((2, 3)) @ w["fc.weight"].T + w["fc.bias"]


def recorded(path):
    return record_workload(step_of_onnx(path, "gpt", {"sequence": 6}, Options()))


def test_recorder_finds_equal_blocks_and_no_shape_arithmetic(write):
    """Two layers, numbers affine in the micro-batch; what computes shapes is no operator."""
    workload = recorded(write(gpt(stored=False)[0]))
    assert workload.order == (0, 1, 1, 2)
    assert not workload.training
    assert workload.sequence_length == 6
    assert workload.layers[1].parameters == 12 * HIDDEN**2 + 13 * HIDDEN
    names = {operator.name for layer in workload.layers for operator in layer.operators}
    assert "bmm" in names
    assert not names & {"cat", "floor_divide", "scalar_tensor", "sqrt", "arange", "index"}
    places = {operator.module for operator in workload.layers[1].operators}
    assert {"attn.c_attn", "mlp.c_proj"} <= places


class Names(TorchDispatchMode):
    """Lists the operators that run."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func._schema.name)
        return func(*args, **(kwargs or {}))


def test_numbers_about_shapes_run_no_operator(write):
    """Pads computed as PyTorch's exporter writes them, by two-dimensional tensors."""
    b = Builder()
    zeros = b.add("", "ConstantOfShape", [2], value=numpy_helper.from_array(np.array([0], np.int64)))
    pads = b.add("", "Concat", [1, 2], zeros, axis=0)
    turned = b.add("", "Slice", b.add("", "Reshape", pads, [-1, 2]), [-1], [-(2**63)], [0], [-1])
    flat = b.add("", "Reshape", b.add("", "Transpose", turned, perm=[1, 0]), [-1])
    b.add("", "Pad", "x", b.add("", "Cast", flat, to=TensorProto.INT64))
    b.nodes[-1].output[0] = "y"
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, None])
    module, _ = onnx_module(write(b.model([x], ["y"])), {"x.1": 4})
    values = torch.randn(3, 4)
    with Names() as run:
        y = module(x=values)["y"]
    assert set(run.names) == {"aten::constant_pad_nd"}
    torch.testing.assert_close(y, functional.pad(values, (1, 2)))


def test_softmax_before_operator_set_13_is_over_all_axes_from_its_own(write):
    b = Builder()
    b.nodes.append(helper.make_node("Softmax", ["x"], ["y"]))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 4])
    module, _ = onnx_module(write(b.model([x], ["y"], opset=11)), {})
    values = torch.randn(2, 3, 4)
    torch.testing.assert_close(module(x=values)["y"], values.flatten(1).softmax(1).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("name", "parameters", "flops"),
    [
        # torchvision's documentation, table of classification models: 19.63 and 4.09 GMACs; ResNet-50 with the
        # stride in the first convolution of a block has 3.86 (He et al. 2016, table 1: 3.8).
        ("vgg19", 143_667_240, 2 * 19.63e9),
        ("resnet50", 25_557_032, 2 * 4.09e9),
    ],
)
def test_published_counts_of_files_without_weights(write, name, parameters, flops):
    """Models that the onnx package ships, their weights taken out by onnx.tools.replace_constants."""
    path = Path(onnx.__file__).parent / f"backend/test/data/light/light_{name}.onnx"
    if not path.exists():
        pytest.skip("this version of onnx ships no such models")
    model = version_converter.convert_version(onnx.load(path), 13)
    module, examples = onnx_module(write(model), {})
    assert sum(weight.numel() for weight in module.parameters()) == parameters
    with FlopCounterMode(display=False) as counter:
        module(**examples)
    assert counter.get_total_flops() == pytest.approx(flops, rel=2e-3)


def microsoft(operator, inputs, shapes, **attributes):
    """Return a model of one node of com.microsoft."""
    node = helper.make_node(operator, inputs, ["y"], domain="com.microsoft", **attributes)
    infos = [
        helper.make_tensor_value_info(name, TensorProto.INT64 if name == "ids" else TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]
    b = Builder()
    b.nodes.append(node)
    return b.model(infos, ["y"])


def test_fused_attention_is_attention(write):
    shapes = {"x": [2, 5, 16], "w": [16, 48], "b": [48]}
    x, w, b = (torch.randn(shape) for shape in shapes.values())
    model = microsoft("Attention", ["x", "w", "b"], shapes, num_heads=4, unidirectional=1)
    q, k, v = (part.unflatten(2, (4, 4)).transpose(1, 2) for part in (x @ w + b).chunk(3, 2))
    expected = functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
    torch.testing.assert_close(onnx_module(write(model), {})[0](x=x, w=w, b=b)["y"], expected)

    shapes = {"q": [2, 5, 16], "k": [2, 5, 8], "v": [2, 5, 8]}
    q, k, v = (torch.randn(shape) for shape in shapes.values())
    model = microsoft("GroupQueryAttention", list(shapes), shapes, num_heads=4, kv_num_heads=2)
    by_head = [x.unflatten(2, (heads, 4)).transpose(1, 2) for x, heads in ((q, 4), (k, 2), (v, 2))]
    by_head[1:] = [x.repeat_interleave(2, 1) for x in by_head[1:]]
    expected = functional.scaled_dot_product_attention(*by_head, is_causal=True).transpose(1, 2).flatten(2)
    torch.testing.assert_close(onnx_module(write(model), {})[0](q=q, k=k, v=v)["y"], expected)

    shapes = {"q": [2, 3, 16], "k": [2, 5, 16], "v": [2, 5, 16]}
    q, k, v = (torch.randn(shape) for shape in shapes.values())
    model = microsoft("MultiHeadAttention", list(shapes), shapes, num_heads=4)
    by_head = [x.unflatten(2, (4, 4)).transpose(1, 2) for x in (q, k, v)]
    expected = functional.scaled_dot_product_attention(*by_head).transpose(1, 2).flatten(2)
    torch.testing.assert_close(onnx_module(write(model), {})[0](q=q, k=k, v=v)["y"], expected)


def test_rotary_embeddings_by_position(write):
    """com.microsoft's takes positions second, also as one that the rows count from."""
    x, cosine, sine = torch.randn(2, 3, 8), torch.randn(9, 2), torch.randn(9, 2)
    positions = torch.tensor([[4, 5, 6]] * 2)
    shapes = {"x": [2, 3, 8], "ids": [2, 3], "c": [9, 2], "s": [9, 2]}
    y = {}
    for name, order in (
        ("ids", ["x", "ids", "c", "s"]),
        ("first", ["x", "ids", "c", "s"]),
        ("own", ["x", "c", "s", "ids"]),
    ):
        model = microsoft("RotaryEmbedding", order, shapes | ({"ids": [1]} if name == "first" else {}), num_heads=2)
        if name == "own":
            model.graph.node[0].domain, model.opset_import[0].version = "", 23
        module, _ = onnx_module(write(model), {})
        y[name] = module(x=x, ids=torch.tensor([4]) if name == "first" else positions, c=cosine, s=sine)["y"]
    torch.testing.assert_close(y["ids"], y["own"])
    torch.testing.assert_close(y["first"], y["own"])
    pair, turn = x[..., [0, 2]], torch.stack((cosine[4:7, 0], sine[4:7, 0]), -1)
    torch.testing.assert_close(y["own"][..., 0], pair[..., 0] * turn[:, 0] - pair[..., 1] * turn[:, 1])


def test_random_numbers_lie_where_the_file_says(write):
    model = one_node("RandomUniformLike", low=2.0, high=3.0)
    y = onnx_module(write(model), {})[0](x=torch.zeros(2, 3))["y"]
    assert ((y >= 2) & (y < 3)).all()
    model = one_node("RandomNormalLike", mean=5.0, scale=0.0)
    assert onnx_module(write(model), {})[0](x=torch.zeros(2, 3))["y"].tolist() == [[5.0] * 3] * 2


def test_fused_norms_and_activations(write):
    x, skip, g, b = torch.randn(2, 3, 8), torch.randn(2, 3, 8), torch.randn(8), torch.randn(8)
    shapes = {"x": [2, 3, 8], "skip": [2, 3, 8], "g": [8], "b": [8]}

    def run(operator, names, **attributes):
        model = microsoft(operator, names, {name: shapes[name] for name in names}, **attributes)
        values = {"x": x, "skip": skip, "g": g, "b": b}
        return onnx_module(write(model), {})[0](**{name: values[name] for name in names})["y"]

    torch.testing.assert_close(
        run("SkipLayerNormalization", ["x", "skip", "g", "b"], epsilon=1e-3),
        functional.layer_norm(x + skip, (8,), g, b, 1e-3),
    )
    torch.testing.assert_close(
        run("SkipSimplifiedLayerNormalization", ["x", "skip", "g"], epsilon=1e-3),
        functional.rms_norm(x + skip, (8,), g, 1e-3),
    )
    torch.testing.assert_close(run("QuickGelu", ["x"]), x * torch.sigmoid(1.702 * x))
    torch.testing.assert_close(run("FastGelu", ["x", "b"]), functional.gelu(x + b, approximate="tanh"))
    torch.testing.assert_close(run("BiasGelu", ["x", "b"]), functional.gelu(x + b))
    torch.testing.assert_close(run("FusedMatMul", ["x", "skip"], transB=1, alpha=0.5), 0.5 * x @ skip.mT)


def test_scopes_from_metadata_and_roles_from_torch_export(write):
    """What PyTorch's newer exporter leaves: scopes in nodes' metadata, roles in those of values."""
    b = Builder()
    for place in range(2):
        b.weight(f"blocks.{place}.weight", 4, 4)
        b.nodes.append(helper.make_node("MatMul", [f"x{place}", f"blocks.{place}.weight"], [f"m{place}"]))
        scopes = repr(["", "blocks", f"blocks.{place}", "mm"])
        b.nodes[-1].metadata_props.add(key="pkg.torch.onnx.name_scopes", value=scopes)
        b.nodes.append(helper.make_node("Mul", [f"m{place}", "table"], [f"x{place + 1}"]))
    b.weight("table", 4)
    model = b.model([helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["n", 4])], ["x2"])
    for name, kind in (("table", "BUFFER"), ("blocks.0.weight", "PARAMETER"), ("blocks.1.weight", "PARAMETER")):
        info = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        info.metadata_props.add(key="pkg.torch.export.graph_signature.InputSpec.kind", value=kind)
        model.graph.value_info.append(info)
    module, _ = onnx_module(write(model), {"n": 3})
    assert [name for name, _ in module.named_parameters()] == ["blocks.0.weight", "blocks.1.weight"]
    assert list(dict(module.named_buffers())) == ["blocks.table"]
    assert isinstance(module.blocks, torch.nn.ModuleList)


def test_weights_that_an_exporter_merged_for_equal_numbers_are_two(write):
    b = Builder()
    b.weight("first.bias", 4)
    b.nodes.append(helper.make_node("Identity", ["first.bias"], ["second.bias"], name="Identity_0"))
    b.nodes.append(helper.make_node("Add", ["x", "first.bias"], ["y"], name="/first/Add"))
    b.nodes.append(helper.make_node("Add", ["y", "second.bias"], ["z"], name="/second/Add"))
    b.weight("third.bias", 4)
    b.nodes.append(helper.make_node("Identity", ["third.bias"], ["fourth.bias"], name="Identity_1"))
    b.nodes.append(helper.make_node("Add", ["z", "fourth.bias"], ["sum"], name="/fourth/Add"))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    for producer, count in (("pytorch", 3), ("other", 2)):
        module, _ = onnx_module(write(b.model([x], ["sum"], producer_name=producer)), {})
        assert len(list(module.parameters())) == count


@pytest.mark.parametrize("stored", [("bn.weight", "bn.bias"), ("bn.running_var", "bn.running_mean")])
def test_statistics_that_an_exporter_merged_with_parameters_are_none(write, stored):
    """Of a batch norm not yet trained: bias and mean are zeros, scale and variance ones; one of each pair is stored."""
    b = Builder()
    names = ["bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"]
    for one, other in (("bn.weight", "bn.running_var"), ("bn.bias", "bn.running_mean")):
        source, alias = (one, other) if one in stored else (other, one)
        b.weight(source, 4)
        b.nodes.append(helper.make_node("Identity", [source], [alias], name=f"Identity_{alias}"))
    b.nodes.append(helper.make_node("BatchNormalization", ["x", *names], ["y"], name="/bn/BatchNormalization"))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])
    module, _ = onnx_module(write(b.model([x], ["y"], producer_name="pytorch")), {})
    assert {name for name, _ in module.named_parameters()} == {"bn.weight", "bn.bias"}
    assert {name for name, _ in module.named_buffers()} == {"bn.running_mean", "bn.running_var"}


@pytest.mark.parametrize("training", [False, True])
def test_an_export_without_folding_has_the_models_parameters(tmp_path, training):
    """Not yet trained, so that biases, means and variances are equal numbers, which the exporter merges."""
    layers = [torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 4, 3), torch.nn.BatchNorm2d(4)]
    model = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(4 * 16, 4)).train(training)
    for layer in model:
        if getattr(layer, "bias", None) is not None:
            torch.nn.init.zeros_(layer.bias)
    path = tmp_path / "model.onnx"
    mode = torch.onnx.TrainingMode.TRAINING if training else torch.onnx.TrainingMode.EVAL
    with warnings.catch_warnings(action="ignore"):  # of the newer exporter
        torch.onnx.export(
            model, (torch.zeros(2, 3, 8, 8),), str(path), dynamo=False, do_constant_folding=False, training=mode
        )
    found = {name: tuple(weight.shape) for name, weight in onnx_module(path, {})[0].named_parameters()}
    assert sorted(found.values()) == sorted(tuple(weight.shape) for weight in model.parameters())


def test_biases_that_the_newer_exporter_merged_are_one_a_module(write):
    """Equal biases of two linears are one initializer; a module that is called twice has one bias all the same."""
    b = Builder()
    b.weight("first.bias", 4)
    for place, scope in enumerate(("first", "second", "second")):
        b.nodes.append(helper.make_node("Add", [f"x{place}", "first.bias"], [f"x{place + 1}"]))
        b.nodes[-1].metadata_props.add(key="pkg.torch.onnx.name_scopes", value=repr(["", scope, "add"]))
    x = helper.make_tensor_value_info("x0", TensorProto.FLOAT, [4])
    model = b.model([x], ["x3"], producer_name="pytorch")
    info = helper.make_tensor_value_info("first.bias", TensorProto.FLOAT, None)
    info.metadata_props.add(key="pkg.torch.export.graph_signature.InputSpec.kind", value="PARAMETER")
    model.graph.value_info.append(info)
    module, _ = onnx_module(write(model), {})
    assert [name for name, _ in module.named_parameters()] == ["first.bias", "second.bias"]
    assert set(module.names_in_file.values()) == {"first.bias"}
    torch.testing.assert_close(
        fill(module, b.weights)(x0=torch.ones(4))["x3"], 1 + 3 * torch.from_numpy(b.weights["first.bias"])
    )


def test_functions_of_the_file_are_put_in_place(write):
    b = Builder()
    b.nodes.append(helper.make_node("Twice", ["x"], ["y"], domain="own"))
    body = [helper.make_node("Add", ["a", "a"], ["c"])]
    function = helper.make_function("own", "Twice", ["a"], ["c"], body, [helper.make_opsetid("", 17)])
    model = b.model([helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])], ["y"], functions=[function])
    model.opset_import.append(helper.make_opsetid("own", 1))
    module, _ = onnx_module(write(model), {})
    assert module(x=torch.ones(2))["y"].tolist() == [2, 2]


def test_sizes_may_be_given_for_sums_of_dimensions(write):
    model, _ = gpt()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "past + 2*sequence"
    _, examples = onnx_module(write(model), {"batch": 2, "past": 3, "sequence": 4})
    assert examples["ids"].shape == (2, 11)


def one_node(operator, *inputs, shape=(2, 3), opset=17, **attributes):
    b = Builder()
    b.nodes.append(helper.make_node(operator, ["x", *inputs], ["y"], name="n1", **attributes))
    return b.model([helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)], ["y"], opset=opset)


def without_imports():
    model = one_node("Relu")
    del model.opset_import[:]
    return model


def with_weight(name, shape, **fields):
    model = one_node("Add", "w")
    model.graph.initializer.append(TensorProto(name=name, dims=shape, data_type=1, **fields))
    return model


def control_flow():
    model = one_node("Relu")
    branch = helper.make_graph([helper.make_node("Relu", ["x"], ["z"])], "b", [], [])
    model.graph.node.append(helper.make_node("If", ["y"], ["z"], name="choice", then_branch=branch, else_branch=branch))
    return model


@pytest.mark.parametrize(
    ("model", "sizes", "message"),
    [
        (b"", {}, "a graph; the file has none, or is cut short"),
        (b"not a model at all", {}, "expected a whole ONNX model"),
        (one_node("Frobnicate"), {}, "Frobnicate, 1 times, first in node 'n1'"),
        (control_flow(), {}, r"If \(control flow\), 1 times, first in node 'choice'"),
        (one_node("Relu", opset=9), {}, "operator set 9; expected 11 to"),
        (without_imports(), {}, "opset_import"),
        (one_node("Add", "w"), {}, "reads 'w', which nothing before it makes"),
        (with_weight("w", []), {}, None),
        (with_weight("w", [], raw_data=bytes(24)), {}, r"constant 'w': its shape \[\] does not fit its 6 elements"),
        (with_weight("w", [-3]), {}, r"shape \[-3\]; expected no negative"),
        (with_weight("w", [2**30, 2**30]), {}, "at most 2\\^40 elements"),
        (one_node("Relu", shape=("batch", 3)), {}, "'x': dimension 0 is 'batch' and has no value; give size batch=8"),
        (one_node("Relu", shape=(None, 3)), {}, r"give size x\.0=8"),
        (one_node("Relu", shape=("batch", 3)), {"batch": 0}, "size 'batch' is 0; expected a whole number"),
        (one_node("Relu", shape=("batch", 3)), {"batch": -1}, "at least 1"),
        (one_node("Relu", shape=("batch", 3)), {"batch": 2**40}, r"at most 2\^40 elements"),
        (one_node("Relu", shape=("batch", 3)), {"batch": 2, "bach": 2}, r"unknown size 'bach'; did you mean batch\?"),
        (one_node("Relu"), {"batch": 2}, "all dimensions of the inputs are fixed"),
        (one_node("Relu", shape=(0, 3)), {}, r"shape \[0, 3\]; expected dimensions of at least 1"),
        (one_node("Relu", shape=None), {}, "expected a tensor with a shape"),
    ],
)  # fmt: skip
def test_bad_files_are_said_in_one_line(write, model, sizes, message):
    with pytest.raises(BadInput, match=message) as problem:
        onnx_module(write(model), sizes)
    assert "\n" not in str(problem.value)
    assert "model.onnx" in str(problem.value)


def test_all_unknown_operators_are_named(write):
    model = one_node("Frobnicate")
    for place in range(3):
        model.graph.node.append(helper.make_node("Twist", ["y"], [f"z{place}"], name=f"t{place}"))
    with pytest.raises(BadInput, match="Twist, 3 times, first in node 't0'; Frobnicate, 1 times, first in node 'n1'"):
        onnx_module(write(model), {})


def test_shapes_that_depend_on_data_are_refused(write):
    model = one_node("Reshape", "to")
    model.graph.input.append(helper.make_tensor_value_info("to", TensorProto.INT64, [1]))
    module, _ = onnx_module(write(model), {})
    with pytest.raises(BadInput, match=r"node 'n1' \(Reshape\): it needs the numbers in 'to', which depend on"):
        module(x=torch.randn(2, 3), to=torch.tensor([6]))


def test_inputs_and_outputs_that_are_not_there_are_named(write):
    module, _ = onnx_module(write(one_node("Relu")), {})
    with pytest.raises(BadInput, match=r"expected the inputs \['x'\], found \['z'\]"):
        module(z=torch.zeros(2, 3))
    shapes = {"x": [2, 8], "skip": [2, 8], "g": [8]}
    model = microsoft("SkipLayerNormalization", list(shapes), shapes)
    model.graph.node[0].output.extend(["mean"])
    model.graph.node.append(helper.make_node("Relu", ["mean"], ["z"], name="n2"))
    with pytest.raises(
        BadInput, match=r"node 'n2' \(Relu\): it reads 'mean', an output of an operator that is not made"
    ):
        onnx_module(write(model), {})[0](x=torch.zeros(2, 8), skip=torch.zeros(2, 8), g=torch.zeros(8))


def test_operators_that_fail_are_named_with_their_shapes(write):
    model = one_node("MatMul", "w")
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((4, 5), np.float32), "w"))
    module, _ = onnx_module(write(model), {})
    with pytest.raises(BadInput, match=r"node 'n1' \(MatMul\): .* \(inputs of shapes \[2, 3\], \[4, 5\]\)"):
        module.to_empty(device="cpu")(x=torch.randn(2, 3))


def test_files_cut_short_anywhere_are_bad_input(tmp_path):
    model = one_node("Softmax")
    del model.opset_import[1:]  # what does not mention com.microsoft is a whole model too
    content = model.SerializeToString()
    path = tmp_path / "cut.onnx"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(BadInput):
            onnx_module(path, {})


GPT = gpt(layers=1)[0].SerializeToString()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GPT) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_files_are_read_or_refused(tmp_path_factory, changes):
    content = bytearray(GPT)
    for place, value in changes:
        content[place] = value
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(content)
    with suppress(BadInput):
        module, inputs = onnx_module(path, SIZES)
        mode = FakeTensorMode()
        fake(module, torch.bfloat16, mode)
        with mode:
            module(**{name: torch.empty(value.shape, dtype=value.dtype) for name, value in inputs.items()})


def test_without_the_onnx_package_it_says_what_to_install(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(BadInput, match=r"pip install 'hardplace\[onnx\]'"):
        onnx_module(write(b""), {})


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere\.onnx: cannot be read"):
        onnx_module(tmp_path / "nowhere.onnx", {})
