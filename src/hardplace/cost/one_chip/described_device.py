"""A described accelerator where plans name a device: its noun, without the model that prices its operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hardplace.described.types import INPUT

if TYPE_CHECKING:
    from hardplace.cost.one_chip.described_kernels import DescribedChip

_DTYPES = {1: ("int8",), 2: ("bf16", "fp16"), 4: ("tf32", "fp32")}  # by bytes of an element of the inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedDevice:
    """A described accelerator where plans name a device.

    Attributes:
        name: Name.
        title: Full name.
        vendor: Vendor: none.
        chip: What prices its operators.
        memory_bytes: Capacity of its memory.
        host_bandwidth_bytes_per_s: Of the link to the host; None: not said.
    """

    name: str
    title: str
    vendor: str
    chip: DescribedChip
    memory_bytes: float
    host_bandwidth_bytes_per_s: float | None = None

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Return the types of operand that products are of, by the bytes of an element of the inputs."""
        return _DTYPES.get(self.chip.description.backing.element_bytes[INPUT], ())
