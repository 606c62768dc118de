"""Names of the kinds of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]
StrArray = npt.NDArray[np.str_]
Floats = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
