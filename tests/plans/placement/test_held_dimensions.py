"""Texts of `--fix` become values of the type that their dimension has, also of dimensions that may be left open."""

import pytest

from hardplace.cost.layers.software import Dispatcher
from hardplace.errors import BadInput
from hardplace.plans.placement.held_dimensions import fixed, fixed_of
from hardplace.plans.plan import INSIDE_OUT, PipelineSchedule

TEXTS = {
    "tensor=1,8": (1, 8),
    "sequence=true,false": (True, False),
    "schedule=gpipe": (PipelineSchedule.GPIPE,),
    "order=tensor-context-data-pipeline": (INSIDE_OUT,),
    "fragmentation=0.05": (0.05,),
    "tensor_overlap=false": (False,),
    "dispatcher=deepep": (Dispatcher.DEEPEP,),
    "gradient=bf16,bf16": ("bf16",),
}


def test_each_text_is_a_value_of_its_dimension() -> None:
    found = fixed(list(TEXTS))
    assert found == {text.partition("=")[0]: values for text, values in TEXTS.items()}
    assert type(found["tensor"][0]) is int


@pytest.mark.parametrize(
    "text", ["tensor=0", "tensor=x", "sequence=1", "schedule=none", "order=tensor-data", "fragmentation=1", "colour=1"]
)
def test_what_is_no_value_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(BadInput, match=text.partition("=")[0]):
        fixed([text])


def test_an_order_is_given_by_its_dimensions_or_as_a_text_and_several_in_a_list():
    other = (INSIDE_OUT[1], INSIDE_OUT[0], *INSIDE_OUT[2:])
    for given in (INSIDE_OUT, [INSIDE_OUT], ["-".join(INSIDE_OUT)], "-".join(INSIDE_OUT), list(map(str, INSIDE_OUT))):
        assert fixed_of({"order": given}) == {"order": (INSIDE_OUT,)}
    for given in ([INSIDE_OUT, other], ["-".join(INSIDE_OUT), "-".join(other)]):
        assert fixed_of({"order": given, "tensor": [1, 2]}) == {"order": (INSIDE_OUT, other), "tensor": (1, 2)}
