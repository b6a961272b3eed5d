"""What an answer about chips says of itself."""

from hardplace.design.notes import notes
from hardplace.design.question import question_of
from hardplace.workload.load import load


def said(area: str) -> str:
    asked = question_of(
        (load("bert-base"),), setting="hbm3", space="reticle", devices=8, batch=8, limits={"area": area}
    )
    return " ".join(notes(asked))


def test_chips_above_a_reticle_are_said_to_be_several_dies():
    assert "above 858 mm², one reticle, is several dies" in said("1200 mm2")
    assert "reticle" not in said("858 mm2")
