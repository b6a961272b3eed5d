"""What casts to 8 and 4 bits move, by recipe of scaling (docs/model-training.md, "Casts to low precision").

Recipes as Transformer Engine has them: its documents of low precision (docs/features/low_precision_training of
NVIDIA/TransformerEngine@0bd7f52) and its modules (transformer_engine/pytorch/module/layernorm_linear.py, Apache-2.0).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Fp8Recipe(StrEnum):
    """How tensors of products in low precision are scaled.

    One factor a tensor, of earlier steps' largest values or of the tensor's own; one a row of 128 elements (weights:
    128 x 128), a row of 32 or, in 4 bits, a row of 16.
    """

    DELAYED = "delayed"
    TENSORWISE = "tensorwise"
    BLOCKWISE = "blockwise"
    MXFP8 = "mxfp8"
    NVFP4 = "nvfp4"

    @property
    def by_tensor(self) -> bool:
        """Return whether a tensor has one factor, so that its transpose needs no cast of its own."""
        return self in (Fp8Recipe.DELAYED, Fp8Recipe.TENSORWISE)


class Cast(StrEnum):
    """Who casts the first operand of a product: a kernel of its own, the norm before it, or the product itself."""

    ALONE = "alone"
    NORM = "norm"
    PRODUCT = "product"


# Bytes of an element in one direction, its scales among them: 8 bits; with 4 bytes of 128; 1 of 32; 4 bits, 1 of 16.
_WRITTEN = {
    Fp8Recipe.DELAYED: 1.0,
    Fp8Recipe.TENSORWISE: 1.0,
    Fp8Recipe.BLOCKWISE: 1.0 + 4.0 / 128,
    Fp8Recipe.MXFP8: 1.0 + 1.0 / 32,
    Fp8Recipe.NVFP4: 0.5 + 1.0 / 16,
}
KEPT_IN_4_BITS = _WRITTEN[Fp8Recipe.NVFP4]  # bytes of an element
# Whose largest value is read before the cast; a norm writes the cast itself with the others (Transformer Engine's
# normalization.cpp; of blocks of 128 it does not, and of those of 32 with cuDNN's norm, which NVIDIA's launchers set).
_SCANNED = (Fp8Recipe.TENSORWISE, Fp8Recipe.NVFP4)
_NORMED = (Fp8Recipe.DELAYED, Fp8Recipe.MXFP8)
_HALF = 2.0  # bytes of an element in 16 bit


@dataclass(frozen=True, slots=True, kw_only=True)
class CastBytes:
    """Bytes that casts of one recipe read and write on a device, of an element, and what is sent of it.

    Attributes:
        recipe: The recipe.
        layouts: The device's products read an operand along rows and along columns, so that one cast of a tensor with
            one factor serves both (Blackwell); else its transpose is written too (Ada, Hopper).
        sends: What tensor-parallel ranks gather is cast first, so that it goes in low precision.
        gathers: Weights are kept and gathered in low precision.
        keeps: Casts of weights stay until they are cast again.
        norms: Norms and products are one layer, so that the norm may write the cast; else a kernel an operator.
    """

    recipe: Fp8Recipe
    layouts: bool
    sends: bool = True
    gathers: bool = False
    keeps: bool = False
    norms: bool = True

    @property
    def _written_bytes(self) -> float:
        """Bytes of an element as it is cast in one direction, its scales among them."""
        return _WRITTEN[self.recipe]

    @property
    def _scanned_bytes(self) -> float:
        """Bytes of an element that are read before the cast for the largest value."""
        return _HALF if self.recipe in _SCANNED else 0.0

    @property
    def _turns(self) -> bool:
        """Whether a cast is transposed: of one factor a tensor, on devices whose products read rows alone."""
        return self.recipe.by_tensor and not self.layouts

    @property
    def _second_bytes(self) -> float:
        """Bytes that the same kernel writes of the other direction: a transpose, or a cast along columns."""
        return 0.0 if self.recipe.by_tensor and self.layouts else self._written_bytes

    def operand_bytes(self, cast: Cast, ranks: int) -> float:
        """Return the bytes beyond those of products and norms in 16 bit, of an element of a product's operand.

        Args:
            cast: Who casts it.
            ranks: Ranks that cast a part each and gather the casts; 1: none.
        """
        if cast is Cast.PRODUCT:
            return 0.0
        normed = cast is Cast.NORM and self.norms and self.recipe in _NORMED
        read = -_HALF if normed else self._scanned_bytes + _HALF  # a norm does not write in 16 bit then
        apart = self._turns and (normed or ranks > 1)  # transposed after it has been written, or gathered
        local = read + self._written_bytes + (0.0 if apart else self._second_bytes)
        return local / ranks + (2.0 * self._written_bytes if apart else 0.0)

    @property
    def weight_bytes(self) -> float:
        """Return the bytes of a cast of weights, of an element: of weights kept in low precision their transposes."""
        if self.gathers and self.recipe is not Fp8Recipe.MXFP8:
            return 2.0 * self._written_bytes if self._turns else 0.0
        return self._scanned_bytes + _HALF + self._written_bytes + self._second_bytes

    def sent_share(self, directions: int) -> float:
        """Return the bytes of a gathered tensor over those in 16 bit.

        Args:
            directions: In how many it is needed, 1 or 2; where its transpose needs no cast one is sent; 0: 16 bit.
        """
        if not directions or not self.sends:
            return 1.0
        return self._written_bytes * (1 if self.recipe.by_tensor else directions) / _HALF

    @property
    def kept_bytes(self) -> float:
        """Return the bytes of an element of a weight that stay beside its 16-bit copy; below 0: instead of it."""
        if not self.keeps:
            return 0.0
        return self._written_bytes + self._second_bytes - (_HALF if self.gathers else 0.0)

    @property
    def gathered_bytes(self) -> float:
        """Return the bytes of an element of a weight that replicas gather: 16 bit, or low precision where weights are
        kept in it (but mxfp8, whose weights are gathered in 16 bit and cast after it)."""
        kept = self.gathers and self.recipe is not Fp8Recipe.MXFP8
        return self._written_bytes if kept else _HALF
