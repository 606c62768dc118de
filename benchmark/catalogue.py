"""What there is to choose from, as rows for a table or JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

from benchmark.api import Calibrator, Dataset, HandedInDataset, Method
from benchmark.measures.declared import costs, metrics
from benchmark.plan import registry
from benchmark.plan.presets import PRESETS, Preset
from benchmark.report.markdown import escape_markdown, markdown_table

CATALOGUE: dict[str, tuple[Any, str]] = {
    "methods": (registry.methods, "name summary parameters calibrator paper"),
    "datasets": (registry.datasets, "name summary parameters preset licence access paper"),
    "calibrators": (registry.calibrators, "name summary parameters paper"),
    "metrics": (metrics, "name title direction unit formula source"),
    "costs": (costs, "name title direction unit members meaning"),
    "presets": (lambda: PRESETS, "name summary settings folds seeds parameters note"),
}
"""Of each kind: where the entries are, plug-ins' included, and the columns of its table."""


def rows(what: str) -> list[dict[str, Any]]:
    """One row per method, data set, calibrator, metric, cost or preset."""
    entries, columns = CATALOGUE[what]
    return [{name: _value(e, name) for name in columns.split()} for e in entries().values()]


def _value(entry: Any, column: str) -> Any:
    if column == "title":
        return entry.heading
    if column == "settings":
        return dataclasses.asdict(entry.settings)
    if column == "parameters":
        if isinstance(entry, Method):
            return registry.parameters_of(entry)
        if isinstance(entry, Preset):
            return dict(entry.parameters)
        kind = Dataset if isinstance(entry, Dataset) else Calibrator
        shared = {f.name for f in dataclasses.fields(kind)}
        own = [f.name for f in dataclasses.fields(entry) if f.name not in shared]
        values = {name: getattr(entry, name) for name in own if name != "named"}
        return values | ({"name": ""} if isinstance(entry, HandedInDataset) else {})
    value = getattr(entry, column)
    return "" if value is None else value


def markdown(what: str) -> str:
    """The rows as a Markdown table; ``docs/metrics.md`` is such a one."""
    listed = rows(what)
    cells = [[escape_markdown(text(value)) for value in row.values()] for row in listed]
    return markdown_table(list(listed[0]), cells, left=range(len(listed[0])))


def text(value: Any) -> str:
    """A cell of a table."""
    if isinstance(value, dict):
        return ", ".join(f"{name}={item}" for name, item in value.items())
    return str(value)
