"""What there is to choose from, as rows for a table or JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

from benchmark.plan import registry
from benchmark.plan.presets import PRESETS
from benchmark.report.markdown import escape_markdown, markdown_table


def rows(what: str) -> list[dict[str, Any]]:
    """One row per registered method, data set, calibrator, metric or preset."""
    if what == "methods":
        return [
            {
                "name": method.name,
                "summary": method.summary,
                "parameters": registry.parameters_of(method),
                "calibrator": method.calibrator or "",
                "paper": method.paper,
            }
            for method in registry.methods().values()
        ]
    if what == "calibrators":
        return [
            {
                "name": c.name,
                "summary": c.summary,
                "parameters": _own_fields(c, ("name", "summary", "paper")),
                "paper": c.paper,
            }
            for c in registry.calibrators().values()
        ]
    if what == "datasets":
        known = ("name", "summary", "paper", "licence", "access", "preset", "archive")
        return [
            {
                "name": d.name,
                "summary": d.summary,
                "parameters": _own_fields(d, (*known, "known_counts", "argument")),
                "preset": d.preset,
                "licence": d.licence,
                "access": d.access,
                "paper": d.paper,
            }
            for d in registry.datasets().values()
        ]
    if what == "metrics":
        from benchmark.measures.declared import metrics

        return [
            {
                "name": m.name,
                "title": m.heading,
                "direction": m.direction,
                "unit": m.unit,
                "formula": m.formula,
                "source": m.source,
            }
            for m in metrics().values()
        ]
    return [
        {
            "name": p.name,
            "summary": p.summary,
            "settings": dataclasses.asdict(p.settings),
            "folds": p.folds,
            "seeds": p.seeds,
            "parameters": dict(p.parameters),
            "note": p.note,
        }
        for p in PRESETS.values()
    ]


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


def _own_fields(value: Any, common: tuple[str, ...]) -> dict[str, Any]:
    names = [f.name for f in dataclasses.fields(value) if f.name not in common]
    return {name: getattr(value, name) for name in names}
