"""What is printed of an evaluation: JSON for programs, a table for the terminal."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from benchmark.evaluation.evaluate import Evaluation
from benchmark.measures.declared import metrics, ranked
from benchmark.report.words import (
    CLASS_SHARES,
    FEW_ERRORS,
    FOOTNOTES,
    INSIDE_FLOOR,
    column_head,
    interval,
    number,
    p_value,
    quantity,
    sensible_digits,
)

RANK_KEYS = (
    *("rank", "against_first"),
    *(f"{what}_{metric}" for what in ("rank", "group", "best") for metric in ranked()),
)
VALUE_KEYS = (
    *("value", "low", "high", "floor_mean", "floor_high"),
    *("p_calibrated", "inside_floor", "few_errors"),
)
PAIR_KEYS = ("difference", "low", "high", "simultaneous", "effect_size", "p", "p_holm")


def as_json(result: Evaluation) -> str:
    """All numbers for programs; null where there is none, ``"Infinity"`` for an infinite loss."""
    best = _best(result)
    ranks = {row["method"]: row for row in _rows(result.ranks)}
    of: dict[str, dict[str, Any]] = {method: {} for method in (*result.methods, *_unranked(result))}
    for row in _rows(result.intervals):
        of[row["method"]][row["metric"]] = {key: row[key] for key in VALUE_KEYS}
    for row in _rows(result.pairs):
        values = of[row["method"]][row["metric"]]
        difference = {key: row[key] for key in PAIR_KEYS}
        if row["reference"] == result.against:
            values["difference"] = difference
        if row["reference"] == best[row["metric"]]:
            values["difference_to_best"] = {"reference": row["reference"], **difference}
    content = {
        "images": result.images,
        "alpha": result.alpha,
        "against": result.against,
        "methods": [
            {
                "method": name,
                **{key: ranks[name][key] for key in RANK_KEYS},
                **(
                    {"calibration": result.calibrations[name]}
                    if name in result.calibrations
                    else {}
                ),
                "metrics": of[name],
            }
            for name in result.methods
        ],
        "unranked": [{"method": name, "metrics": of[name]} for name in _unranked(result)],
        "notes": list(result.notes),
        "understood": list(result.understood),
        "report": None if result.report is None else str(result.report),
    }
    return json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False)


def _unranked(result: Evaluation) -> list[str]:
    """What is shown with the methods for comparison, without being one."""
    return [m for m in result.intervals["method"].unique() if m not in result.methods]


def _best(result: Evaluation) -> dict[str, str]:
    """The best method of each metric: pairs are formed with it and with the reference alone."""
    best: dict[str, str] = {}
    for row in _rows(result.pairs):
        if row["reference"] != result.against or row["metric"] not in best:
            best[row["metric"]] = row["reference"]
    return best


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]


def _plain(value: Any) -> Any:
    """The same in JSON's own types."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def as_table(result: Evaluation, width: int | None = None) -> str:
    """For the terminal: every metric of every method with its interval, floor and difference.

    Args:
        result: what is shown.
        width: columns of the terminal; found out by default.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    shown = (*result.methods, *_unranked(result))
    several, compared = len(shown) > 1, len(result.methods) > 1
    best = _best(result)
    values = {(row["metric"], row["method"]): row for row in _rows(result.intervals)}
    pairs = {(row["metric"], row["method"], row["reference"]): row for row in _rows(result.pairs)}
    covered, point = (f"{100 * share:.4g} %" for share in (1 - result.alpha, 1 - result.alpha / 2))
    heads = ["value", f"{covered} interval", f"noise floor\nmean, {point}", "p\ncalibrated"]
    if compared:
        heads += [f"difference to\n{result.against}", "p\n(Holm)"]
        heads += ["difference to\nthe best", "p\n(Holm)"]
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("method" if several else "metric", overflow="fold")
    for head in heads:
        table.add_column(head, justify="right", overflow="fold")
    signs: set[str] = set()
    for metric in (name for name in metrics() if (name, result.methods[0]) in values):
        rows = [(method, values[metric, method]) for method in shown]
        scale = quantity(metric).scale
        widths = [(row["high"] - row["low"]) / 2 for m, row in rows if m in result.methods]
        digits = sensible_digits([width * scale for width in widths], 3)
        if several:
            table.add_row(column_head(metric), style="bold")
        for method, row in rows:
            cells = _value(row, scale, digits)
            signs |= set(cells[0])
            if compared:
                cells += _difference(pairs.get((metric, method, result.against)), scale, digits)
                if best.get(metric) == result.against:  # those intervals hold one by one
                    cells += ["it is the best" if method == result.against else "", ""]
                else:
                    pair = pairs.get((metric, method, best.get(metric, "")))
                    cells += _difference(pair, scale, digits)
            head = f"  {method}" if several else column_head(metric)
            table.add_row(head, *cells, end_section=several and method == shown[-1])
    text = io.StringIO()
    console = Console(file=text, width=width, markup=False, emoji=False, highlight=False)
    console.print(table, end="\n\n")
    said = [f"{sign} {meaning}" for sign, meaning in FOOTNOTES if sign in signs]
    said += [CLASS_SHARES] * (len(shown) > len(result.methods))
    for sentence in (f"{result.images:,} test images.", *said, *result.notes, *result.understood):
        console.print(sentence)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _value(row: Mapping[str, Any], scale: float, digits: int) -> list[str]:
    """Value with its marks, interval, noise floor, p."""
    marks = INSIDE_FLOOR * (row["inside_floor"] == 1) + FEW_ERRORS * row["few_errors"]
    floor = [row[key] for key in ("floor_mean", "floor_high") if not math.isnan(row[key])]
    return [
        number(row["value"] * scale, digits) + marks,
        interval(row["low"] * scale, row["high"] * scale, digits),
        ", ".join(number(value * scale, digits) for value in floor),
        "" if math.isnan(row["p_calibrated"]) else p_value(row["p_calibrated"]),
    ]


def _difference(pair: Mapping[str, Any] | None, scale: float, digits: int) -> list[str]:
    """Difference with its interval, p."""
    if pair is None:
        return ["", ""]
    bounds = interval(pair["low"] * scale, pair["high"] * scale, digits)
    p = "" if math.isnan(pair["p_holm"]) else p_value(pair["p_holm"])
    return [f"{number(pair['difference'] * scale, digits)} {bounds}".rstrip(), p]
