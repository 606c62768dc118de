"""A fair benchmark of calibration methods for image classifiers.

``run`` trains what is missing and compares, ``load_results`` reads what a run left, ``evaluate``
measures predictions made elsewhere. Each is loaded when it is first used: ``import benchmark``
alone loads neither numpy nor torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmark.api import InputError
    from benchmark.evaluation.evaluate import evaluate
    from benchmark.library import Results, load_results, run

__all__ = ["InputError", "Results", "evaluate", "load_results", "run"]
__version__ = "0.1.0"

_ELSEWHERE = {"InputError": "benchmark.api", "evaluate": "benchmark.evaluation.evaluate"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_ELSEWHERE.get(name, "benchmark.library")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
