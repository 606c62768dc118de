"""What the guard says: a row for each comparison, the table of them, the exit code."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from benchmark.report.markdown import bullets, escape_markdown, markdown_table

Verdict = Literal["identical", "unchanged", "improved", "regressed", "not compared"]
"""``identical``: to the last bit; of a measure: to the last digit that the baseline states."""

Kind = Literal["score", "engine", "throughput"]
KINDS: tuple[Kind, ...] = get_args(Kind)

REMEDY = (
    "What to do: if the change was not meant, mend it; each line above names what to look at. If "
    "it was, make a new baseline, as CONTRIBUTING.md says, and commit it with the change, so that "
    "it is reviewed."
)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One comparison.

    Attributes:
        kind: ``score``, ``engine`` or ``throughput``.
        what: what was compared, in words.
        old: the baseline's value.
        new: the value now.
        verdict: what became of it.
        least: the least difference that is called worse, where there is one.
        note: on what the verdict rests, or why nothing could be compared.
    """

    kind: Kind
    what: str
    verdict: Verdict
    old: float | None = None
    new: float | None = None
    least: float | None = None
    note: str = ""

    @property
    def difference(self) -> float | None:
        """New minus old; for a throughput the relative change."""
        if self.old is None or self.new is None:
            return None
        if self.kind == "throughput":
            return self.new / self.old - 1
        return self.new - self.old


@dataclass(frozen=True)
class Report:
    """All comparisons of one run of the guard.

    Attributes:
        rows: one for each comparison.
        notes: sentences on the whole: versions, bit-equality.
    """

    rows: Sequence[Comparison]
    notes: Sequence[str] = ()

    def of(self, verdict: Verdict) -> list[Comparison]:
        """The rows of a verdict."""
        return [row for row in self.rows if row.verdict == verdict]

    @property
    def exit_code(self) -> int:
        """0: nothing got worse; 1: something did; 2: something could not be compared."""
        if self.of("regressed"):
            return 1
        # Nothing to compare is not a pass.
        complete = {row.kind for row in self.rows} == set(KINDS)
        return 0 if complete and not self.of("not compared") else 2

    @property
    def headline(self) -> str:
        """The verdict on the whole in one sentence."""
        failed, missing = len(self.of("regressed")), len(self.of("not compared"))
        better, number = len(self.of("improved")), len(self.rows)
        if failed:
            text = f"REGRESSION: {failed} of {number} comparisons"
            text += f"; {missing} could not be made" if missing else ""
        elif self.exit_code == 2:
            text = f"CANNOT COMPARE: {missing} of {number} comparisons"
        else:
            text = f"PASS: {number} comparisons, none worse than the baseline"
            changed = sum(r.kind == "score" and r.verdict != "identical" for r in self.rows)
            text += f", but {changed} scores are of predictions that changed" if changed else ""
        return text + (f"; {better} improved" if better else "")

    def render(self, form: Literal["table", "json", "markdown"]) -> str:
        """The report as text."""
        if form == "json":
            return self._json()
        return self._markdown() if form == "markdown" else self._table()

    @property
    def _named(self) -> list[str]:
        """What failed, could not be compared or improved: what, and why."""
        verdicts: tuple[Verdict, ...] = ("regressed", "not compared", "improved")
        listed = [row for verdict in verdicts for row in self.of(verdict)]
        listed += [row for row in self.of("unchanged") if row.kind == "engine"]
        return [f"{row.verdict}: {row.what}: {_change(row)}{row.note}" for row in listed]

    def _table(self) -> str:
        lines = [_HEADER, *(_cells(row) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines)]
        text = []
        for first, *numbers, last in lines:
            padded = [cell.rjust(width) for cell, width in zip(numbers, widths[1:])]
            text.append("  ".join([first.ljust(widths[0]), *padded, last]).rstrip())
        remedy = [REMEDY] if self.exit_code else []
        return "\n".join([*text, *self.notes, self.headline, *self._named, *remedy])

    def _markdown(self) -> str:
        rows = []
        for row in self.rows:
            *cells, verdict = map(escape_markdown, _cells(row))
            bold = "**" if verdict in ("regressed", "not compared") else ""
            rows.append([*cells, f"{bold}{verdict}{bold}"])
        parts = [f"## Guard: {escape_markdown(self.headline)}", bullets(self._named)]
        parts += [REMEDY] if self.exit_code else []
        parts += map(escape_markdown, self.notes)
        parts += ["<details><summary>All comparisons</summary>"]
        parts += [markdown_table(_HEADER, rows, left=(0, len(_HEADER) - 1)), "</details>"]
        return "\n\n".join(filter(None, parts))

    def _json(self) -> str:
        def plain(value: Any) -> Any:
            return str(value) if isinstance(value, float) and not math.isfinite(value) else value

        rows = [dataclasses.asdict(row) | {"difference": row.difference} for row in self.rows]
        content = {
            "headline": self.headline,
            "exit_code": self.exit_code,
            "notes": list(self.notes),
            "what_to_do": REMEDY if self.exit_code else "",
            "rows": [{name: plain(value) for name, value in row.items()} for row in rows],
        }
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)


_HEADER = ("what", "old", "new", "difference", "least", "verdict")


def _cells(row: Comparison) -> tuple[str, ...]:
    relative = ".1%" if row.kind == "throughput" else ".4f"
    shown = [
        "" if value is None else format(value, form)
        for value, form in (
            (row.old, ".4f"),
            (row.new, ".4f"),
            (row.difference, f"+{relative}"),
            (row.least, relative),
        )
    ]
    return (row.what, *shown, row.verdict)


def _change(row: Comparison) -> str:
    if row.difference is None:
        return ""
    _, old, new, difference, *_ = _cells(row)
    return f"{old} -> {new} ({difference}); "
