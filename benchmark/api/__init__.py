"""All that a plug-in imports: the values that describe methods, calibrators and data sets.

A method file in ``methods/`` defines ``METHODS`` (and, if it brings one, ``CALIBRATORS``); a
data-set file in ``datasets/`` defines ``DATASETS``, and a file in a plug-in folder's ``metrics/``
``METRICS`` or ``COSTS``. Nothing here imports torch, so that the
command line can read plans and tables without it; a plug-in may import it at its top.
"""

from benchmark.api.arrays import BoolArray, FloatArray, Floats, IntArray, StrArray
from benchmark.api.calibrator import (
    Calibration,
    Calibrator,
    Fitted,
    calibrate,
    finite_logits,
    one_vs_rest,
)
from benchmark.api.dataset import (
    ON_DUPLICATES,
    PART_NAMES,
    PARTS,
    Archive,
    Dataset,
    HandedInDataset,
    Images,
    SimulatedDataset,
)
from benchmark.api.errors import InputError, require
from benchmark.api.method import Method, Recipe
from benchmark.api.predictions import ORIGIN, BlockKey, Origin, Predictions, fold_scheme
from benchmark.api.quantity import Cost, Metric, PerImage, PointValue, Quantity, Weighted
from benchmark.api.temperature import inverse_temperature, standard_error

__all__ = [
    "ON_DUPLICATES",
    "ORIGIN",
    "PARTS",
    "PART_NAMES",
    "Archive",
    "BlockKey",
    "BoolArray",
    "Calibration",
    "Calibrator",
    "Cost",
    "Dataset",
    "Fitted",
    "FloatArray",
    "Floats",
    "HandedInDataset",
    "Images",
    "InputError",
    "IntArray",
    "Method",
    "Metric",
    "Origin",
    "PerImage",
    "PointValue",
    "Predictions",
    "Quantity",
    "Recipe",
    "SimulatedDataset",
    "StrArray",
    "Weighted",
    "calibrate",
    "finite_logits",
    "fold_scheme",
    "inverse_temperature",
    "one_vs_rest",
    "require",
    "standard_error",
]
