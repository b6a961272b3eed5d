"""A model's chain folded for V-shaped schedules: each stage takes layers from the front and from the end
(docs/model-training.md, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from hardplace.errors import BadInput
from hardplace.plans.chain import LayerChain
from hardplace.plans.plan import Plan

_T = TypeVar("_T")


def as_run(chain: LayerChain, plan: Plan) -> LayerChain:
    """Return the chain whose consecutive layers are a plan's stages: folded where its schedule is V-shaped.

    Raises:
        BadInput: For a V-shaped schedule of layers that branch.
    """
    if plan.schedule.folds and chain.edges:
        raise BadInput("schedule", plan.schedule, "1f1b, gpipe or zero-bubble: the model's layers branch")
    return folded(chain) if plan.schedule.folds and not chain.second else chain


def folded(chain: LayerChain) -> LayerChain:
    """Return the layers in the order in which stages of a V take them.

    First those always first and those always last, which the first stage holds, then of the others by turns one from
    the front and one from the end.
    """
    first, last, count = chain.inner.start, chain.inner.stop, len(chain.whole)
    inner = range(first, last)
    half = -(-len(inner) // 2)
    by_turns = [0] * len(inner)
    by_turns[::2], by_turns[1::2] = inner[:half], inner[half:][::-1]
    order = [*range(first), *range(last, count), *by_turns]
    place = {old: new for new, old in enumerate(order)}

    def moved(layers: Sequence[int]) -> tuple[int, ...]:
        return tuple(sorted(place[one] for one in layers))

    def taken(layers: Sequence[_T]) -> tuple[_T, ...]:
        return tuple(layers[one - first] for one in by_turns) if layers else ()

    ends = (False,) * len(chain.before) + (True,) * len(chain.after)
    return replace(
        chain,
        before=(*chain.before, *chain.after),
        layers=taken(chain.layers),
        after=(),
        plain=taken(chain.plain),
        shared=tuple(one._replace(layers=moved(one.layers)) for one in chain.shared),
        kept=tuple(one._replace(layers=moved(one.layers), plain=moved(one.plain)) for one in chain.kept),
        second=(*ends, *(index % 2 == 1 for index in range(len(inner)))),
    )
