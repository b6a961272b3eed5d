"""What an answer about chips says of itself."""

from hardplace.design.notes import notes
from hardplace.design.question import question_of
from hardplace.units import percent
from hardplace.workload.load import load


def said(area: str, space: str = "reticle", *, ideal: bool = True, model: str = "bert-base") -> str:
    asked = question_of(
        (load(model),), setting="hbm3", space=space, devices=8, batch=8, limits={"area": area}, ideal=ideal
    )
    return " ".join(notes(asked))


def test_chips_above_a_reticle_are_said_to_be_several_dies():
    assert "above 858 mm², one reticle, is several dies" in said("1200 mm2")
    assert "reticle" not in said("858 mm2")


def test_what_kernels_reach_is_said_of_every_chip_by_parts():
    """Ideal ones too: their speeds stand beside none of those that are not."""
    assert "kernels are ideal" in said("500 mm2")
    assert "kernels reach 73.3" in said("500 mm2", ideal=False)
    assert "kernels" not in said("100 mm2", "phaze", ideal=False)


def test_experts_are_named_with_their_share_of_the_flops() -> None:
    # Mixtral: 32 layers x 2 experts a token x 3 products of 4,096 x 14,336, of 12.7 B parameters in products, with
    # scores of 4,096 x 4,096 that are half masked.
    experts = 32 * 2 * 3 * 4096 * 14336
    dense = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 4096 * 8) + 4096 * 32000
    scores = 32 * 2 * 4096 * (4096 + 1) / 2
    share = experts / (experts + dense + scores)
    text = said("500 mm2", model="mixtral-8x7b")
    assert f"experts ({percent(share)} of the FLOPs)" in text
    assert "no plan of this search exchanges tokens" in text
    assert "experts (" not in said("500 mm2")
