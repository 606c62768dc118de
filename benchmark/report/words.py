"""How the report names and prints numbers: plain words, units, directions, digits."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from benchmark.measures.metrics import METRICS, Metric
from benchmark.statistics import tables as stats

INFINITE = "∞"
ABSENT = "–"
INSIDE_FLOOR = "°"
FEW_ERRORS = "†"
ARROWS = {"higher": "↑", "lower": "↓", None: ""}
SAME_TIME = 1.05
"""Times up to this factor apart count as equal: so much they vary by themselves."""

FOOTNOTES = (
    (
        INSIDE_FLOOR,
        "inside the noise floor: a perfectly calibrated model would score as high by chance on "
        "as many images.",
    ),
    (
        FEW_ERRORS,
        f"fewer than {stats.FEW_ERRORS} errors, or errors in fewer than {stats.FEW_GROUPS} groups: "
        "intervals may cover less than they say.",
    ),
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
        formula: its definition.
        source: where it comes from.
        digits: decimals where no interval says how many are sensible.
        ratio: whether a ratio to the reference method is worth a place beside it.
    """

    name: str
    title: str
    short: str
    better: Literal["higher", "lower"] | None = None
    unit: str = ""
    meaning: str = ""
    formula: str = ""
    source: str = ""
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


_PLAIN = {
    "accuracy": ("", "Share of the images whose most probable class is the true one."),
    "ece": (
        "Expected calibration error (ECE)",
        "How far confidence and accuracy lie apart, on average over bins of confidence.",
    ),
    "nll": (
        "Negative log-likelihood (NLL)",
        "Small where the true class was given a high probability; infinite once it was called "
        "impossible.",
    ),
    "brier": ("", "Squared distance between the predicted probabilities and the true class."),
    "balanced_accuracy": ("", "Accuracy with every class counting the same."),
    "auc": (
        "Macro area under the ROC curve (AUC)",
        "How well each class is told from the others.",
    ),
    "ece_debiased": ("", "ECE without the part that noise alone explains."),
    "ece_equal_mass": ("", "ECE with bins that hold equally many images."),
    "rms_debiased": ("", "Root mean square of the gaps, without the part that noise explains."),
    "ece_sweep": ("", "ECE with as many bins as the data bear."),
    "ece_classwise": ("", "ECE of the probability of each class, not of the predicted one alone."),
    "mce": ("Maximum calibration error (MCE)", "The largest gap in any bin."),
    "ece_smooth": ("", "ECE with a smooth curve in place of bins."),
    "overconfidence": ("", "The part of ECE where the model promises too much."),
    "underconfidence": ("", "The part of ECE where the model promises too little."),
    "nll_refinement": ("", "The part of NLL that no temperature can mend."),
    "nll_calibration": ("", "The part of NLL that a temperature would mend."),
    "aurc": (
        "Area under the risk-coverage curve (AURC)",
        "Errors among the most confident images, over all shares kept.",
    ),
    "augrc": (
        "Generalised area under the risk-coverage curve (AUGRC)",
        "Undetected errors, over all shares kept.",
    ),
    "ece_true": ("", "ECE against the true probabilities of the simulation."),
    "gap_true": ("", "Distance of the confidence from the true probability."),
    "kl_true": ("", "Distance of the prediction from the true probabilities."),
}
"""Long title, where the metric's own is an abbreviation, and one sentence for newcomers."""


def _of_metric(metric: Metric) -> Quantity:
    title, meaning = _PLAIN.get(metric.name, ("", ""))
    percent = metric.unit == "fraction" and metric.name != "brier"  # which goes up to 2
    return Quantity(
        name=metric.name,
        title=title or metric.title,
        short=metric.title,
        better=metric.direction,
        unit="%" if percent else "nats" if metric.unit == "nats" else "",
        meaning=meaning,
        formula=metric.formula,
        source=metric.source,
        digits=2 if percent else 3,
    )


