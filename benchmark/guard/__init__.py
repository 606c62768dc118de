"""The guard: has the last change made a score, an invariant or the speed worse?

It trains a fixed small matrix, compares it with the committed baseline, checks invariants, and
then, when nothing trains any more, times the engine. The verdicts are pure functions of arrays;
what trains and times is imported when it is called, so that this package never loads torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmark.api import InputError, require
from benchmark.guard import baseline, invariants, matrix, scores, throughput
from benchmark.guard.baseline import Baseline
from benchmark.guard.matrix import METHODS, SEEDS, SETS, Predicted, Set
from benchmark.guard.verdicts import KINDS, Kind, Report, Row
from benchmark.measures.declared import metrics

BASELINE_SEEDS = 32
"""Seeds in the baseline: more than in a run, since what they cost is paid once."""

Say = Callable[[str], None]


def check(folder: Path, say: Say = lambda _: None, kinds: Sequence[Kind] = KINDS) -> Report:
    """Compare this tree with the baseline in a folder.

    Args:
        folder: of the baseline.
        say: told what is going on.
        kinds: of comparisons to make; without all of them the report is never a pass.

    Raises:
        InputError: there is no baseline, it is damaged, or of another matrix.
    """
    old = baseline.read(folder)
    changed = matrix.changes(old.matrix, matrix.describe())
    require(
        not changed,
        f"{folder}: the baseline is of another matrix: {'; '.join(changed)}. If that was meant, "
        "make a new one: python -m benchmark guard --update --reason TEXT",
    )
    rows: list[Row] = []
    notes: list[str] = []
    if "score" in kinds:
        with ExitStack() as stack:
            new = {}
            for s in SETS:
                say(f"training: {len(METHODS)} methods on the {s.name} set ({s.dataset})")
                new[s.name] = stack.enter_context(matrix.trained(s, SEEDS))
            pairs, missing = pair_up(old, {name: t.predicted for name, t in new.items()})
            rows += scores.compare(pairs) + missing
            rows += measured_rows(old)
            rows += invariants.on_matrix(new)
            notes = _notes(old.environment, _environment(), pairs)
    if "invariant" in kinds:
        say("checking invariants")
        rows += invariants.on_tiny_trainings()
        if "score" in kinds:  # the others look at what was trained for the scores
            rows += _unchecked(old.invariants, rows)
    if "throughput" in kinds:
        say("timing; nothing trains any more")
        rows += throughput_rows(old)
    return Report(rows, notes)


def update(folder: Path, reason: str, say: Say = lambda _: None) -> Report:
    """Make a new baseline of this tree, if all of its invariants hold.

    Returns:
        The invariants; if one is broken or could not be checked, nothing was written.

    Raises:
        InputError: a method could not be trained.
    """
    predicted, values, rows = {}, {}, []
    # At three moments: what else the machine does differs, and the spread is to show that.
    measured = [_timed(None)]
    with ExitStack() as stack:
        new = {}
        for s in SETS:
            say(f"training: {len(METHODS)} methods on the {s.name} set, {BASELINE_SEEDS} seeds")
            new[s.name] = stack.enter_context(matrix.trained(s, BASELINE_SEEDS))
            found = new[s.name].predicted
            require(not found.missing, f"{s.name}: {found.missing}; mend that first")
            predicted[s.name] = _first_seed(found)
            values[s.name] = {m: _values(found, m, BASELINE_SEEDS) for m in METHODS}
            say("timing; nothing trains")
            measured.append(_timed(None))
        say("checking invariants")
        rows += [*invariants.on_matrix(new), *invariants.on_tiny_trainings()]
    report = Report(rows)
    if not (report.worse or report.missing):
        ratios, seconds = (
            {name: [r for m in measured for r in m[part][name]] for name in measured[0][part]}
            for part in (0, 1)
        )
        new_one = Baseline(
            reason,
            _environment(),
            matrix.describe(),
            values,
            ratios,
            seconds,
            [row.what for row in rows],
            predicted,
        )
        baseline.write(folder, new_one)
    return report


def pair_up(old: Baseline, new: Mapping[str, Predicted]) -> tuple[list[scores.Pair], list[Row]]:
    """What can be compared of each method and set, and rows for what cannot."""
    pairs, rows = [], []
    for s in SETS:
        for method in METHODS:
            try:
                pairs.append(_pair(s, method, old, new[s.name]))
            except InputError as error:
                rows += [
                    Row(
                        kind="score",
                        what=f"{metric} of {method} on {s.name}",
                        verdict="not compared",
                        note=str(error),
                    )
                    for metric in scores.MARGINS
                ]
    return pairs, rows


def measured_rows(old: Baseline) -> Iterable[Row]:
    """Whether the baseline's predictions still have the scores that it states."""
    for metric in [m for m in scores.MARGINS if m in metrics()]:
        off = [0.0]
        for s in SETS:
            kept = old.predicted[s.name]
            for (method, seed), log_probs in kept.log_probs.items():
                stated = old.scores.get(s.name, {}).get(method, {}).get(metric, [])
                if seed < len(stated):
                    now = scores.value(metric, log_probs, kept.labels)
                    off.append(abs(now - stated[seed]))
        worst = np.max(off)  # Python's would lose a NaN
        yield invariants.row(
            f"{metric} is measured as in the baseline",
            bool(worst <= _STATED),
            f"the baseline's own predictions now get another value (by {worst:.2g}): the measure "
            "has changed",
        )


_STATED = 1e-6
"""The baseline states scores with seven digits."""


