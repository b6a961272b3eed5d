"""What a plan says that its device cannot do is one line, for each field and family of device."""

from dataclasses import replace

import pytest

from hardplace.cost.layers.low_precision import Fp8Recipe
from hardplace.cost.layers.software import Dispatcher, Graphs
from hardplace.errors import BadInput
from hardplace.hardware.catalogue import device, device_names
from hardplace.hardware.device import Arrays
from hardplace.plans.plan import Format, Plan
from hardplace.plans.pricing import pricer_of

PLAN = Plan(global_batch=8, data=8)
ONE_OF = {
    "V100": "v100-sxm2",
    "A100": "a100-80gb-sxm",
    "H100": "h100-sxm",
    "B200": "b200-sxm",
    "MI300X": "mi300x",
    "TPU": "tpu-v5p",
    "Trainium": "trainium2",
    "Gaudi": "gaudi3",
}
FP8 = ("H100", "B200", "MI300X", "Gaudi", "Trainium")
GPUS = ("V100", "A100", "H100", "B200", "MI300X")
# field, value, the families that have it; by hand, from what the makers say of their chips and software
CASES = (
    ("backend", "triton", GPUS),
    ("backend", "fa2", GPUS),
    ("graphs", Graphs.FULL, GPUS),
    ("graphs", Graphs.PARTIAL, GPUS),
    ("graphs", Graphs.NONE, tuple(ONE_OF)),
    ("dispatcher", Dispatcher.ALL_TO_ALL, tuple(ONE_OF)),
    ("dispatcher", Dispatcher.DEEPEP, ("A100", "H100", "B200", "MI300X")),
    ("dispatcher", Dispatcher.HYBRIDEP, ("H100", "B200")),
    ("fused_experts", True, ("H100", "B200")),
    ("fused_experts", False, tuple(ONE_OF)),
    ("precision", Format.FP8, FP8),
    ("precision", Format.FP4, ("B200",)),
    ("fp8_recipe", Fp8Recipe.TENSORWISE, FP8),
    ("fp8_recipe", Fp8Recipe.BLOCKWISE, ("H100", "B200", "MI300X")),
    ("fp8_recipe", Fp8Recipe.MXFP8, ("B200",)),
    ("software", "megatron-core", GPUS),
    ("software", "xla", GPUS),
    ("software", "neuron", ("Trainium",)),
    ("software", "gaudi", ("Gaudi",)),
    ("software", "xla-arrays", ("TPU",)),
    ("software", "", tuple(ONE_OF)),
)


@pytest.mark.parametrize(("field", "value", "able"), CASES)
def test_a_field_that_a_device_contradicts_is_one_line(field: str, value: object, able: tuple[str, ...]) -> None:
    plan = replace(PLAN, **{field: value})
    if field == "fp8_recipe":
        plan = replace(plan, precision=Format.FP8)
    for family, name in ONE_OF.items():
        if field == "fp8_recipe" and family not in FP8:
            continue
        if family in able:
            assert pricer_of(device(name), plan).timer is not None
            continue
        with pytest.raises(BadInput, match=rf"^{field}: .*{name}.*expected") as said:
            pricer_of(device(name), plan)
        assert len(str(said.value).splitlines()) == 1


def test_no_chip_with_arrays_takes_an_attention_backend() -> None:
    """All of the catalogue: `backend` was accepted there and changed nothing."""
    arrays = [chip for chip in map(device, device_names()) if isinstance(chip.engine, Arrays) and "bf16" in chip.dtypes]
    assert len(arrays) > 5
    for chip in arrays:
        with pytest.raises(BadInput, match="backend: triton on"):
            pricer_of(chip, replace(PLAN, backend="triton"))
