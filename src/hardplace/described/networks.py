"""Layers by name: texts such as `product:128,256,512`, and four networks whose layers are written out here."""

from __future__ import annotations

import re
from collections.abc import Callable

from hardplace.described.layers import LayerShape, convolution, elementwise, pool, product, softmax
from hardplace.errors import BadInput, unknown

_FORMS = {
    "product": "product:M,N,K[,BATCH]",
    "convolution": "convolution:CHANNELS,FILTERS,SIZE,WINDOW[,STRIDE[,GROUPS]]",
    "pool": "pool:CHANNELS,SIZE,WINDOW,STRIDE",
    "elementwise": "elementwise:ELEMENTS[,OPERANDS]",
    "softmax": "softmax:ROWS,COLUMNS",
}
_COUNTS = {"product": (3, 4), "convolution": (4, 6), "pool": (4, 4), "elementwise": (1, 2), "softmax": (2, 2)}


def layer_of(text: str) -> LayerShape:
    """Return the layer of a text.

    >>> layer_of("convolution:64,128,56,3,2").extents["p"]
    28

    Raises:
        BadInput: For another form.
    """
    kind, _, sizes = text.partition(":")
    if kind not in _FORMS:
        raise unknown("layer", kind, _FORMS)
    parts = sizes.split(",")
    least, most = _COUNTS[kind]
    if not least <= len(parts) <= most or not all(re.fullmatch(r"[1-9]\d{0,9}", part) for part in parts):
        raise BadInput("layers", repr(text), f"{_FORMS[kind]} of whole numbers from 1")
    numbers = [int(part) for part in parts]
    if kind == "product":
        return product(text, *numbers)
    if kind == "convolution":
        channels, filters, size, window, *rest = numbers
        stride, groups = (*rest, 1, 1)[:2]
        if window > size:
            raise BadInput("layers", repr(text), "a window that is not larger than the input")
        return convolution(text, channels, filters, (size, size), (window, window), stride, groups=groups)
    if kind == "pool":
        if numbers[2] > numbers[1]:
            raise BadInput("layers", repr(text), "a window that is not larger than the input")
        return pool(text, numbers[0], (numbers[1],) * 2, (numbers[2],) * 2, numbers[3])
    return (elementwise if kind == "elementwise" else softmax)(text, *numbers)


def network(name: str) -> tuple[LayerShape, ...]:
    """Return the layers of a network, one after the other.

    Raises:
        BadInput: With the nearest names, for a network that is not here.
    """
    if name not in _NETWORKS:
        raise unknown("network", name, _NETWORKS)
    return _NETWORKS[name]()


def network_names() -> tuple[str, ...]:
    """Return the names of the networks."""
    return tuple(_NETWORKS)


def _resnet_50() -> tuple[LayerShape, ...]:
    """Return ResNet-50's layers for one image of 224 x 224 (He et al., CVPR 2016, table 1)."""
    layers = [
        convolution("conv1", 3, 64, (224, 224), (7, 7), 2, (3, 3)),
        pool("pool1", 64, (113, 113), (3, 3), 2),
    ]
    channels, size = 64, 56
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 2):
        for block in range(blocks):
            stride, name = 2 if block == 0 and stage > 2 else 1, f"conv{stage}_{block + 1}"
            layers.append(convolution(f"{name}a", channels, width, (size, size)))
            layers.append(convolution(f"{name}b", width, width, (size, size), (3, 3), stride))
            if block == 0:
                layers.append(convolution(f"{name} shortcut", channels, 4 * width, (size, size), (1, 1), stride))
            size //= stride
            layers.append(convolution(f"{name}c", width, 4 * width, (size, size)))
            layers.append(elementwise(f"{name} sum", 4 * width * size * size, 2))
            channels = 4 * width
    return (*layers, pool("pool5", 2048, (7, 7), (7, 7), 1), product("classes", 1, 1000, 2048))


def _mobilenet() -> tuple[LayerShape, ...]:
    """Return MobileNet's layers for one image of 224 x 224 (arXiv 1704.04861, table 1)."""
    layers = [convolution("conv1", 3, 32, (224, 224), (3, 3), 2)]
    channels, size = 32, 112
    for index, (filters, stride) in enumerate(
        ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)), 2
    ):
        layers.append(
            convolution(f"depthwise{index}", channels, channels, (size, size), (3, 3), stride, groups=channels)
        )
        size //= stride
        layers.append(convolution(f"pointwise{index}", channels, filters, (size, size)))
        channels = filters
    return (*layers, pool("pool", 1024, (7, 7), (7, 7), 1), product("classes", 1, 1000, 1024))


def _tc_resnet8() -> tuple[LayerShape, ...]:
    """Return TC-ResNet8's layers for one second of speech, 40 coefficients x 101 frames (arXiv 1904.03814)."""
    layers = [convolution("conv0", 40, 16, (101, 1), (3, 1), 1, (1, 0))]
    channels, frames = 16, 101
    for block, filters in enumerate((24, 32, 48), 1):
        layers.append(convolution(f"block{block} shortcut", channels, filters, (frames, 1), (1, 1), 2, (0, 0)))
        layers.append(convolution(f"block{block}a", channels, filters, (frames, 1), (9, 1), 2, (4, 0)))
        frames = (frames + 1) // 2
        layers.append(convolution(f"block{block}b", filters, filters, (frames, 1), (9, 1), 1, (4, 0)))
        layers.append(elementwise(f"block{block} sum", filters * frames, 2))
        channels = filters
    return (*layers, pool("pool", 48, (frames, 1), (frames, 1), 1), product("classes", 1, 12, 48))


def _llama_block() -> tuple[LayerShape, ...]:
    """Return the forward pass of one block of Llama-2 7B for 512 tokens (arXiv 2307.09288)."""
    tokens, hidden, heads, ffn = 512, 4096, 32, 11008
    width = hidden // heads
    return (
        elementwise("attention norm", tokens * hidden),
        *(product(f"{name} projection", tokens, hidden, hidden) for name in ("query", "key", "value")),
        product("scores", tokens, tokens, width, heads),
        softmax("probabilities", heads * tokens, tokens),
        product("values", tokens, width, tokens, heads),
        product("output projection", tokens, hidden, hidden),
        elementwise("attention sum", tokens * hidden, 2),
        elementwise("MLP norm", tokens * hidden),
        product("gate", tokens, ffn, hidden),
        product("up", tokens, ffn, hidden),
        elementwise("gated", tokens * ffn, 2),
        product("down", tokens, hidden, ffn),
        elementwise("MLP sum", tokens * hidden, 2),
    )


_NETWORKS: dict[str, Callable[[], tuple[LayerShape, ...]]] = {
    "resnet-50": _resnet_50,
    "mobilenet": _mobilenet,
    "tc-resnet8": _tc_resnet8,
    "llama2-7b-block": _llama_block,
}
