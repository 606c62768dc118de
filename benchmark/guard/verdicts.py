"""What the guard says: a row for each comparison, the table of them, the exit code."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

Verdict = Literal[
    "identical", "unchanged", "improved", "holds", "regressed", "broken", "not compared"
]
"""``identical``: to the last bit. ``broken`` is an invariant's ``regressed``."""

Kind = Literal["score", "invariant", "throughput"]
KINDS: tuple[Kind, ...] = get_args(Kind)

FAILS: tuple[Verdict, ...] = ("regressed", "broken")

REMEDY = (
    "What to do: if the change was not meant, mend it; each line above names what to look at. If "
    "it was, make a new baseline with `python -m benchmark guard --update --reason TEXT` and "
    "commit it with the change, so that it is reviewed."
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison.

    Attributes:
        kind: ``score``, ``invariant`` or ``throughput``.
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

    rows: Sequence[Row]
    notes: Sequence[str] = ()

    @property
    def worse(self) -> list[Row]:
        """What regressed or broke."""
        return [row for row in self.rows if row.verdict in FAILS]

    @property
    def missing(self) -> list[Row]:
        """What could not be compared."""
        return [row for row in self.rows if row.verdict == "not compared"]

    @property
    def exit_code(self) -> int:
        """0: nothing got worse; 1: something did; 2: something could not be compared."""
        if self.worse:
            return 1
        if self.missing:
            return 2
        # Nothing to compare is not a pass.
        return 0 if {row.kind for row in self.rows} == set(KINDS) else 2

    @property
    def headline(self) -> str:
        """The verdict on the whole in one sentence."""
        failed, missing = self.worse, self.missing
        better = [row for row in self.rows if row.verdict == "improved"]
        if failed:
            text = f"REGRESSION: {len(failed)} of {len(self.rows)} comparisons"
        elif self.exit_code == 2:
            text = f"CANNOT COMPARE: {len(missing)} of {len(self.rows)} comparisons"
        else:
            text = f"PASS: {len(self.rows)} comparisons, none worse than the baseline"
            changed = sum(r.kind == "score" and r.verdict != "identical" for r in self.rows)
            if changed:
                text += f", but {changed} scores are of predictions that changed"
        if failed and missing:
            text += f"; {len(missing)} could not be made"
        return text + (f"; {len(better)} improved" if better else "")

    def render(self, form: Literal["table", "json", "markdown"]) -> str:
        """The report as text."""
        if form == "json":
            return self._json()
        return self._markdown() if form == "markdown" else self._table()

    @property
    def _named(self) -> list[str]:
        """What failed, could not be compared or improved: what, and why."""
        listed = [
            row
            for v in (*FAILS, "not compared", "improved")
            for row in self.rows
            if row.verdict == v
        ]
        return [f"{row.verdict}: {row.what}: {_change(row)}{row.note}" for row in listed]

    def _table(self) -> str:
        header = _HEADER
        lines = [header, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
        text = []
        for line in lines:
            padded = [line[0].ljust(widths[0])]
            padded += [cell.rjust(width) for cell, width in zip(line[1:-1], widths[1:-1])]
            text.append("  ".join([*padded, line[-1]]).rstrip())
        body = ["\n".join(text), *self.notes, self.headline, *self._named]
        return "\n".join(body + ([REMEDY] if self.exit_code else []))

    def _markdown(self) -> str:
        def escape(text: str) -> str:
            return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")

        lines = [f"## Guard: {escape(self.headline)}", ""]
        lines += [f"- {escape(name)}" for name in self._named]
        if self.exit_code:
            lines += ["", REMEDY]
        lines += ["", *(escape(note) + "\n" for note in self.notes)]
        lines += ["<details><summary>All comparisons</summary>", ""]
        lines += [f"| {' | '.join(_HEADER)} |", "|---|--:|--:|--:|--:|---|"]
        for row in self.rows:
            cells = [escape(cell) for cell in _cells(row)]
            if row.verdict in (*FAILS, "not compared"):
                cells[-1] = f"**{cells[-1]}**"
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join([*lines, "", "</details>"])

    def _json(self) -> str:
        def plain(value: Any) -> Any:
            return str(value) if isinstance(value, float) and not math.isfinite(value) else value

        rows = [
            {k: plain(v) for k, v in (dataclasses.asdict(r) | {"difference": r.difference}).items()}
            for r in self.rows
        ]
        content: Mapping[str, Any] = {
            "headline": self.headline,
            "exit_code": self.exit_code,
            "notes": list(self.notes),
            "what_to_do": REMEDY if self.exit_code else "",
            "rows": rows,
        }
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)


_HEADER = ("what", "old", "new", "difference", "least", "verdict")


def _number(value: float | None, sign: bool = False) -> str:
    return "" if value is None else f"{value:{'+' if sign else ''}.4f}"


def _cells(row: Row) -> tuple[str, str, str, str, str, str]:
    difference, least = _number(row.difference, sign=True), _number(row.least)
    if row.kind == "throughput":
        difference = "" if row.difference is None else f"{row.difference:+.1%}"
        least = "" if row.least is None else f"{row.least:.1%}"
    return row.what, _number(row.old), _number(row.new), difference, least, row.verdict


def _change(row: Row) -> str:
    if row.difference is None:
        return ""
    _, old, new, difference, *_ = _cells(row)
    return f"{old} -> {new} ({difference}); "
