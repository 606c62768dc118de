"""Records: what a fit and a calibration return, and all that the tables know of them.

A record is arrays and plain JSON values; how they lie in a file is the store's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.api import FloatArray, InputError, IntArray, StrArray
from benchmark.measures.declared import costs

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class PartPredictions:
    """What a trained network predicts for one part.

    Attributes:
        log_probs: ``(n, classes)`` float32, natural logarithms.
        labels: ``(n,)``.
        ids: ``(n,)`` names of the images.
        groups: ``(n,)`` or None.
        posterior: ``(n, classes)`` float32, the true p(class | image), or None.
    """

    log_probs: FloatArray
    labels: IntArray
    ids: StrArray
    groups: StrArray | None = None
    posterior: FloatArray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class FitRecord:
    """One trained network: what it predicts, what it cost, and what it was made with.

    Attributes:
        stated: all values that determine the predictions (:meth:`benchmark.plan.cells.Fit.stated`).
        classes: names of the classes.
        train_counts: images of each class that it was trained on.
        calibration: predictions of the calibration part.
        test: predictions of the test part.
        costs: by name; each is declared, and what could not be measured is absent.
        environment: versions and hardware.
        seed: of the initial weights and of all that is random in training.
        step: how steps ran: ``eager``, ``graph`` or ``compiled``.
        images_on_device: whether the images lay in the GPU's memory.
        predict_batch: images predicted at once.
        fits_at_once: up to how many fits shared the machine.
        train_cpu_share: seconds that the process computed in training, over seconds that passed.
    """

    stated: Mapping[str, Any]
    classes: tuple[str, ...]
    train_counts: tuple[int, ...]
    calibration: PartPredictions
    test: PartPredictions
    costs: Mapping[str, float]
    environment: Mapping[str, str]
    seed: int
    step: str
    images_on_device: bool
    predict_batch: int
    fits_at_once: int
    train_cpu_share: float | None = None

    def __post_init__(self) -> None:
        """Refuse costs that nobody declares: tables would not know what to do with them."""
        unknown = sorted(set(self.costs) - set(costs()))
        if unknown:
            raise InputError(
                f"a record holds costs that nobody declares: {', '.join(unknown)}; is a folder of "
                "plug-ins missing?"
            )

    @property
    def hardware(self) -> str:
        """What it was timed on, and whether it may have shared that: costs differ by both."""
        name, at_once = self.environment["hardware"], self.fits_at_once
        return f"{name}, up to {at_once} fits at once" if at_once > 1 else name

    @property
    def disturbed(self) -> bool:
        """Whether training on a CPU had to wait for others for more than a tenth of its time."""
        share = self.train_cpu_share
        return self.environment["device"] == "cpu" and share is not None and share < 0.9

    def to_plain(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """As arrays and JSON values."""
        info = {f.name: getattr(self, f.name) for f in fields(self)}
        arrays = {}
        for name in ("calibration", "test"):
            part = info.pop(name)
            for column in fields(part):
                values = getattr(part, column.name)
                if values is not None:
                    arrays[f"{name}_{column.name}"] = values
        return arrays, info

    @classmethod
    def from_plain(cls, arrays: Arrays, info: Mapping[str, Any]) -> FitRecord:
        """From arrays and JSON values.

        Raises:
            KeyError, TypeError: something is missing, or is not a part of a record.
            InputError: a cost that nobody declares.
        """
        values: dict[str, Any] = {**info, "classes": tuple(info["classes"])}
        values["train_counts"] = tuple(info["train_counts"])
        for name in ("calibration", "test"):
            columns = {f.name: arrays.get(f"{name}_{f.name}") for f in fields(PartPredictions)}
            if any(columns[needed] is None for needed in ("log_probs", "labels", "ids")):
                raise KeyError(f"predictions of the {name} part")
            values[name] = PartPredictions(**columns)  # type: ignore[arg-type]
        return cls(**values)


@dataclass(frozen=True, kw_only=True, eq=False)
class CalibrationRecord:
    """Calibrated predictions of one cell.

    Attributes:
        log_probs: ``(n, classes)`` float32, of the test part.
        calibrator: its name.
        fits: keys of the fits whose mean was calibrated.
        source: digest of what was calibrated and of what it was fitted on: the same fit made anew,
            on other hardware say, may differ in its last digits.
        calibration_errors: images of the calibration part that were misclassified.
        costs: by name.
    """

    log_probs: FloatArray
    calibrator: str
    fits: tuple[str, ...]
    source: str
    calibration_errors: int
    costs: Mapping[str, float]

    def to_plain(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """As arrays and JSON values."""
        info = {f.name: getattr(self, f.name) for f in fields(self)}
        return {"test_log_probs": np.asarray(info.pop("log_probs"))}, info

    @classmethod
    def from_plain(cls, arrays: Arrays, info: Mapping[str, Any]) -> CalibrationRecord:
        """From arrays and JSON values.

        Raises:
            KeyError, TypeError: something is missing, or is not a part of a record.
        """
        return cls(log_probs=arrays["test_log_probs"], **{**info, "fits": tuple(info["fits"])})
