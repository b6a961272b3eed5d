"""Array types, each declared once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
BoolVector = np.ndarray[tuple[int], np.dtype[np.bool_]]  # one flag a column: what numpy returns for one axis
