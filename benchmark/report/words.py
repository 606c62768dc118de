"""How the report names and prints numbers: plain words, units, directions, digits."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby

from benchmark import statistics as stats
from benchmark.api import Quantity, require
from benchmark.measures.costs import SHORTEST
from benchmark.measures.declared import quantities

INFINITE = "∞"
ABSENT = "–"
INSIDE_FLOOR = "°"
FEW_ERRORS = "†"
UNSTABLE = "‡"
DOUBTFUL = "§"
ARROWS = {"higher": "↑", "lower": "↓", None: ""}
SAME_TIME = 1.05
"""Times up to this factor apart count as equal: so much they vary by themselves."""

FOOTNOTES = (
    (
        INSIDE_FLOOR,
        "inside the noise floor, all of its trained networks: a perfectly calibrated one would "
        "score as high by chance on as many images.",
    ),
    (
        FEW_ERRORS,
        f"fewer than {stats.FEW_ERRORS} errors, or fewer than {stats.FEW_GROUPS} groups of images "
        "(or errors in very few of them): "
        "intervals may cover less than they say.",
    ),
    (
        UNSTABLE,
        "unstable training: the scatter of its trainings is larger than chance would make it "
        "among these methods; it keeps its own variance.",
    ),
    (
        DOUBTFUL,
        "not to be compared: other programs used the processor meanwhile, networks trained for "
        f"less than {SHORTEST} seconds, or the reference was measured on other hardware or with "
        "another number of fits at once.",
    ),
)

CLASS_SHARES = (
    f"{stats.SHARES} is no method and has no rank: for every image alike it says how common each "
    "class is in the training part (of predictions made elsewhere, the calibration part), after "
    "one is added to each count. It shows what can be had without looking at an image: a "
    "calibration error near 0, for one."
)
"""What stands beneath the methods for comparison."""


def quantity(name: str) -> Quantity:
    """What is declared of a metric or cost.

    Raises:
        InputError: nobody declared it.
    """
    known = quantities()
    require(name in known, f"{name!r} is neither a metric nor a cost that is declared anywhere")
    return known[name]


def column_head(name: str) -> str:
    """Head of a column: short name, unit and the arrow of the better direction."""
    q = quantity(name)
    return " ".join(part for part in (q.short, q.printed_unit, ARROWS[q.direction]) if part)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names in the order of columns."""
    order = list(quantities())
    return tuple(sorted(set(names), key=lambda name: order.index(quantity(name).name)))


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


def ratio(value: float, low: float, high: float) -> str:
    """``1.05× [0.98, 1.12]``; no interval where there is none, or no variation."""
    if math.isnan(value):
        return ""
    bounds = interval(low, high, 2) if high - low > 1e-9 else ""
    return f"{number(value, 2)}× {bounds}".rstrip()


def no_difference(names: Collection[str], others: int) -> str:
    """Which of so many others cost no less as far as can be seen; nothing where all cost more."""
    if not names:
        return ""
    whom = "any of the others" if len(names) == others > 1 else listed(names)
    return f"; no difference in cost can be seen to {whom}"


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
    parts: list[str] = []
    for _, run in groupby(enumerate(sorted(places)), lambda numbered: numbered[1] - numbered[0]):
        letters = [_letter(place) for _, place in run]
        if len(letters) > 2:
            parts.append(f"{letters[0]}–{letters[-1]}")
        elif parts and "–" not in parts[-1]:
            parts[-1] += "".join(letters)
        else:
            parts.append("".join(letters))
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


def some(names: Sequence[str], most: int = 3) -> list[str]:
    """Names, of many the first ones and ``4 others``: for :func:`listed`."""
    if len(names) <= most + 1:
        return list(names)
    return [*names[:most], f"{len(names) - most} others"]


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
