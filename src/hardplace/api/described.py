"""Accelerators made from a description."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hardplace.api.asking import Named, asked_of
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from hardplace.answers import Infeasible
    from hardplace.described.answer import DescribedAccelerator
    from hardplace.described.expression import Expression
    from hardplace.described.layers import LayerShape
    from hardplace.described.parameters import ParameterResult


def describe(
    accelerator: str,
    *,
    network: str | None = None,
    layers: Named = (),
    parameters: Mapping[str, int | str] | None = None,
    programs: bool = False,
    simulate: bool = False,
    vary: Mapping[str, Sequence[int]] | None = None,
    within: Sequence[str] = (),
) -> DescribedAccelerator | ParameterResult | Infeasible:
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
        vary: Values of parameters, such as `{"rows": (16, 32)}`: the fastest combination for the layers is searched.
        within: Limits on combinations, such as "rows * columns <= 4096".

    Returns:
        The parts, what is connected, and for each layer its mapping, cycles, bound and what bounds it; or what is short
        for a layer that no mapping fits. With `vary`: the fastest variant, every variant's bound, and the proof.

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
    if vary:
        for option, given in (("programs", programs), ("simulate", simulate)):
            if given:
                raise BadInput(option, None, "one accelerator; not beside values that vary")
        return _varied(str(accelerator), parameters or {}, vary, within, shapes, network or "", asked)
    if within:
        raise BadInput("within", repr(within[0]), "values of a parameter to vary")
    found = described_accelerator(
        read_description(str(accelerator), parameters), shapes, network or "", write_programs=programs,
        simulated=simulate,
    )  # fmt: skip
    return replace(found, question=asked)


def _varied(
    name: str,
    parameters: Mapping[str, int | str],
    vary: Mapping[str, Sequence[int]],
    within: Sequence[str],
    layers: tuple[LayerShape, ...],
    network: str,
    asked: Mapping[str, object],
) -> ParameterResult | Infeasible:
    """Return the fastest variant; BadInput for no layers, unknown parameters, or limits that are no such text."""
    from hardplace.answers import Infeasible
    from hardplace.described.parameters import MOST_CANDIDATES, fastest_parameters
    from hardplace.described.reading import read_description

    if not layers:
        raise BadInput("vary", ", ".join(vary), "a network or layers to be fast for")
    count = math.prod(len(values) for values in vary.values())
    if not 1 <= count <= MOST_CANDIDATES:
        raise BadInput("vary", f"{count:,} combinations", f"1 to {MOST_CANDIDATES:,}")
    if twice := [one for one in vary if one in parameters]:
        raise BadInput("vary", ", ".join(twice), "a parameter without a value of its own")
    for parameter, values in vary.items():
        if len(set(values)) < len(values):
            raise BadInput("vary", f"{parameter}={','.join(map(str, values))}", "each value once")
    plain = read_description(name, parameters)
    limits = [_limit(text, dict(plain.parameters)) for text in within]
    found = fastest_parameters(
        lambda values: read_description(name, {**parameters, **values}), vary, limits, layers, network
    )
    return found if isinstance(found, Infeasible) else replace(found, question=asked)


def _limit(text: str, known: Mapping[str, int]) -> tuple[Expression, int]:
    """Return the expression and the number of a text EXPRESSION <= NUMBER."""
    from hardplace.described.expression import expression

    left, sign, right = text.partition("<=")
    if not sign or not right.strip().isdecimal() or not 0 < int(right) < 2**53:
        raise BadInput("within", repr(text), "EXPRESSION <= NUMBER, such as rows * columns <= 4096")
    return expression(left.strip(), "within", {}, tuple(known)), int(right)
