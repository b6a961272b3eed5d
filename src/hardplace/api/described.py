"""Accelerators made from a description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from hardplace.api.asking import Named, asked_of
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from hardplace.answers import Infeasible
    from hardplace.described.answer import DescribedAccelerator


def describe(
    accelerator: str,
    *,
    network: str | None = None,
    layers: Named = (),
    parameters: Mapping[str, int | str] | None = None,
    programs: bool = False,
    simulate: bool = False,
) -> DescribedAccelerator | Infeasible:
    """Read an accelerator from its description, map layers onto it, and say how many cycles each takes.

    Args:
        accelerator: A TOML file (docs/model-described.md), or eyeriss, gemmini, plasticine, systolic, ultratrail,
            vector-dsp.
        network: resnet-50, mobilenet, tc-resnet8 or llama2-7b-block.
        layers: Layers as texts: product:M,N,K[,BATCH], convolution:CHANNELS,FILTERS,SIZE,WINDOW[,STRIDE[,GROUPS]],
            pool:CHANNELS,SIZE,WINDOW,STRIDE, elementwise:ELEMENTS[,OPERANDS], softmax:ROWS,COLUMNS.
        parameters: Values of parameters in place of the file's, numbers or expressions of those before them.
        programs: Whether each layer's program is written out.
        simulate: Whether each layer is simulated cycle by cycle too; for small layers.

    Returns:
        The parts, what is connected, and for each layer its mapping, cycles, bound and what bounds it; or what is short
        for a layer that no mapping fits.

    Raises:
        BadInput: For a description with a fault, by file and field, and for an unknown network, layer or parameter.
    """
    asked = asked_of(locals())
    from hardplace.described.answer import described_accelerator
    from hardplace.described.networks import layer_of
    from hardplace.described.networks import network as network_of
    from hardplace.described.reading import read_description

    texts = (layers,) if isinstance(layers, str) else tuple(layers)
    if network is not None and texts:
        raise BadInput("network", repr(network), "either a network or layers")
    shapes = network_of(network) if network is not None else tuple(layer_of(text) for text in texts)
    found = described_accelerator(
        read_description(str(accelerator), parameters), shapes, network or "", write_programs=programs,
        simulated=simulate,
    )  # fmt: skip
    return replace(found, question=asked)
