"""The guard: has the last change made a score or the speed worse, or the engine another one?

It trains a fixed small matrix, compares it with the committed baseline, and then, when nothing
trains any more, times the engine. The verdicts are pure functions of arrays; what trains and times
is imported when it is called, so that this package never loads torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmark.api import InputError, Predictions
from benchmark.guard import baseline, engine, matrix, scores, throughput
from benchmark.guard.baseline import Baseline
from benchmark.guard.matrix import METHODS, SEEDS, SETS, Trained
from benchmark.guard.verdicts import KINDS, Comparison, Kind, Report
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
    old = read(folder)
    rows: list[Comparison] = []
    notes: list[str] = []
    if "score" in kinds or "engine" in kinds:
        elsewhere = environment_changes(old)
        pairs, missing = pair_up(old, train(SEEDS, say))
        if "score" in kinds:
            rows += [*scores.compare(pairs), *missing, *measured_rows(old)]
            notes = _notes(elsewhere, pairs)
        if "engine" in kinds:
            same = bit_equal(pairs, missing, elsewhere)
            rows.append(engine.compare(old.engine, engine.current(), same, elsewhere))
    if "throughput" in kinds:
        say("timing; nothing trains any more")
        rows += throughput_rows(old)
    return Report(rows, notes)


def update(folder: Path, reason: str, say: Say = lambda _: None) -> Report:
    """Make a new baseline of this tree, unless its engine predicts something else unsaid.

    Returns:
        Nothing, or why nothing was written: the engine predicts something else than that of the
        baseline which is there, or may do so, but ``FORMAT`` was not raised.

    Raises:
        InputError: a method could not be trained, or the baseline that is there is damaged.
    """
    new = engine.current(reason)
    # At three moments: what else the machine does differs, and the spread is to show that.
    measured = [_timed(None)]
    trained: dict[str, Trained] = {}
    for s in SETS:
        trained |= train(BASELINE_SEEDS, say, [s])
        if trained[s.name].missing:
            raise InputError(f"{s.name}: {trained[s.name].missing[0]} Mend that first")
        say("timing; nothing trains")
        measured.append(_timed(None))
    refused = list(_changed_unsaid(folder, new, trained))
    if not refused:
        ratios, seconds = (
            {name: [r for m in measured for r in m[part][name]] for name in measured[0][part]}
            for part in (0, 1)
        )
        made = Baseline(
            reason=reason,
            engine=new,
            environment=environment(),
            matrix=matrix.describe(),
            scores={
                s.name: {m: _values(trained[s.name], m, BASELINE_SEEDS) for m in METHODS}
                for s in SETS
            },
            ratios=ratios,
            seconds=seconds,
            predictions={
                s.name: {m: trained[s.name].predictions[m, 0] for m in METHODS} for s in SETS
            },
        )
        baseline.write(folder, made)
    return Report(refused)


def read(folder: Path) -> Baseline:
    """The baseline in a folder.

    Raises:
        InputError: there is none, it is damaged, or of another matrix.
    """
    old = baseline.read(folder)
    if changed := matrix.changes(old.matrix, matrix.describe()):
        raise InputError(
            f"{folder}: the baseline is of another matrix: {'; '.join(changed)}. If that was "
            "meant, make a new one, as CONTRIBUTING.md says"
        )
    return old


def train(seeds: int, say: Say, sets: Sequence[matrix.Set] = SETS) -> dict[str, Trained]:
    """Train the matrix; by set."""
    trained = {}
    for s in sets:
        say(f"training: {len(METHODS)} methods on the {s.name} set ({s.dataset}), {seeds} seeds")
        trained[s.name] = matrix.train(s, seeds)
    return trained


def pair_up(
    old: Baseline, new: Mapping[str, Trained]
) -> tuple[list[scores.Pair], list[Comparison]]:
    """What can be compared of each method and set, and rows for what cannot."""
    pairs, rows = [], []
    for s in SETS:
        for method in METHODS:
            try:
                pairs.append(_pair(s.name, method, old, new[s.name]))
            except InputError as error:
                rows += [
                    not_compared(f"{metric} of {method} on {s.name}", str(error))
                    for metric in scores.MARGINS
                ]
    return pairs, rows


def bit_equal(
    pairs: Sequence[scores.Pair], missing: Sequence[Comparison], elsewhere: Sequence[str]
) -> bool | None:
    """Whether all predictions are the baseline's; None where that cannot be known."""
    if not all(pair.identical for pair in pairs):
        return None if elsewhere else False
    return None if missing else True


def measured_rows(old: Baseline) -> Iterator[Comparison]:
    """Whether the baseline's predictions still have the scores that it states."""
    for metric in [m for m in scores.MARGINS if m in metrics()]:
        off = [0.0]
        for name, predictions in old.predictions.items():
            for method, p in predictions.items():
                if stated := old.scores.get(name, {}).get(method, {}).get(metric):
                    off.append(abs(scores.value(metric, p) - stated[0]))
        worst = np.max(off)  # Python's would lose a NaN
        yield Comparison(
            kind="score",
            what=f"{metric} is measured as in the baseline",
            verdict="identical" if worst <= _STATED else "regressed",
            note=f"the baseline's own predictions now get another value (by {worst:.2g}): the "
            "measure has changed",
        )


_STATED = 1e-6
"""The baseline states scores with seven digits."""


