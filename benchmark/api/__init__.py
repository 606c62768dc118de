"""All that a plug-in imports: the values that describe methods, calibrators and data sets.

A method file in ``methods/`` defines ``METHODS`` (and, if it brings one, ``CALIBRATORS``); a
data-set file in ``datasets/`` defines ``DATASETS``. Nothing here imports torch, so that the
command line can read plans and tables without it; a plug-in may import it at its top.
"""

from benchmark.api.arrays import BoolArray, FloatArray, Floats, IntArray, StrArray
from benchmark.api.calibrator import Calibration, Calibrator, finite_logits, one_vs_rest
from benchmark.api.dataset import PARTS, Archive, Dataset, Samples, SimulatedDataset
from benchmark.api.errors import InputError, require
from benchmark.api.method import Method, Recipe

__all__ = [
    "PARTS",
    "Archive",
    "BoolArray",
    "Calibration",
    "Calibrator",
    "Dataset",
    "FloatArray",
    "Floats",
    "InputError",
    "IntArray",
    "Method",
    "Recipe",
    "Samples",
    "SimulatedDataset",
    "StrArray",
    "finite_logits",
    "one_vs_rest",
    "require",
]
