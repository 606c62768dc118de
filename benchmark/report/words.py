"""How the report names and prints numbers: plain words, units, directions, digits."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

INFINITE = "∞"
ABSENT = "–"
INSIDE_FLOOR = "°"
FEW_ERRORS = "†"
ARROWS = {"higher": "↑", "lower": "↓", None: ""}
FOOTNOTES = (
    (
        INSIDE_FLOOR,
        "inside the noise floor: a perfectly calibrated model would score as high by chance on "
        "as many images.",
    ),
    (FEW_ERRORS, "fewer than 30 errors: the interval may be too narrow."),
)


@dataclass(frozen=True)
class Quantity:
    """One thing that is measured, as the report shows it.

    Attributes:
        name: as in the tidy files.
        title: in plain words, for headings.
        short: for the head of a column.
        better: which direction is better; None where neither is.
        unit: printed with the title; values in ``%`` are multiplied by 100.
        meaning: one sentence for readers who do not know it.
        digits: decimals where no interval says how many are sensible.
        ratio: whether a ratio to the reference method is worth a place beside it.
    """

    name: str
    title: str
    short: str
    better: Literal["higher", "lower"] | None = None
    unit: str = ""
    meaning: str = ""
    digits: int = 3
    ratio: bool = False

    @property
    def head(self) -> str:
        """Head of a column: short name, unit and the arrow of the better direction."""
        return " ".join(p for p in (self.short, self.unit, ARROWS[self.better]) if p)

    @property
    def direction(self) -> str:
        """The better direction in words, empty where there is none."""
        return f"{self.better} is better" if self.better else ""

    @property
    def scale(self) -> float:
        """Factor from the stored to the printed value."""
        return 100.0 if self.unit == "%" else 1.0


_METRICS = (
    Quantity(
        "accuracy",
        "Accuracy",
        "Accuracy",
        "higher",
        "%",
        "Share of the images whose most probable class is the true one.",
        1,
    ),
    Quantity(
        "ece",
        "Expected calibration error (ECE)",
        "ECE",
        "lower",
        "%",
        "How far confidence and accuracy lie apart, on average over 15 equal bins of confidence.",
        2,
    ),
    Quantity(
        "nll",
        "Negative log-likelihood (NLL)",
        "NLL",
        "lower",
        "",
        "Mean of minus the natural logarithm of the probability given to the true class. "
        "Infinite once a true class was called impossible.",
        3,
    ),
    Quantity(
        "brier",
        "Brier score",
        "Brier",
        "lower",
        "",
        "Mean squared distance between the predicted probabilities and the true class, "
        "summed over classes.",
        3,
    ),
    Quantity(
        "balanced_accuracy",
        "Balanced accuracy",
        "Balanced accuracy",
        "higher",
        "%",
        "Mean over classes of the share of their images that is recognised.",
        1,
    ),
    Quantity(
        "macro_auc",
        "Macro AUC, one against the rest",
        "Macro AUC",
        "higher",
        "%",
        "How well each class is separated from the others, mean over classes.",
        2,
    ),
    Quantity(
        "ece_equal_mass",
        "ECE, bins of equal mass",
        "ECE equal mass",
        "lower",
        "%",
        "ECE with 15 bins that hold equally many images.",
        2,
    ),
    Quantity(
        "classwise_ece",
        "Class-wise ECE",
        "Class-wise ECE",
        "lower",
        "%",
        "ECE of each class's own probability, mean over classes.",
        2,
    ),
    Quantity(
        "smooth_ece",
        "Smooth ECE",
        "Smooth ECE",
        "lower",
        "%",
        "ECE with a kernel instead of bins.",
        2,
    ),
    Quantity(
        "mce",
        "Maximum calibration error (MCE)",
        "MCE",
        "lower",
        "%",
        "The largest gap between confidence and accuracy in any bin.",
        1,
    ),
    Quantity(
        "aurc",
        "Area under the risk-coverage curve (AURC)",
        "AURC",
        "lower",
        "%",
        "Mean error rate when only the most confident images are kept, over all shares kept.",
        2,
    ),
    Quantity(
        "augrc",
        "Area under the generalised risk-coverage curve (AUGRC)",
        "AUGRC",
        "lower",
        "%",
        "Mean probability of an undetected error, over all shares kept.",
        2,
    ),
)

_COSTS = (
    Quantity(
        "train_seconds",
        "Training time",
        "Training",
        "lower",
        "s",
        "Seconds of training for one replicate, all members counted, without warm-up, "
        "compilation and decoding.",
        ratio=True,
    ),
    Quantity(
        "predict_images_per_second",
        "Inference speed",
        "Inference",
        "higher",
        "images/s",
        "Images per second at a fixed large batch.",
        ratio=True,
    ),
    Quantity(
        "train_images_per_second",
        "Training speed",
        "Training speed",
        "higher",
        "images/s",
        "Images per second of training.",
    ),
    Quantity(
        "latency_ms",
        "Latency at batch 1, median",
        "Latency",
        "lower",
        "ms",
        "Milliseconds for a single image.",
        ratio=True,
    ),
    Quantity(
        "peak_memory_mb",
        "Peak memory",
        "Peak memory",
        "lower",
        "MB",
        "The most memory that training held.",
    ),
    Quantity("parameters", "Parameters", "Parameters", None, "", "Trained numbers of the network."),
    Quantity(
        "flops_per_image",
        "Operations for each image",
        "FLOPs per image",
        "lower",
        "",
        "Floating-point operations of one prediction.",
        ratio=True,
    ),
    Quantity(
        "energy_joules",
        "Training energy",
        "Energy",
        "lower",
        "J",
        "As the device reports it; absent where it does not.",
    ),
    Quantity(
        "fits", "Trained networks", "Fits", "lower", "", "Networks trained for one replicate."
    ),
)

MAIN_METRICS = ("accuracy", "ece", "nll", "brier")
MAIN_COSTS = ("train_seconds", "predict_images_per_second")
_KNOWN = {q.name: q for q in (*_METRICS, *_COSTS)}
_ORDER = {name: i for i, name in enumerate(_KNOWN)}


def quantity(name: str) -> Quantity:
    """What is known of a metric or cost; an unknown one is shown under its own name."""
    if name in _KNOWN:
        return _KNOWN[name]
    title = name.replace("_", " ")
    return Quantity(name, title[:1].upper() + title[1:], title[:1].upper() + title[1:])


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names in the report's order; unknown ones at the end, by name."""
    return tuple(sorted(set(names), key=lambda n: (_ORDER.get(n, len(_ORDER)), n)))


