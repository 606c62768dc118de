"""The library: what the command line does, as functions that give data frames."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import interrupts, terminal
from benchmark.api import InputError

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.api import Dataset
    from benchmark.leaderboard import Leaderboard
    from benchmark.running.prepare import Work
    from benchmark.running.request import Request

RESULTS = "results/local"
DATASETS = "simulated,digits"


@dataclass(frozen=True)
class Figure:
    """A figure that notebooks show."""

    path: Path

    def _repr_svg_(self) -> str:
        return self.path.read_text(encoding="utf-8")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Results:
    """Numbers that can be believed, in tidy frames; a notebook shows them as tables.

    Only rows that agree in preset, dataset, backbone and folds may be compared.

    Attributes:
        folder: where the tables, the figures and ``report.html`` lie.
        ranks: one row per method: its mean rank with its interval; and in each ranked metric its
            rank, the letters of its group (methods that share one cannot be told apart) and
            whether it cannot be excluded as the best.
        intervals: one row per method and metric: value and interval, over trainings where there
            are replicates enough (``question`` says so); those of the trained networks, and their
            noise floor; also those of the class shares, which are no method.
        pairs: one row per question, method, metric and reference: the paired difference.
        detectable: one row per ranked metric: what difference could have been found, and how many
            replicates would settle the first place.
        scores: one row per replicate and metric.
        costs: one row per replicate and cost, with the hardware.
        notes: the small print, in sentences.
        missing: a sentence for each method that lacks a replicate.
        trained: fits made by this run.
        stored: fits that this run found in the store.
        failed: why a fit failed, by what it was.
    """

    folder: Path
    ranks: pd.DataFrame
    intervals: pd.DataFrame
    pairs: pd.DataFrame
    detectable: pd.DataFrame
    scores: pd.DataFrame
    costs: pd.DataFrame
    notes: Sequence[str] = ()
    missing: Sequence[str] = ()
    trained: int = 0
    stored: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def figures(self) -> dict[str, Path]:
        """The SVG file of each figure; a PNG of the same name lies beside it."""
        return {path.stem: path for path in sorted((self.folder / "figures").glob("*.svg"))}

    def figure(self, name: str) -> Figure:
        """A figure by its name, or by the beginning of its name where that is enough.

        Raises:
            InputError: no figure is called so, or several are.
        """
        figures = self.figures
        fitting = [name] if name in figures else [n for n in figures if n.startswith(name)]
        if len(fitting) != 1:
            what = "several figures begin" if fitting else "no figure begins"
            raise InputError(f"{what} with {name!r}: {', '.join(fitting or figures) or 'none'}")
        return Figure(figures[fitting[0]])

    def show(self) -> None:
        """Print a card and a table of each data set, as wide as the terminal."""
        from benchmark.cards import cards

        terminal.show(cards(self), terminal.console())

    def mean_costs(self) -> pd.DataFrame:
        """Mean over the replicates, one row per method, cost and hardware, with its ratio.

        ``ratio``, with an interval over replicates, is that to cross-entropy; ``doubt`` says why a
        cost cannot be compared.
        """
        from benchmark import statistics
        from benchmark.plan.presets import REFERENCE

        return statistics.charges(self.costs, REFERENCE)

    def to_json(self) -> str:
        """The frames but for pairs and scores, costs as means.

        ``null`` where there is none, ``"Infinity"`` as text.
        """

        def rows(frame: pd.DataFrame) -> list[dict[Hashable, Any]]:
            plain = frame.astype(object).where(frame.notna(), None)
            return plain.replace({math.inf: "Infinity", -math.inf: "-Infinity"}).to_dict("records")

        frames = {"ranks": self.ranks, "values": self.intervals, "detectable": self.detectable}
        frames |= {"costs": self.mean_costs()}
        content: dict[str, Any] = {name: rows(frame) for name, frame in frames.items()}
        content |= {"notes": list(self.notes), "missing": list(self.missing)}
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)

    def __repr__(self) -> str:
        blocks = self.ranks.groupby(["preset", "dataset", "backbone", "folds"]).ngroups
        return f"Results({str(self.folder)!r}: {len(self.ranks)} rows of {blocks} leaderboards)"

    def _repr_html_(self) -> str:
        from benchmark.cards import cards

        return "".join(card.html() for card in cards(self))


def run(
    methods: str | Sequence[str] = "all",
    datasets: str | Sequence[str] = DATASETS,
    *,
    backbones: Sequence[str] = (),
    preset: str | None = None,
    folds: int | str | None = None,
    seeds: int | None = None,
    weights: str | Path | None = None,
    device: str = "auto",
    jobs: int | None = None,
    results: str | Path = RESULTS,
    data_root: str | Path = "data",
    cache: str | Path | None = None,
    on_duplicates: str | None = None,
    plugins: str | Path | None = None,
    force: bool = False,
    progress: bool = True,
) -> Results:
    """Train what the store lacks, compare the methods, and write tables, figures and the page.

    What was trained before is found again, in this call as in the next: interrupt it when you
    like. A fit that fails does not stop the others.

    Args:
        methods: names or globs, with parameters and calibrators, as a sequence or separated by
            commas: ``"mhml-*,focal[gamma=2],deep-ensemble+temperature"``.
        datasets: names or globs, with parameters.
        backbones: ``small`` or any timm name; the preset's by default.
        preset: ``quick``, ``standard`` or ``paper``, also ``quick[epochs=5,size=64]``; each data
            set's own by default.
        folds: how many, or ``official``; the preset's by default.
        seeds: how many per fold; the preset's by default.
        weights: ``imagenet``, ``none`` or a file; the preset's by default.
        device: ``auto``, ``cpu`` or ``cuda``.
        jobs: how many fits run at once; one per core by default, one on a GPU.
        results: folder of the store and the tables.
        data_root: folder of the data sets.
        cache: folder of decoded images; ``data_root/cache`` by default.
        on_duplicates: what is done with identical images of folders and tables: ``group``,
            ``drop``, ``error`` or ``ignore``; ``group`` by default, or as a data set says itself.
        plugins: a folder with your own ``methods/``, ``datasets/`` and ``metrics/``.
        force: train again what is stored.
        progress: whether to say on standard error, or in the notebook, what happens.

    Returns:
        What the folder holds of these data sets, and what was trained, found and failed.

    Raises:
        InputError: something asked for is unknown, missing or cannot be read.
    """
    asked = dict(locals())
    words = ", ".join(f"{name}={value!r}" for name, value in asked.items() if value)
    say = terminal.say if asked.pop("progress") else _silent
    if asked.pop("plugins") is not None:
        from benchmark.api.plugins import mount

        mount(str(plugins))
    wanted = request(**asked, command=f"benchmark.run({words})", say=say)
    return execute(wanted, prepare(wanted, say), say)


def load_results(
    folder: str | Path = RESULTS,
    *,
    datasets: str | Sequence[str] | None = None,
    metrics: str | Sequence[str] | None = None,
    against: str | None = None,
    alpha: float = 0.05,
) -> Results:
    """Compare what a folder holds, without training; its tables, figures and page are made anew.

    Args:
        folder: where a run left its store.
        datasets: names or globs; all by default.
        metrics: names; all that the data allow by default. The ranked ones are always there.
        against: the method that the others are compared with, besides the best; cross-entropy by
            default, where it is there.
        alpha: one minus the confidence of the intervals.

    Raises:
        InputError: nothing is stored there, or a data set, metric or method is unknown.
    """
    from benchmark import leaderboard

    names = None if metrics is None else [name.strip() for name in _typed(metrics).split(",")]
    return _results(
        Path(folder),
        leaderboard.regenerate(
            Path(folder),
            datasets=None if datasets is None else _typed(datasets),
            metric_names=names,
            against=against,
            alpha=alpha,
        ),
    )


# --- a run in three steps: what is asked for, what that means, doing it ---------------------


def request(
    *,
    methods: str | Sequence[str],
    datasets: str | Sequence[str],
    results: str | Path,
    data_root: str | Path,
    cache: str | Path | None,
    weights: str | Path | None,
    on_duplicates: str | None,
    say: Callable[[str], None] = terminal.say,
    **others: Any,
) -> Request:
    """What was asked for, as far as it can be checked at once: see :func:`run`.

    Raises:
        InputError: a name, parameter or number cannot be right.
    """
    from benchmark.plan import registry
    from benchmark.running.request import Request

    for name in ("folds", "seeds", "jobs"):
        value = others[name]
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        if not (value is None or whole or (name == "folds" and value == "official")):
            also = ", nor official" if name == "folds" else ""
            raise InputError(f"{name}: {value!r} is not a whole number of 1 or more{also}")
    if others["device"] not in ("auto", "cpu", "cuda"):
        raise InputError(f"device: {others['device']!r} is none of auto, cpu and cuda")
    if isinstance(others["backbones"], str):
        others["backbones"] = [others["backbones"]]
    registry.select_methods(_typed(methods))
    return Request(
        methods=_typed(methods),
        datasets=select_datasets(_typed(datasets), Path(data_root), on_duplicates, say),
        results=Path(results),
        data_root=Path(data_root),
        cache=Path(data_root) / "cache" if cache is None else Path(cache),
        weights=None if weights is None else str(weights),
        **others,
    )


def select_datasets(
    names: str, root: Path, on_duplicates: str | None, say: Callable[[str], None] = terminal.say
) -> list[Dataset]:
    """Data sets as typed; says which of them ``on_duplicates`` does not change.

    Raises:
        InputError: an unknown name, parameter or value.
    """
    from benchmark.api import ON_DUPLICATES
    from benchmark.plan import registry

    if on_duplicates not in (None, *ON_DUPLICATES):
        raise InputError(f"on_duplicates: {on_duplicates!r} is none of {', '.join(ON_DUPLICATES)}")
    chosen = registry.select_datasets(names, root, on_duplicates)
    for dataset in chosen if on_duplicates else ():
        if not hasattr(dataset, "on_duplicates"):
            say(f"note: {dataset.name} has no on_duplicates: its images stay as published")
    return chosen


def prepare(
    wanted: Request, say: Callable[[str], None] = terminal.say, with_weights: bool = True
) -> Work:
    """Read the data sets and plan all fits; says what is to be known of the data.

    ``with_weights=False`` leaves initial weights alone: such a plan is only looked at.

    Raises:
        InputError: data are missing or wrong, or a network cannot be had.
    """
    from benchmark.running import prepare as running

    work = running.prepare(wanted, with_weights)
    for name, notes in work.notes.items():
        for note in notes:
            say(f"note: {name}: {note}")
    return work


def execute(wanted: Request, work: Work, say: Callable[[str], None] = terminal.say) -> Results:
    """Train what is missing and make the tables; says what was done.

    Raises:
        InputError: nothing could be ranked though nothing failed, or the disk is full.
    """
    from benchmark import leaderboard
    from benchmark.running import execute as running
    from benchmark.running import forecast

    def stored() -> str:
        number = sum(wanted.store.path(fit.key).exists() for fit in work.fits)
        return f"{number} of {len(work.fits)} fits are stored in {wanted.results}"

    interrupts.stored = stored
    with terminal.progress(say is not _silent) as (show, show_decoding):
        outcome = running.execute(wanted, work, show, show_decoding)
    say(
        f"{outcome.trained} fits trained, {outcome.stored} found in the store, "
        f"{len(outcome.failed)} failed, {forecast.duration(outcome.seconds)}"
    )
    for fit, reason in outcome.failed.items():
        say(f"failed: {fit}: {reason}")
    say(f"making the tables, figures and the page of all that {wanted.results} holds ...")
    if outcome.replaced:
        say(
            f"{outcome.replaced} cells made with other settings or data left the leaderboard; "
            "their records stay in the store"
        )
    try:
        board = leaderboard.regenerate(wanted.results)
    except leaderboard.NothingCompleteError:
        if not outcome.failed:
            raise
        say("nothing could be ranked: every fit failed")
        board = _nothing()
    names = [dataset.name for dataset in wanted.datasets]
    others = sorted(set(board.tables.ranks["dataset"]) - set(names))
    if others:
        say(f"the tables there also hold {', '.join(others)}")
    done = {name: getattr(outcome, name) for name in ("trained", "stored", "failed")}
    return _results(wanted.results, board, names, **done)


def _results(
    folder: Path, board: Leaderboard, datasets: Sequence[str] | None = None, **done: Any
) -> Results:
    """A leaderboard's frames, of all data sets or of these."""

    def chosen(frame: pd.DataFrame) -> pd.DataFrame:
        here = slice(None) if datasets is None else frame["dataset"].isin(datasets)
        return frame[here].reset_index(drop=True)

    return Results(
        folder=folder,
        ranks=chosen(board.tables.ranks),
        intervals=chosen(board.tables.values),
        pairs=chosen(board.tables.pairs),
        detectable=chosen(board.tables.detectable),
        scores=chosen(board.tables.scores),
        costs=chosen(board.costs),
        notes=board.tables.notes,
        missing=tuple(board.missing),
        **done,
    )


def _nothing() -> Leaderboard:
    """Frames without rows."""
    import pandas as pd

    from benchmark import leaderboard, statistics
    from benchmark.results.load import COST_COLUMNS

    costs = pd.DataFrame(columns=list(COST_COLUMNS))
    return leaderboard.Leaderboard(statistics.summarise([]), costs, [])


def _typed(names: str | Sequence[str]) -> str:
    """Names as they would be typed."""
    return names if isinstance(names, str) else ",".join(names)


def _silent(text: str) -> None:
    """Say nothing."""
