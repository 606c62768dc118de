"""From a results folder to its tables, figures and page: without torch or a GPU.

Nothing is made again whose inputs are unchanged: neither a score of a record, nor the rows of a
block, nor a figure, nor all of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.api import ORIGIN, BlockKey, InputError, Origin, Predictions
from benchmark.plan.addresses import digest
from benchmark.plan.presets import REFERENCE
from benchmark.results import manifest
from benchmark.results.files import write_atomically
from benchmark.results.load import STORE, Content, load
from benchmark.results.memo import Memo, code_version, frames_from_plain, frames_to_plain
from benchmark.results.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.report.curves import MethodCurves
    from benchmark.statistics import BlockTables, Tables
    from benchmark.statistics.apart import Known
    from benchmark.statistics.summary import Numbers, Unmeasured

_Beside = tuple[dict[tuple[str, int], tuple[int, ...]], list[tuple[Predictions, Predictions]]]
"""Of a block: what was trained on, and the parts, as :class:`benchmark.results.load.Content`."""

_MANY = 16
"""So many predictions of a block are worth a division among processes."""

_ROOMS = ("api", "measures", "plan", "inference", "statistics")
_FRAMES = ("values", "ranks", "pairs", "detectable", "overall", "mean_ranks", "scores")


class NothingCompleteError(InputError):
    """Every cell lacks some record."""


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """What a results folder says.

    Attributes:
        tables: all frames, and notes.
        costs: tidy, with the hardware.
        missing: a sentence for each cell that lacks something.
    """

    tables: Tables
    costs: pd.DataFrame
    missing: list[str]


@dataclass(frozen=True)
class _Options:
    """What the rows of a block follow from besides its predictions."""

    metrics: tuple[str, ...] | None
    against: str
    alpha: float


def regenerate(
    folder: Path,
    *,
    datasets: str | None = None,
    metric_names: Sequence[str] | None = None,
    against: str | None = None,
    alpha: float = 0.05,
) -> Leaderboard:
    """Write scores, costs, tables, figures and the page of a results folder.

    Args:
        folder: with a manifest and a store.
        datasets: names or globs to restrict the tables to.
        metric_names: metrics to show; all that the data allow by default.
        against: the method that the others are compared with; by default the usual reference, and
            the best alone where that is missing.
        alpha: one minus the confidence of the intervals.

    Raises:
        InputError: nothing is stored there, or an unknown data set, metric or method.
    """
    from benchmark.plan.registry import select_glob

    listing = manifest.read(folder)
    if not listing.entries:
        raise InputError(f"{folder} holds no results yet; make some with `run`")
    if datasets is not None:
        names = {entry.origin.dataset: entry.origin.dataset for entry in listing.entries}
        listing = listing.restrict(set(select_glob(datasets, names, "data set")))
    store, memo = Store(folder / STORE), Memo(folder)
    sources = {entry.origin: _source(store, entry) for entry in listing.entries}
    options = _Options(tuple(metric_names) if metric_names else None, against or REFERENCE, alpha)
    everything = digest(
        [
            code_version("leaderboard.py", *_ROOMS, "results", "report"),
            dataclasses.asdict(listing),
            [sources[entry.origin] for entry in listing.entries],
            dataclasses.asdict(options),
            against,
        ]
    )
    with memo.lock():  # whoever writes tables here at the same time is waited for
        kept = _unchanged(folder, memo, everything)
        if kept is None:
            kept = _make(folder, listing, sources, options, against)
            _remember(folder, memo, everything, kept)
    return kept


def _make(
    folder: Path,
    listing: manifest.Manifest,
    sources: dict[Origin, str],
    options: _Options,
    against: str | None,
) -> Leaderboard:
    from benchmark import report, statistics

    content = load(folder, listing)
    if not content.predictions:
        raise NothingCompleteError(
            f"{folder}: no cell is complete. {' '.join(content.missing[:3])} Run it again"
        )
    _check_reference(against, {p.origin.method for p in content.predictions})
    statistics.check(options.metrics, options.alpha)
    blocks = _blocks(Memo(folder), content, sources, options)
    tables = statistics.gather([rows for rows, _ in blocks], options.metrics, options.alpha)
    _check_reference(against, set(tables.ranks["method"]))
    for name, frame in (("scores", tables.scores), ("costs", content.costs)):
        text = frame.to_csv(index=False, lineterminator="\n")
        write_atomically(folder / f"{name}.csv", text.encode())
    notes = [p["note"] for p in listing.presets.values() if p["note"]] + content.notes
    notes += [f"{name}: {note}" for name, listed in listing.notes.items() for note in listed]
    tables = dataclasses.replace(tables, notes=(*content.missing, *tables.notes, *notes))
    report.write(
        folder,
        tables,
        {rows.key: curves for rows, curves in blocks},
        content.costs,
        listing.definitions(),
        {"command": "; ".join(listing.commands), **content.environment},
        options.against,
        options.alpha,
        REFERENCE,
    )
    return Leaderboard(tables, content.costs, content.missing)


def _check_reference(against: str | None, methods: set[str]) -> None:
    if against is not None and against not in methods:
        known = ", ".join(sorted(methods)) or "none"
        raise InputError(
            f"no method of the name {against!r} is complete in any block; there are {known}"
        )


# --- blocks, each by itself --------------------------------------------------------------------


def _blocks(
    memo: Memo, content: Content, sources: dict[Origin, str], options: _Options
) -> list[tuple[BlockTables, dict[str, MethodCurves]]]:
    """The rows and curves of each block: kept ones, or made anew."""
    from benchmark.report import curves
    from benchmark.statistics import BlockTables, by_block

    code = code_version(*_ROOMS, "report/curves.py")
    blocks = by_block(content.predictions)
    keys = {
        block: digest([code, dataclasses.asdict(options), [sources[p.origin] for p in members]])
        for block, members in blocks.items()
    }
    kept = {block: memo.get("block", key) for block, key in keys.items()}
    todo = [block for block in blocks if kept[block] is None]
    if todo:
        scores = memo.get("scores", code) or {}
        known = {block: _known(scores, blocks[block], sources) for block in todo}
        beside = {block: (content.train_counts[block], content.parts[block]) for block in todo}
        wanted = {block: blocks[block] for block in todo}
        for block, made in _tabulate(wanted, options, known, beside):
            kept[block] = made
            memo.put("block", keys[block], made)
        memo.put("scores", code, scores | _by_source(kept.values(), sources))
        memo.forget_old("block")
        memo.forget_old("scores", 1)
    return [
        (BlockTables.from_plain(kept[block]["tables"]), curves.from_plain(kept[block]["curves"]))
        for block in blocks
    ]


def _tabulate(
    blocks: dict[BlockKey, list[Predictions]],
    options: _Options,
    known: Mapping[BlockKey, Known],
    beside: Mapping[BlockKey, _Beside],
) -> Iterator[tuple[BlockKey, dict[str, Any]]]:
    """All that is computed of each block, as plain values: by methods first, then together."""
    import joblib

    from benchmark.results.processes import on_all_cores
    from benchmark.statistics import unmeasured

    make = {
        block: unmeasured(members, options.metrics, options.against, options.alpha)
        for block, members in blocks.items()
    }
    shares = [
        (block, share)
        for block, members in blocks.items()
        for share in make[block].divide(joblib.cpu_count() if len(members) >= _MANY else 1)
    ]
    measured = on_all_cores(_measure, [(share, known[block]) for block, share in shares])
    parts: dict[BlockKey, list[Any]] = {block: [] for block in blocks}
    for (block, _), part in zip(shares, measured, strict=True):
        parts[block].append(part)
    joined = on_all_cores(_join, [(make[block], parts[block], beside[block]) for block in blocks])
    yield from zip(blocks, joined, strict=True)


def _measure(share: Unmeasured, known: Known) -> tuple[Numbers, dict[str, Any]]:
    from benchmark.report import curves

    numbers = share.measure(known)
    return numbers, curves.to_plain(curves.of_methods(share.block, share.alpha))


def _join(
    block: Unmeasured, parts: list[tuple[Numbers, dict[str, Any]]], beside: _Beside
) -> dict[str, Any]:
    from benchmark.statistics import unlike, with_shares

    counts, pairs = beside
    tables = block.tabulate([numbers for numbers, _ in parts])
    tables = with_shares(tables, block.predictions, counts, block.metrics, block.alpha)
    tables = dataclasses.replace(tables, notes=[*tables.notes, *unlike(pairs, block.alpha)])
    curves = {method: values for _, drawn in parts for method, values in drawn.items()}
    return {"tables": tables.to_plain(), "curves": curves}


def _source(store: Store, entry: manifest.Entry) -> str:
    """A digest of a cell and of the records that its predictions are made from.

    Data that were handed in under two names share their records, but not their rows.
    """
    keys = [*entry.fits, *([entry.calibration] if entry.calibration else [])]
    records = [(store.checksum(key), store.failure(key)) for key in keys]
    return digest([dataclasses.asdict(entry.origin), records])


def _known(
    scores: dict[str, dict[str, float]],
    predictions: Sequence[Predictions],
    sources: dict[Origin, str],
) -> dict[tuple[Origin, str], float]:
    """What was measured before of the same records."""
    return {
        (p.origin, metric): value
        for p in predictions
        for metric, value in scores.get(sources[p.origin], {}).items()
    }


def _by_source(blocks: Any, sources: dict[Origin, str]) -> dict[str, dict[str, float]]:
    """The scores of all blocks, by the records that they were measured of."""
    scores: dict[str, dict[str, float]] = {}
    for block in blocks:
        for row in block["tables"]["scores"]:
            *origin, metric, value = row
            source = sources[Origin(**dict(zip(ORIGIN, origin)))]
            scores.setdefault(source, {})[metric] = value
    return scores


# --- all of it -----------------------------------------------------------------------------------


def _unchanged(folder: Path, memo: Memo, key: str) -> Leaderboard | None:
    """What was made before of the same inputs, if every file of it still lies there."""
    kept = memo.get("board", key)
    try:
        if kept["files"] != _files(folder):
            return None
        frames = frames_from_plain(kept["frames"])
        costs = frames.pop("costs")
    except (KeyError, TypeError, ValueError):
        return None
    from benchmark.statistics import Tables

    return Leaderboard(Tables(**frames, notes=tuple(kept["notes"])), costs, kept["missing"])


def _remember(folder: Path, memo: Memo, key: str, board: Leaderboard) -> None:
    frames = {name: getattr(board.tables, name) for name in _FRAMES} | {"costs": board.costs}
    kept = {
        "files": _files(folder),
        "frames": frames_to_plain(frames),
        "notes": board.tables.notes,
        "missing": board.missing,
    }
    memo.put("board", key, kept)
    memo.forget_old("board", 5)


def _files(folder: Path) -> dict[str, str]:
    """A digest of each file that a leaderboard consists of."""
    listed = [*folder.glob("leaderboard.*"), *folder.glob("*.csv"), folder / "report.html"]
    listed += (folder / "figures").glob("*.*")
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(set(listed))
        if path.is_file()
    }
