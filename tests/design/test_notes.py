"""What an answer about chips says of itself."""

from hardplace.design.notes import notes
from hardplace.design.question import question_of
from hardplace.workload.load import load


def said(area: str, space: str = "reticle", *, ideal: bool = True) -> str:
    asked = question_of(
        (load("bert-base"),), setting="hbm3", space=space, devices=8, batch=8, limits={"area": area}, ideal=ideal
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
