"""Every mapping of a matmul's loop nest, one by one: the oracle of `cost.arrays.tiling`, and the peers' own setting.

AccelForge and its kind search nests of perfectly divided loops: a tile of each dimension, an order of the three loops
over tiles, and for each tensor the loop above which its tile is stored (Timeloop, Parashar et al. 2019, section V).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

from hardplace.cost.types import Matmul

_TENSORS = ((0, 2), (2, 1), (0, 1))  # left (m, k), right (k, n), result (m, n)


def divisors(extent: int, multiple: int = 1) -> list[int]:
    """Return the divisors of an extent that are multiples of `multiple`; the extent itself if that does not divide it.

    >>> divisors(12, 2)
    [2, 4, 6, 12]
    """
    if extent % multiple:
        return [extent]
    whole = extent // multiple
    return [multiple * part for part in range(1, whole + 1) if whole % part == 0]


def _choices(
    tensor: tuple[int, int], order: Sequence[int], extents: Sequence[int], tiles: Sequence[int], copies: int
) -> Iterable[tuple[int, int]]:
    """Return (words held, words fetched) of a tensor for every loop above which it may be stored."""
    found = []
    for place in range(4):
        above = order[:place]
        held = math.prod(tiles[one] if one in above else extents[one] for one in tensor)
        reads = {one: math.ceil(extents[one] / tiles[one]) for one in above if one not in tensor}
        # Every element once for each turn of the loops above that the tensor does not depend on.
        fetched = math.prod(extents[one] for one in tensor) * math.prod(reads.values())
        streamed = place == 3 and order[2] in tensor
        found.append((held * (copies if streamed else 1), fetched))
    return found


def least_words(
    matmul: Matmul,
    size_bytes: int,
    tiles: tuple[Sequence[int], Sequence[int], Sequence[int]],
    *,
    operand_bytes: int,
    sum_bytes: int,
    copies: int,
    spill: bool,
) -> float:
    """Return the least words between memory and a buffer of one product of the batch, over every mapping.

    tiles: sizes to try of m, n and k. copies: of a piece that is replaced at every step. spill: whether sums that are
    not whole may go to memory and back, each way a word. Infinite if nothing fits. Time: the product of the tile
    sizes times 6 orders times 64 places.
    """
    extents = (matmul.m, matmul.n, matmul.k)
    best = math.inf
    for sizes in itertools.product(*tiles):
        for order in itertools.permutations(range(3)):
            left, right, result = (_choices(one, order, extents, sizes, copies) for one in _TENSORS)
            for held, fetched in result:
                written = 2 * fetched - matmul.m * matmul.n
                if written > matmul.m * matmul.n and not spill:
                    continue
                room = size_bytes - sum_bytes * held
                for (held_left, read_left), (held_right, read_right) in itertools.product(left, right):
                    if operand_bytes * (held_left + held_right) <= room:
                        best = min(best, read_left + read_right + written)
    return best
