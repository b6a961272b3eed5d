"""Megatron-LM's pipeline layout: stages separated by |, each with E (embedding), t (a layer), L (loss), and back."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hardplace.errors import BadInput


def layout_text(chunks: Sequence[Sequence[int]]) -> str:
    """Return the layout of layers by stage and chunk; chunk c of stage s stands at c x stages + s.

    >>> layout_text(((2,), (3,))), layout_text(((1, 2), (2, 0)))
    ('Et*2|t*3L', 'Et|t*2|t*2|L')
    """
    flat = [chunks[stage][chunk] for chunk in range(len(chunks[0])) for stage in range(len(chunks))]
    pieces = ["" if not size else "t" if size == 1 else f"t*{size}" for size in flat]
    pieces[0], pieces[-1] = "E" + pieces[0], pieces[-1] + "L"
    return "|".join(pieces)


def parse_layout(text: str, stages: int, place: str) -> tuple[tuple[int, ...], ...]:
    """Return the layers by stage and chunk that a layout says; BadInput for one that is none or not of these stages.

    >>> parse_layout("Et*2|(tt|)*2t*3L", 2, "x")
    ((2, 2), (2, 3))
    """
    whole = text.replace(",", "").strip("'\" ")
    while (group := re.search(r"\(([^()]*)\)\*(\d+)", whole)) is not None:
        whole = whole[: group.start()] + group[1] * int(group[2]) + whole[group.end() :]
    whole = re.sub(r"([EtmL])\*(\d+)", lambda found: found[1] * int(found[2]), whole)
    if not re.fullmatch(r"E[t|m]*L", whole) or (whole.count("|") + 1) % stages:
        raise BadInput(f"{place}: {text!r}: expected a layout such as 'Et*3|t*4|t*4|t*3L' of a multiple of {stages}")
    flat = [piece.count("t") for piece in whole.split("|")]
    return tuple(tuple(flat[stage::stages]) for stage in range(stages))