def number(value: float, digits: int) -> str:
    """A number with fixed decimals, a real minus sign, ``∞`` and ``–`` for what is absent."""
    if math.isnan(value):
        return ABSENT
    if math.isinf(value):
        return INFINITE if value > 0 else "−" + INFINITE
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", "−")


def significant(value: float, digits: int = 3) -> str:
    """A number with so many significant digits: ``1,230``, ``0.0123``, ``4.20 G``."""
    if not math.isfinite(value) or value == 0:
        return number(value, 0)
    for size, letter in ((1e12, " T"), (1e9, " G"), (1e6, " M")):
        if abs(value) >= size:
            return significant(value / size, digits) + letter
    rounded = float(f"{value:.{digits - 1}e}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{decimals}f}".replace("-", "−")


def interval(low: float, high: float, digits: int) -> str:
    """``[low, high]``, or nothing where there is no interval."""
    if math.isnan(low) or math.isnan(high):
        return ""
    return f"[{number(low, digits)}, {number(high, digits)}]"


def sensible_digits(half_widths: Iterable[float], default: int) -> int:
    """Decimals that show two significant digits of a typical interval's half-width."""
    widths = sorted(w for w in half_widths if math.isfinite(w) and w > 0)
    if not widths:
        return default
    return min(max(1 - math.floor(math.log10(widths[len(widths) // 2])), 0), 5)


def p_value(p: float) -> str:
    """A p-value as papers print it."""
    if math.isnan(p):
        return ABSENT
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def listed(names: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *first, last = list(names)
    return f"{', '.join(first)} and {last}" if first else last


def shortened(name: str, width: int) -> str:
    """At most ``width`` characters, the middle left out: names differ at their ends."""
    if len(name) <= width:
        return name
    tail = (width - 1) // 2
    return f"{name[: width - 1 - tail]}…{name[len(name) - tail :]}"


def file_name(*parts: str) -> str:
    """A name that every file system takes: plain parts as they are, others marked by a hash."""
    safe = [re.sub(r"[^a-z0-9._]+", "-", part.lower()).strip("-._")[:48] for part in parts]
    name = "--".join(s or "x" for s in safe)
    if safe == list(parts):
        return name
    return f"{name}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:8]}"
