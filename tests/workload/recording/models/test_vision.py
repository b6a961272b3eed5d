"""Parameters and FLOPs of the convolutional networks are the published ones; a step runs without values."""

from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")

from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from hardplace.workload.recording.models.flux import flux_step  # noqa: E402
from hardplace.workload.recording.models.unet import u_net_step  # noqa: E402
from hardplace.workload.recording.models.vision import inception_v3_step, vgg16_step  # noqa: E402
from hardplace.workload.recording.step import fake  # noqa: E402

STEPS = {
    "vgg16": vgg16_step,
    "inception-v3": inception_v3_step,
    "inception-v3 with auxiliary head": lambda micro_batch: inception_v3_step(micro_batch, aux=True),
    "u-net": u_net_step,
}


def run(example):
    """Forward and backward on fake bf16 tensors: the output, and FLOPs forward and backward."""
    mode = FakeTensorMode()
    fake(example.module, torch.bfloat16, mode)
    forward, backward = FlopCounterMode(display=False), FlopCounterMode(display=False)
    with mode:
        inputs = {
            name: torch.empty(value.shape, dtype=torch.bfloat16 if value.is_floating_point() else value.dtype)
            for name, value in example.inputs.items()
        }
        with forward:
            output = example.module(**inputs)
        loss = example.loss(output, inputs)
        assert loss.shape == ()
        with backward:
            loss.backward()
    return output, forward.get_total_flops(), backward.get_total_flops()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("vgg16", 138_357_544),
        ("inception-v3", 23_834_568),
        ("inception-v3 with auxiliary head", 27_161_264),
        ("u-net", 31_030_658),
    ],
)
def test_parameters_are_the_published_count(name, parameters):
    """torchvision's vgg16 and inception_v3; U-Net: see the next test."""
    assert sum(weight.numel() for weight in STEPS[name](2).module.parameters()) == parameters


def test_parameters_of_u_net_by_its_figure():
    """Ronneberger et al. 2015, figure 1: 23 convolutional layers, each with a bias."""
    widths = [64, 128, 256, 512, 1024]
    down = [(1, 64, 9), *((a, b, 9) for a, b in pairwise(widths)), *((w, w, 9) for w in widths)]
    up = [(2 * w, w, taps) for w in widths[:-1] for taps in (4, 9)] + [(w, w, 9) for w in widths[:-1]]
    layers = [*down, *up, (64, 2, 1)]
    assert len(layers) == 23
    assert sum(inputs * outputs * taps + outputs for inputs, outputs, taps in layers) == 31_030_658


@pytest.mark.parametrize("name", list(STEPS))
def test_a_step_scales_with_the_micro_batch(name):
    outputs, forward, backward = zip(*(run(STEPS[name](size)) for size in (2, 3)), strict=True)
    assert 3 * forward[0] == 2 * forward[1] > 0
    assert 3 * backward[0] == 2 * backward[1]
    # Two products for each of the forward pass, but the images need no gradient.
    assert 1.99 < backward[0] / forward[0] < 2
    logits = [output if isinstance(output, tuple) else (output,) for output in outputs]
    shape = (2, 388, 388) if name == "u-net" else (1000,)
    assert [[tuple(one.shape) for one in two] for two in logits] == [
        [(size, *shape)] * len(logits[0]) for size in (2, 3)
    ]


@pytest.mark.parametrize("name", list(STEPS))
def test_every_parameter_has_a_gradient(name):
    example = STEPS[name](2)
    run(example)
    for path, weight in example.module.named_parameters():
        assert weight.grad is not None, path
        assert weight.grad.shape == weight.shape


@pytest.mark.parametrize(("name", "multiplications"), [("vgg16", 15.47e9), ("inception-v3", 5.71e9)])
def test_flops_are_the_published_figure(name, multiplications):
    """torchvision's documentation, "GFLOPS" of vgg16 and inception_v3: multiply-accumulates of one image."""
    _, forward, _ = run(STEPS[name](2))
    assert forward / 2 / 2 == pytest.approx(multiplications, rel=0.001)


def test_flops_of_the_librarys_resnet_50():
    """The same way of counting on a model that is not ours: 4.09e9 multiply-accumulates, 25,557,032 parameters."""
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):
        config = transformers.ResNetConfig(num_labels=1000)
        model = transformers.ResNetForImageClassification(config)
    assert sum(weight.numel() for weight in model.parameters()) == 25_557_032
    mode, counter = FakeTensorMode(), FlopCounterMode(display=False)
    fake(model, torch.bfloat16, mode)
    with mode, counter:
        model(pixel_values=torch.empty((2, 3, 224, 224), dtype=torch.bfloat16))
    assert counter.get_total_flops() / 2 / 2 == pytest.approx(4.09e9, rel=0.001)


def test_stages_are_children():
    """What a pipeline cuts: convolutions and classifier of VGG, the eleven blocks of Inception, U-Net's nine levels."""
    assert len(vgg16_step(2).module.blocks) == 14
    assert len(inception_v3_step(2).module.blocks) == 11
    module = u_net_step(2).module
    assert (len(module.encoder), len(module.decoder)) == (5, 4)


def test_flux_has_its_published_parameters_and_its_forward_pass_the_products_of_its_blocks():
    """11,901,408,320: black-forest-labs/FLUX.1-dev, transformer; forward, two a multiply-add of one block of each.

    Torch's counter has no formula of attention on a CPU.
    """
    assert sum(weight.numel() for weight in flux_step(2).module.parameters()) == 11_901_408_320
    width, words, patches = 3072, 512, 4096
    tokens = words + patches
    block = tokens * width * width * (4 + 8)  # queries, keys, values, output; MLP
    double = block + 2 * width * 6 * width
    single = block + width * 3 * width
    stem = patches * 64 * width + words * 4096 * width + 2 * (256 + width) * width + (768 + width) * width
    head = patches * width * 64 + width * 2 * width
    _, forward, _ = run(flux_step(1, double=1, single=1))
    assert forward == 2 * (double + single + stem + head)