def not_compared(what: str, why: str) -> Comparison:
    """A row for scores that could not be compared."""
    return Comparison(kind="score", what=what, verdict="not compared", note=why)


def refusal(reason: str) -> Report:
    """What to say where nothing could be compared."""
    return Report([not_compared("anything", reason)])


def _changed_unsaid(
    folder: Path, new: engine.Engine, trained: Mapping[str, Trained]
) -> Iterator[Comparison]:
    """A row if the baseline in a folder was made by another engine of the same ``FORMAT``."""
    if not (folder / baseline.TOML).exists():
        return
    old = baseline.read(folder)
    if old.engine is None or new.format > old.engine.format:
        return
    elsewhere = environment_changes(old)
    same = None
    if not matrix.changes(old.matrix, matrix.describe()):
        same = bit_equal(*pair_up(old, trained), elsewhere)
    row = engine.compare(old.engine, new, same, elsewhere)
    if row.verdict in ("regressed", "not compared"):
        yield row


def _pair(name: str, method: str, old: Baseline, new: Trained) -> scores.Pair:
    """Old and new predictions of a method on a set.

    Raises:
        InputError: one is missing, or they are not of the same images.
    """
    stated = old.scores.get(name, {}).get(method, {})
    for metric in scores.MARGINS:
        if metric not in metrics():
            raise InputError(f"there is no metric {metric!r} any more")
        values = stated.get(metric, ())
        if len(values) < BASELINE_SEEDS or not np.isfinite(values).all():
            raise InputError(
                f"the baseline holds no finite {metric} of it for {BASELINE_SEEDS} seeds"
            )
    kept = old.predictions.get(name, {}).get(method)
    if kept is None:
        raise InputError("the baseline holds no predictions of it")
    if any((method, seed) not in new.predictions for seed in range(SEEDS)):
        why = [text for text in new.missing if text.startswith(f"{method} on ")]
        raise InputError(f"it could not be trained: {' '.join(why[:1])}")
    first = new.predictions[method, 0]
    if list(kept.ids) != list(first.ids) or list(kept.labels) != list(first.labels):
        raise InputError("its test images or labels are not the baseline's")
    now = _values(new, method, SEEDS)
    # Of the other seeds the baseline knows the scores alone.
    identical = np.array_equal(kept.log_probs, first.log_probs) and all(
        np.allclose(stated[metric][:SEEDS], now[metric], 0, _STATED) for metric in scores.MARGINS
    )
    return scores.Pair(name, method, stated, now, identical)


def _values(trained: Trained, method: str, seeds: int) -> dict[str, list[float]]:
    predictions: list[Predictions] = [trained.predictions[method, seed] for seed in range(seeds)]
    return {metric: [scores.value(metric, p) for p in predictions] for metric in scores.MARGINS}


def throughput_rows(old: Baseline) -> list[Comparison]:
    """A row for each ratio, and on the baseline's own runner for each time in seconds."""
    ratios, seconds = _timed(None)
    rows = throughput.compare(old.ratios, ratios, lambda names: _timed(names)[0])
    if not environment_changes(old):
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


def environment() -> dict[str, str]:
    """Versions and hardware, those of the post-hoc calibrators and of the two sets too."""
    from importlib.metadata import version

    import torch

    from benchmark.engine.fit import environment

    found = environment(torch.device("cpu"))
    found |= {name: version(name) for name in ("scipy", "scikit-learn")}
    return found | {"instructions": torch.backends.cpu.get_cpu_capability()}


def environment_changes(old: Baseline) -> list[str]:
    """What results or times may depend on and is not as in the baseline."""
    before, now = old.environment, environment()
    return [
        f"{key} {before.get(key, '?')} -> {now.get(key, '?')}"
        for key in dict.fromkeys((*before, *now))
        if key not in _IRRELEVANT and before.get(key) != now.get(key)
    ]


_IRRELEVANT = ("cores", "platform", "timm", "benchmark")
"""The matrix trains a network of ours; and this tree's own version excuses nothing."""


def _notes(elsewhere: Sequence[str], pairs: Sequence[scores.Pair]) -> list[str]:
    """What to know about the whole: versions, whether predictions are bit-equal, what counts."""
    differ = [f"{pair.method} on {pair.dataset}" for pair in pairs if not pair.identical]
    number = f"{len(differ)} of {len(pairs)} predictions are"
    text = "The baseline is from the same versions and hardware."
    if elsewhere:
        text = f"The baseline is from other versions or hardware: {'; '.join(elsewhere)}."
    if not differ:
        text += (
            f" All {len(pairs)} predictions are bit-equal to the baseline's (compared to the last "
            "bit for the first seed, by their scores for the others)."
        )
    elif elsewhere:
        text += (
            f" {number} not bit-equal to the baseline's: for these the statistical verdict "
            "stands alone."
        )
    else:
        text += (
            f" Yet {number} NOT bit-equal to the baseline's ({', '.join(differ)}): this tree "
            "predicts something else. If the change was meant, update the baseline; if it was "
            "not, find it, however small the difference."
        )
    margins = ", ".join(f"{metric} {margin}" for metric, margin in scores.MARGINS.items())
    return [
        text,
        f"A score is worse if the means over seeds differ by more than a margin ({margins}) and "
        f"clearly (p < {scores.ALPHA} for all scores together). The column `least` says about "
        "from which difference on a row is called worse, if all seeds move by it.",
    ]
