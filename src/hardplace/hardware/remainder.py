"""What a die and a TDP have above the sum of published blocks: constants fitted on published chips, and their spread.

`python benchmarks/fit_chips.py` fits them (docs/model-chips.md); docs/validation.md has every chip, each predicted by a
fit that has not seen its die.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Remainder:
    """The fitted constants of area and power. All are positive: what they add rises with every size and with the clock.

    Attributes:
        interface: Of chips of arrays: area of controllers, DMA engines and network ports a PHY and SerDes at 7 nm, over
            these; it goes with the root of the area of logic.
        array_fixed_mm2: Of a chip of arrays, whatever its size.
        multiprocessor_um2_45: Control of a GPU's multiprocessor at 45 nm: instruction supply, schedulers, load and
            store, graphics; of dies from 2020 on.
        early_multiprocessor_um2_45: The same of the dies before (Volta and Turing, 12 nm).
        gpu_fixed_mm2: Of a GPU's die, whatever its size.
        matrix_activity: Share of the matrix engines' peak, at random operands, that TDP pays for.
        vector_activity: The same of the vector units.
        clock_w_per_mm2_ghz: Clock and control of every mm2 at 45 nm, at the nominal voltage; at other nodes in
            proportion to the energy of logic.
    """

    interface: float = 2.24
    array_fixed_mm2: float = 79.4
    multiprocessor_um2_45: float = 61.2e6
    early_multiprocessor_um2_45: float = 35.0e6
    gpu_fixed_mm2: float = 29.6
    matrix_activity: float = 0.342
    vector_activity: float = 0.578
    clock_w_per_mm2_ghz: float = 0.1413


FITTED = Remainder()


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedSpread:
    """The 80 % interval of a published figure over the model's: a tenth of the chips lie below, a tenth above."""

    low: float
    high: float

    def around(self, value: float) -> tuple[float, float]:
        """Return the interval around a value of the model."""
        return value * self.low, value * self.high


# Quantiles of published / predicted, each die left out of the fit that predicts it (benchmarks/fit_chips.py).
DIE_SPREAD = {"gpu": PublishedSpread(low=0.91, high=1.10), "array": PublishedSpread(low=0.89, high=1.08)}
TDP_SPREAD = {"gpu": PublishedSpread(low=0.81, high=1.15), "array": PublishedSpread(low=0.50, high=1.72)}
EARLY_NM = 12.0  # GPUs at this node or an older one are of the early kind
CONTROL_SCALE = (1.0, 0.35)  # energy of logic at 45 and at 7 nm: published operations fell to 0.35-0.42
INTERFACE_SCALE_7 = 0.059  # area of logic at 7 nm relative to 45