_COSTS = (
    Quantity("train_seconds", "Training time", "Training", "lower", "s",
             "Training of all networks that one replicate of the method needs, without warm-up, "
             "compilation and decoding.", ratio=True),
    Quantity("predict_images_per_second", "Inference speed", "Inference", "higher", "images/s",
             "Images predicted each second, in large batches.", ratio=True),
    Quantity("train_images_per_second", "Training speed", "Training speed", "higher", "images/s",
             "Images trained on each second."),
    Quantity("warm_up_seconds", "Warm-up and compilation", "Warm-up", "lower", "s",
             "What comes before the first step of training, for all networks."),
    Quantity("decode_seconds", "Decoding", "Decoding", "lower", "s",
             "Decoding and resizing the images once, or finding them in the cache."),
    Quantity("calibrate_seconds", "Post-hoc fitting time", "Post-hoc fit", "lower", "s",
             "Fitting the calibrator on the calibration part."),
    Quantity("latency_ms", "Latency of one image, median", "Latency", "lower", "ms",
             "Time to predict a single image.", ratio=True),
    Quantity("latency_95_ms", "Latency of one image, 95 % point", "Latency, 95 %", "lower", "ms",
             "Time within which 95 % of single images are predicted."),
    Quantity("predict_flops_per_image", "Operations to predict one image", "FLOPs per image",
             "lower", "", "Floating-point operations.", ratio=True),
    Quantity("train_flops_per_image", "Operations to train on one image", "Training FLOPs",
             "lower", "", "Floating-point operations, forward and backward.", ratio=True),
    Quantity("parameters", "Parameters", "Parameters", None, "",
             "Trained numbers of all networks of the method."),
    Quantity("host_memory_mib", "Peak memory of the host", "Host memory", "lower", "MiB",
             "The most main memory that training held.", ratio=True),
    Quantity("device_memory_mib", "Peak memory of the device", "Device memory", "lower", "MiB",
             "The most device memory that training held, besides the images.", ratio=True),
    Quantity("predict_host_memory_mib", "Peak memory of the host in inference",
             "Inference host memory", "lower", "MiB", "The most main memory that predicting held."),
    Quantity("predict_device_memory_mib", "Peak memory of the device in inference",
             "Inference device memory", "lower", "MiB",
             "The most device memory that predicting held, besides the images."),
    Quantity("train_energy_joules", "Training energy", "Energy", "lower", "J",
             "As the device counts it; absent where it does not.", ratio=True),
    Quantity("fits", "Trained networks", "Fits", "lower", "",
             "Networks that one replicate of the method needs."),
)  # fmt: skip

RANKED = ("accuracy", "ece", "nll")
MAIN_METRICS = (*RANKED, "brier")
MAIN_COSTS = ("train_seconds", "predict_images_per_second")
_KNOWN = {q.name: q for q in (*map(_of_metric, METRICS.values()), *_COSTS)}
_ORDER = {name: i for i, name in enumerate(dict.fromkeys((*MAIN_METRICS, *_KNOWN)))}


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
    if abs(value) >= 1e6:
        return f"{value:.3g}".replace("-", "−")
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


def p_equation(p: float) -> str:
    """``p = 0.031``, ``p < 0.001``; nothing where there is none."""
    text = p_value(p)
    return "" if math.isnan(p) else f"p {text}" if text.startswith("<") else f"p = {text}"


def letter_ranges(group: str) -> str:
    """``a``, ``ab``, ``a–d fg``: letters of a group, three and more neighbours as a range."""
    places = [26 * int(n or 0) + ord(a) for a, n in re.findall(r"([a-z])(\d*)", group)]
    runs: list[list[int]] = []
    for place in sorted(places):
        if runs and runs[-1][-1] == place - 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    parts: list[str] = []
    for run in runs:
        if len(run) > 2:
            parts.append(f"{_letter(run[0])}–{_letter(run[-1])}")
        elif parts and "–" not in parts[-1]:
            parts[-1] += "".join(map(_letter, run))
        else:
            parts.append("".join(map(_letter, run)))
    return " ".join(parts)


def _letter(place: int) -> str:
    turn, letter = divmod(place - ord("a"), 26)
    return chr(ord("a") + letter) + (str(turn) if turn else "")


def percent(share: float) -> str:
    """``95 %``, ``99.5 %``."""
    return f"{share * 100:.10g} %"


def listed(names: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *first, last = list(names)
    return f"{', '.join(first)} and {last}" if first else last


def broken(name: str) -> list[str]:
    """A name in the pieces between which a line may end."""
    return re.findall(r".[^-+_,/\[]*[-+_,/\[]?", name, re.DOTALL)


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
