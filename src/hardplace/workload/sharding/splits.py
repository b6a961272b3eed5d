"""States of one tensor on the ranks of a process group: whole on each, split along an axis, or as partial sums."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hardplace.workload.affine import GENERIC, Affine
from hardplace.workload.types import Operator

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """A tensor that is cut into equal parts along an axis.

    A (batch x sequence) axis split by sequence has before = batch.

    Attributes:
        axis: The axis.
        parts: Number of parts; fewer than ranks: copies on the rest.
        before: The cut comes after so many values of what is merged into that axis.
        origin: Parameters (storages) because of which it is split; none where it is split by sequence.
    """

    axis: int
    parts: int
    before: int = 1
    origin: frozenset[int] = field(default=frozenset(), compare=False)


@dataclass(frozen=True, slots=True)
class PartialSum:
    """A tensor of which every rank holds a summand.

    Attributes:
        routed: Rows are tokens sent to experts, so the sum comes after they are back.
        onto: Split that the sum shall have, where the shape does not tell.
    """

    routed: bool = False
    onto: Split | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """Rows are tokens that lie with the ranks of their experts; as many as before, where routing is balanced."""


State = Split | PartialSum | Sent | None


class DoesNotFit(Exception):
    """A split that cannot go on through an operator.

    Attributes:
        split: The split.
        size: Size of the axis that its parts would have to divide.
    """

    def __init__(self, split: Split, size: int) -> None:
        super().__init__(f"{size} does not divide into {split.parts}")
        self.split, self.size = split, size


def reshaped(split: Split, old: Shape, new: Shape) -> Split:
    """Return a split after a reshape.

    The cut lies after so many elements of the flattened tensor; the axis of the new shape that holds it is cut
    there.

    Args:
        split: Split of the tensor before.
        old: Shape before.
        new: Shape after, of as many elements.

    Raises:
        DoesNotFit: Where the cut would go through an axis of the new shape, or its parts do not divide that axis.
    """
    if 0 in old:
        return split
    before = math.prod(old[: split.axis]) * split.before
    done = 1
    for axis, size in enumerate(new):
        if size != 1 and before < done * size and before % done == 0 and (done * size) % before == 0:
            within = before // done
            if size // within % split.parts and size != old[split.axis]:
                raise DoesNotFit(split, size // within)
            return Split(axis, split.parts, within, split.origin)
        done *= size
    raise DoesNotFit(split, 1)


def moved(split: Split, axis: int) -> Split:
    """Return a split on another axis of another tensor.

    Args:
        split: The split; parts, cut and origin stay.
        axis: Axis of the other tensor.
    """
    return Split(axis, split.parts, split.before, split.origin)


def through(split: Split, operator: Operator, old: Shape, new: Shape) -> Split:
    """Return a split after a view: alias, permute, reshape, expand, select, unbind, slice or split.

    Args:
        split: Split of what is viewed.
        operator: The view, with its axes.
        old: Shape of what is viewed.
        new: Shape of the view.

    Raises:
        DoesNotFit: For a view that takes one element of the axis that is cut, or a part that the ranks do not divide.
    """
    name, axes = operator.name, operator.axes
    if name == "alias":
        return split
    if name == "permute":
        return moved(split, axes.index(split.axis))
    if name == "reshape":
        return reshaped(split, old, new)
    if name == "expand":
        return moved(split, split.axis + len(new) - len(old))
    if name in ("select", "unbind"):
        if axes[0] == split.axis:
            raise DoesNotFit(split, 1)
        return moved(split, split.axis - (axes[0] < split.axis))
    if name in ("slice", "split"):
        # A part of a fused parameter is cut as the whole is (its rows interleave); a shift of the sequence too.
        if new[split.axis] % split.parts and split.origin:
            raise DoesNotFit(split, new[split.axis])
        return split
    raise DoesNotFit(split, 1)


def sequence_split(shape: Shape, parts: int) -> Split | None:
    """Return the split of a tensor by sequence.

    Args:
        shape: (batch, sequence, ...) or (batch x sequence, ...), at the generic micro-batch.
        parts: Ranks of the group.

    Returns:
        The split; None for a tensor without a batch, or a sequence that the ranks do not divide.
    """
    if not shape or shape[0] % GENERIC:
        return None
    if shape[0] == GENERIC and len(shape) in (2, 3) and shape[1] >= parts:
        return Split(1, parts) if shape[1] % parts == 0 else None
    if len(shape) <= 2 and shape[0] // GENERIC % parts == 0 and shape[0] > GENERIC:
        return Split(0, parts, GENERIC)
    return None


def local_size(size: Affine, parts: int) -> Affine:
    """Return the size of one rank's part of an axis, rounded up.

    Args:
        size: The axis, in elements, affine in the micro-batch.
        parts: Ranks that divide it.
    """
    return Affine(-(-size.constant // parts), -(-size.factor // parts))


def local_shape(shape: tuple[Affine, ...], states: tuple[State, ...]) -> tuple[Affine, ...]:
    """Return the shape of a tensor on one rank.

    Args:
        shape: The whole shape, in elements.
        states: Its state in each process group; each split divides its axis, all else leaves it.
    """
    sizes = list(shape)
    for state in states:
        if isinstance(state, Split):
            sizes[state.axis] = local_size(sizes[state.axis], state.parts)
    return tuple(sizes)