def refusal(reason: str) -> Report:
    """What to say where nothing could be compared."""
    return Report([Row(kind="score", what="anything", verdict="not compared", note=reason)])


def _unchecked(names: Iterable[str], rows: Sequence[Row]) -> list[Row]:
    """Rows for invariants that the baseline knows and nothing checked: none may get lost."""
    made = {row.what for row in rows}
    return [
        Row(kind="invariant", what=name, verdict="not compared", note="nothing checks it any more")
        for name in names
        if name not in made
    ]


def _pair(s: Set, method: str, old: Baseline, new: Predicted) -> scores.Pair:
    """Old and new predictions of a method on a set.

    Raises:
        InputError: one is missing, or they are not of the same images.
    """
    kept = old.predicted.get(s.name)
    stated = old.scores.get(s.name, {}).get(method, {})
    for metric in scores.MARGINS:
        require(metric in metrics(), f"there is no metric {metric!r} any more")
        values = stated.get(metric, ())
        require(
            len(values) >= BASELINE_SEEDS and bool(np.isfinite(values).all()),
            f"the baseline holds no finite {metric} of it for {BASELINE_SEEDS} seeds",
        )
    if kept is None or (method, 0) not in kept.log_probs:
        raise InputError("the baseline holds no predictions of it")
    for seed in range(SEEDS):
        found = (method, seed) in new.log_probs
        require(found, f"it could not be trained: {new.missing.get((method, seed))}")
    same = list(kept.ids) == list(new.ids) and list(kept.labels) == list(new.labels)
    require(same, "its test images or labels are not the baseline's")
    now = _values(new, method, SEEDS)
    # Of the other seeds the baseline knows the scores alone.
    identical = np.array_equal(kept.log_probs[method, 0], new.log_probs[method, 0]) and all(
        np.allclose(stated[metric][:SEEDS], now[metric], 0, _STATED) for metric in scores.MARGINS
    )
    return scores.Pair(s.name, method, stated, now, identical)


def _first_seed(found: Predicted) -> Predicted:
    kept = {key: p for key, p in found.log_probs.items() if key[1] == 0}
    return Predicted(found.ids, found.labels, kept, {})


def _values(found: Predicted, method: str, seeds: int) -> dict[str, list[float]]:
    return {
        metric: [
            scores.value(metric, found.log_probs[method, seed], found.labels)
            for seed in range(seeds)
        ]
        for metric in scores.MARGINS
    }


def throughput_rows(old: Baseline) -> list[Row]:
    """A row for each ratio, and on the baseline's own runner for each time in seconds."""
    ratios, seconds = _timed(None)
    rows = throughput.compare(old.ratios, ratios, lambda names: _timed(names)[0])
    if not _changes(old.environment, _environment()):
        rows += throughput.compare(
            old.seconds,
            seconds,
            lambda names: {k: v for k, v in _timed(None)[1].items() if k in names},
            throughput.SECONDS_FACTOR,
        )
    return rows


def _timed(names: Sequence[str] | None) -> tuple[throughput.Rounds, throughput.Rounds]:
    """Ratios and seconds of each round."""
    from benchmark.guard import timing

    timed = timing.measure(names)
    return {name: pair.ratios for name, pair in timed.items()}, timing.seconds(timed)


def _environment() -> dict[str, str]:
    """Versions and hardware, those of the post-hoc calibrators and of the two sets too."""
    from importlib.metadata import version

    import torch

    from benchmark.engine.fit import environment

    found = environment(torch.device("cpu"))
    found |= {name: version(name) for name in ("scipy", "scikit-learn")}
    return found | {"instructions": torch.backends.cpu.get_cpu_capability()}


def _notes(
    old: Mapping[str, str], new: Mapping[str, str], pairs: Sequence[scores.Pair]
) -> list[str]:
    """What to know about the whole: versions, whether predictions are bit-equal, what counts."""
    changed = _changes(old, new)
    differ = [f"{pair.method} on {pair.dataset}" for pair in pairs if not pair.identical]
    if changed:
        text = f"The baseline is from other versions or hardware: {'; '.join(changed)}."
    else:
        text = "The baseline is from the same versions and hardware."
    if not differ:
        text += (
            f" All {len(pairs)} predictions are bit-equal to the baseline's (compared to the last "
            "bit for the first seed, by their scores for the others)."
        )
    elif changed:
        text += (
            f" {len(differ)} of {len(pairs)} predictions are not bit-equal to the baseline's: for "
            "these the statistical verdict stands alone."
        )
    else:
        text += (
            f" Yet {len(differ)} of {len(pairs)} predictions are NOT bit-equal to the baseline's "
            f"({', '.join(differ)}): this tree predicts something else. If the change was meant, "
            "update the baseline; if it was not, find it, however small the difference."
        )
    margins = ", ".join(f"{metric} {margin}" for metric, margin in scores.MARGINS.items())
    return [
        text,
        f"A score is worse if the means over seeds differ by more than a margin ({margins}) and "
        f"clearly (p < {scores.ALPHA} for all scores together). The column `least` says about "
        "from which difference on a row is called worse, if all seeds move by it.",
    ]


def _changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """What the results or times may depend on and is not as in the baseline."""
    return [
        f"{key} {old.get(key, '?')} -> {new.get(key, '?')}"
        for key in dict.fromkeys((*old, *new))
        if key not in _IRRELEVANT and old.get(key) != new.get(key)
    ]


_IRRELEVANT = ("cores", "platform", "timm", "benchmark")
"""The matrix trains a network of ours; and this tree's own version excuses nothing."""
