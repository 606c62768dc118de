"""The command line: ``python -m benchmark run|leaderboard|evaluate|guard|list|data``.

It imports nothing heavy until it must, so that help and mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import functools
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.api import InputError

if TYPE_CHECKING:
    from benchmark.running.execute import Progress as RunProgress
    from benchmark.running.prepare import Work
    from benchmark.running.request import Request

RESULTS = Path("results/local")
DEFAULT_DATASETS = "simulated,digits"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code is 0, 1 (something failed) or 2 (bad input)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser()
    try:
        options = parser.parse_args(words)
        if options.config is not None:
            _apply_config(parser, words, options)
        if options.plugins is not None:
            from benchmark.api import plugins

            plugins.mount(options.plugins)
        options.command_line = "python -m benchmark " + shlex.join(words)
        code: int = options.function(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        print(f"error: {error.strerror or error}{where}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: what was finished is kept; run it again to go on", file=sys.stderr)
        return 130
    return code


# --- commands ------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    from rich.console import Console

    from benchmark.plan import registry

    registry.select_methods(options.methods)  # say what is wrong with them before torch is loaded
    datasets = registry.select_datasets(options.datasets)
    from benchmark.running.prepare import prepare
    from benchmark.running.request import Request

    request = Request(
        methods=options.methods,
        datasets=datasets,
        backbones=options.backbone,
        preset=options.preset,
        folds=options.folds,
        seeds=options.seeds,
        weights=options.weights,
        device=options.device,
        jobs=options.jobs,
        results=options.results,
        data_root=options.data_root,
        cache=options.cache or options.data_root / "cache",
        force=options.force,
        command=options.command_line,
    )
    console = Console(stderr=True)
    work = prepare(request)
    for name, notes in work.notes.items():
        for note in notes:
            console.print(f"note: {name}: {note}", markup=False, highlight=False)
    if options.dry_run:
        _print_plan(request, work)
        return 0
    outcome = _execute(request, work, console)
    console.print(
        f"{outcome.trained} fits trained, {outcome.stored} found in the store, "
        f"{len(outcome.failed)} failed, {outcome.seconds:.0f} s",
        highlight=False,
    )
    for fit, reason in outcome.failed.items():
        print(f"failed: {fit}: {reason}", file=sys.stderr)
    console.print(
        f"making the tables, figures and the page of all that {options.results} holds ...",
        highlight=False,
    )
    if outcome.replaced:
        console.print(
            f"{outcome.replaced} cells made with other settings or data left the leaderboard; "
            "their records stay in the store",
            highlight=False,
        )
    try:
        _show(options.results)
    except InputError:
        if not outcome.failed:
            raise
        print("nothing could be ranked: every fit failed", file=sys.stderr)
    return 1 if outcome.failed else 0


def _execute(request: Request, work: Work, console: Any) -> Any:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from benchmark.running.execute import execute

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("gone,"),
        TimeRemainingColumn(elapsed_when_finished=False),
        TextColumn("left"),
        TextColumn("{task.fields[running]}", markup=False),
    )
    with Progress(*columns, console=console) as bar:
        decoding = bar.add_task("images", visible=False, running="")
        training = bar.add_task("fits", total=None, running="", visible=False)

        def show_decoding(done: int, total: int) -> None:
            bar.update(decoding, completed=done, total=total, visible=True)

        def show(progress: RunProgress) -> None:
            running = "; ".join(progress.running)[: max(0, console.width - 80)]
            bar.update(
                training,
                completed=progress.done,
                total=progress.total,
                running=running,
                visible=True,
            )

        return execute(request, work, show, show_decoding)


def _print_plan(request: Request, work: Work) -> None:
    from benchmark.running import forecast as estimate

    fits = work.fits
    stored = len(fits) - len(work.missing)
    used = sum(len(cell.fits) for cell in work.cells)
    print(f"{len(work.cells)} cells: methods x data sets x backbones x replicates")
    print(f"{len(fits)} distinct fits, shared by value ({used} uses)")
    print(f"{stored} fits already stored, {len(work.missing)} to train")
    print(f"{sum(cell.calibration is not None for cell in work.cells)} calibrations")
    print(f"estimated cost: {estimate.sentence(request, work)}")
    print()
    groups: dict[tuple[str, str, str], dict[str, list[Any]]] = {}
    for cell in work.cells:
        key = (cell.task.preset, cell.task.dataset, cell.task.settings.backbone)
        groups.setdefault(key, {}).setdefault(cell.method.name, []).append(cell)
    seen: set[str] = set()
    for (preset, dataset, backbone), methods in groups.items():
        print(f"{dataset} ({preset}, {backbone})")
        for name, cells in methods.items():
            keys = {fit.key for cell in cells for fit in cell.fits}
            new = keys - seen
            seen |= keys
            print(
                f"  {name:24} {len(cells)} cells, {len(keys)} fits: {len(new)} of its own, "
                f"{len(keys) - len(new)} shared with methods above"
            )


def _leaderboard(options: argparse.Namespace) -> int:
    missing = _show(
        options.results,
        datasets=options.datasets,
        metric_names=options.metrics.split(",") if options.metrics else None,
        against=options.against,
        alpha=options.alpha,
    )
    return 1 if missing else 0


def _show(folder: Path, **choices: Any) -> list[str]:
    """Regenerate the tables of a results folder, print the leaderboard, return what is missing."""
    from benchmark import leaderboard

    missing = leaderboard.regenerate(folder, **choices).missing
    print((folder / "leaderboard.md").read_text(encoding="utf-8"))
    for sentence in missing:
        print(f"missing: {sentence}", file=sys.stderr)
    print(f"The page with everything: {folder / 'report.html'}")
    return missing


def _evaluate(options: argparse.Namespace) -> int:
    from benchmark.evaluation import show
    from benchmark.evaluation.evaluate import evaluate
    from benchmark.plan.presets import REFERENCE

    result = evaluate(
        options.files,
        calibrate=options.calibrate,
        name=options.name,
        metrics=options.metrics.split(",") if options.metrics else None,
        against=options.against,
        preferred=REFERENCE,
        alpha=options.alpha,
        out=options.out,
        command=options.command_line,
    )
    for path, keys in result.unused.items():
        print(f"note: {path}: not read: {', '.join(keys)}", file=sys.stderr)
    if options.format == "json":
        print(show.as_json(result))
    elif options.format == "markdown":
        print((options.out / "leaderboard.md").read_text(encoding="utf-8"), end="")
    else:
        print(show.as_table(result, None if sys.stdout.isatty() else 160))
        print(f"The page with everything: {options.out / 'report.html'}")
    return 0


def _guard(options: argparse.Namespace) -> int:
    from benchmark import guard

    def say(text: str) -> None:
        print(f"guard: {text}", file=sys.stderr, flush=True)

    if bool(options.reason) != options.update:
        raise InputError("--update and --reason TEXT go together: a new baseline needs a reason")
    try:
        if options.update:
            report = guard.update(options.baseline, options.reason, say)
        else:
            report = guard.check(options.baseline, say)
    except Exception as error:  # exit code 1 would say that something was found to be worse
        expected, reason = isinstance(error, (InputError, OSError)), str(error)
        if not expected:
            import traceback

            traceback.print_exception(error)
            reason = f"this tree cannot be compared, it fails ({type(error).__name__})"
        if options.format != "table":  # whoever reads only these is to learn it, too
            print(guard.refusal(reason).render(options.format))
        if expected:
            raise
        raise InputError(reason) from error
    if options.update and not (report.worse or report.missing):
        print(f"A new baseline is in {options.baseline}: look at its difference, and commit it.")
        return 0
    print(report.render(options.format))
    return report.exit_code


def _list(options: argparse.Namespace) -> int:
    from benchmark import catalogue

    rows = catalogue.rows(options.what)
    if options.format == "json":
        print(json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False))
        return 0
    if options.format == "markdown":
        print(catalogue.markdown(options.what))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False)
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(catalogue.text, row.values()))
    Console(width=None if sys.stdout.isatty() else 160, markup=False).print(table)
    return 0


def _data_prepare(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from benchmark.data import fetch
    from benchmark.plan import registry

    for dataset in registry.select_datasets(options.names):
        with Progress(transient=True, console=Console(stderr=True)) as bar:
            task = bar.add_task(dataset.name, total=None)
            advance = functools.partial(_advance, bar, task)
            check = fetch.prepare(dataset, options.data_root, advance)
        print(check)
    return 0


def _advance(bar: Any, task: Any, done: int, total: int | None) -> None:
    bar.update(task, completed=done, total=total)


def _data_check(options: argparse.Namespace) -> int:
    from benchmark.data import fetch
    from benchmark.plan import registry

    complete = readable = True
    for dataset in registry.select_datasets(options.names):
        try:
            check = fetch.check(dataset, options.data_root)
        except InputError as error:
            print(f"error: {dataset.name}: {error}", file=sys.stderr)
            readable = False
            continue
        print(check)
        complete = complete and check.complete
    return 0 if complete and readable else 1 if readable else 2


def _data_clear(options: argparse.Namespace) -> int:
    from benchmark.data import images

    folder = options.cache or options.data_root / "cache"
    freed = images.clear(folder)
    print(f"{freed / 2**20:.0f} MiB of decoded images removed")
    if any(folder.glob("*.npy")):
        print("what a run is working on stays")
    return 0


# --- words on the command line -------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise InputError(f"{message}; see `{self.prog} --help`")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m benchmark",
        description="A fair benchmark of calibration methods for image classifiers.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    run = _command(commands, "run", "train what is missing and show the leaderboard", _run)
    run.add_argument(
        "--methods",
        default="all",
        metavar="LIST",
        help="comma-separated names or globs, with parameters and calibrators: "
        "mhml-*,mhml[heads=6],deep-ensemble+temperature,all+temperature (default: all)",
    )
    run.add_argument(
        "--datasets",
        default=DEFAULT_DATASETS,
        metavar="LIST",
        help=f"comma-separated names or globs (default: {DEFAULT_DATASETS})",
    )
    run.add_argument(
        "--backbone",
        action="append",
        default=[],
        metavar="NAME",
        help="small, or any timm name; may be repeated (default: the preset's)",
    )
    run.add_argument(
        "--preset",
        metavar="NAME",
        help="quick, standard or paper, also quick[epochs=5,size=64] (default: each data set's)",
    )
    run.add_argument(
        "--folds", type=_folds, metavar="K|official", help="how to split (default: the preset's)"
    )
    run.add_argument(
        "--seeds", type=_positive, metavar="S", help="seeds per fold (default: the preset's)"
    )
    run.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(auto)")
    run.add_argument(
        "--jobs", type=_positive, metavar="N", help="fits at once (default: cores; 1 on a GPU)"
    )
    _results(run)
    _data_root(run)
    run.add_argument(
        "--weights", metavar="imagenet|none|FILE", help="initial weights (default: the preset's)"
    )
    run.add_argument("--config", type=Path, metavar="FILE.toml", help="the same keys; flags win")
    run.add_argument("--dry-run", action="store_true", help="print the plan and its cost")
    run.add_argument("--force", action="store_true", help="train again what is stored")

    board = _command(
        commands, "leaderboard", "regenerate tables, figures and the page", _leaderboard
    )
    _results(board)
    board.add_argument("--datasets", metavar="LIST", help="only these (names or globs)")
    board.add_argument("--metrics", metavar="LIST", help="only these, comma-separated")
    board.add_argument(
        "--against", metavar="METHOD", help="reference (cross-entropy where it is there)"
    )
    board.add_argument(
        "--alpha", type=float, default=0.05, help="1 - confidence of the intervals (0.05)"
    )

    own = _command(
        commands, "evaluate", "measure and compare predictions made anywhere else", _evaluate
    )
    own.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help=".npz (test_logits or test_probs, test_labels) or .csv (label, p_0, p_1, ...); "
        "several are compared as methods",
    )
    own.add_argument(
        "--calibrate",
        metavar="LIST",
        help="add calibrated versions, fitted on each file's calibration part: temperature,vector",
    )
    own.add_argument(
        "--out",
        type=Path,
        default=RESULTS / "evaluate",
        metavar="DIR",
        help=f"where the report goes (default: {RESULTS / 'evaluate'})",
    )
    own.add_argument(
        "--format", choices=("table", "json", "markdown"), default="table", help="(table)"
    )
    own.add_argument("--name", default="predictions", help="of the data set, for the headings")
    own.add_argument("--metrics", metavar="LIST", help="only these, comma-separated")
    own.add_argument(
        "--against", metavar="METHOD", help="reference (cross-entropy if it is there, or the first)"
    )
    own.add_argument(
        "--alpha", type=float, default=0.05, help="1 - confidence of the intervals (0.05)"
    )

    guard = _command(commands, "guard", "compare this tree with the committed baseline", _guard)
    guard.add_argument(
        "--baseline",
        type=Path,
        default=Path("results/guard"),
        metavar="DIR",
        help="(default: results/guard)",
    )
    guard.add_argument(
        "--format", choices=("table", "json", "markdown"), default="table", help="(table)"
    )
    guard.add_argument("--update", action="store_true", help="make a new baseline of this tree")
    guard.add_argument("--reason", metavar="TEXT", help="why, kept in the baseline")

    listing = _command(commands, "list", "what there is, with parameters and papers", _list)
    listing.add_argument(
        "what", choices=("methods", "datasets", "calibrators", "metrics", "presets")
    )
    listing.add_argument(
        "--format", choices=("table", "json", "markdown"), default="table", help="(table)"
    )

    data = commands.add_parser("data", help="get and check data sets", allow_abbrev=False)
    actions = data.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, text, function in (
        ("prepare", "download and unpack what may be downloaded", _data_prepare),
        ("check", "compare the counts per class with the known ones", _data_check),
    ):
        action = _command(actions, name, text, function)
        action.add_argument("names", metavar="NAMES", help="comma-separated names")
        _data_root(action)
    _data_root(_command(actions, "clear-cache", "remove decoded images", _data_clear))
    return parser


def _command(commands: Any, name: str, text: str, function: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text, allow_abbrev=False
    )
    parser.set_defaults(function=function, config=None)
    parser.add_argument(
        "--plugins", metavar="DIR", help="a folder with your own methods/ and datasets/"
    )
    return parser


def _results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--results", type=Path, default=RESULTS, metavar="DIR", help=f"(default: {RESULTS})"
    )


def _data_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-root",
        type=Path,
        default=Path("data"),
        metavar="DIR",
        help="where the data sets lie (default: data)",
    )
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="decoded images (default: DATA_ROOT/cache)"
    )


def _folds(text: str) -> int | str:
    return text if text == "official" else _positive(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _apply_config(
    parser: argparse.ArgumentParser, words: list[str], options: argparse.Namespace
) -> None:
    """Read the config file as flags that stand before those of the command line."""
    import tomllib

    path: Path = options.config
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--config {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"--config {path}: not TOML: {error}") from error
    flags: list[str] = []
    for key, value in content.items():
        name = key.replace("_", "-")
        if not hasattr(options, name.replace("-", "_")) or name in ("config", "function"):
            raise InputError(
                f"--config {path}: unknown key {key!r}; the keys are those of the flags"
            )
        given = any(word == f"--{name}" or word.startswith(f"--{name}=") for word in words)
        if given or value is False:
            continue
        if value is True:
            flags.append(f"--{name}")
        elif name == "backbone":
            values = value if isinstance(value, list) else [value]
            flags += [f"--backbone={item}" for item in values]
        else:
            joined = ",".join(map(str, value)) if isinstance(value, list) else value
            flags.append(f"--{name}={joined}")
    parser.parse_args([words[0], *flags, *words[1:]], namespace=options)
