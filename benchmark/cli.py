"""The command line: ``python -m benchmark run|leaderboard|evaluate|guard|list|data``.

It reads what was typed and calls the library. It imports nothing heavy until it must, so that help
and mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import functools
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import benchmark  # its InputError is loaded only when something is wrong
from benchmark import interrupts

if TYPE_CHECKING:
    from benchmark.running.prepare import Work
    from benchmark.running.request import Request

RESULTS = Path("results/local")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code is 0, 1 (something failed), 2 (bad input) or 130 (Ctrl-C)."""
    if arguments is not None:
        return _answer(list(arguments))
    with interrupts.watched():
        return _answer(sys.argv[1:])


def _answer(words: list[str]) -> int:
    parser = _parser()
    try:
        options = parser.parse_args(words)
        if options.config is not None:
            _apply_config(parser, words, options)
        if options.plugins is not None:
            from benchmark.api import plugins

            plugins.mount(str(options.plugins))
        options.command_line = "python -m benchmark " + shlex.join(words)
        code: int = options.function(options)
    except SystemExit:  # of --help: before the errors' names, which load numpy
        raise
    except benchmark.InputError as error:
        from benchmark.terminal import printable

        print("error:", printable(error, but="\n"), file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        print(f"error: {error.strerror or error}{where}", file=sys.stderr)
        return 2
    return code


# --- commands ------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    from benchmark import library

    request = library.request(
        methods=options.methods,
        datasets=options.datasets,
        backbones=options.backbone,
        preset=options.preset,
        folds=options.folds,
        seeds=options.seeds,
        weights=options.weights,
        device=options.device,
        jobs=options.jobs,
        results=options.results,
        data_root=options.data_root,
        cache=options.cache,
        on_duplicates=options.on_duplicates,
        force=options.force,
        command=options.command_line,
    )
    work = library.prepare(request, with_weights=not options.dry_run)
    if options.dry_run:
        _print_plan(request, work)
        return 0
    results = library.execute(request, work)
    _show(results, options.format)
    return 1 if results.failed else 0


def _print_plan(request: Request, work: Work) -> None:
    from benchmark.running import forecast
    from benchmark.terminal import printable

    fits = work.fits
    stored = len(fits) - len(work.missing)
    used = sum(len(cell.fits) for cell in work.cells)
    print(f"{len(work.cells)} cells: methods x data sets x backbones x replicates")
    print(f"{len(fits)} distinct fits, shared by value ({used} uses)")
    print(f"{stored} fits already stored, {len(work.missing)} to train")
    print(f"{sum(cell.calibration is not None for cell in work.cells)} calibrations")
    print(f"estimated cost: {forecast.sentence(request, work)}")
    given = sorted({fit.task.settings.weights for fit in work.missing} - {"none"})
    if given:
        print(
            "not checked: initial weights, whether they can be had and fit "
            f"({printable(', '.join(given))})"
        )
    print()
    groups: dict[tuple[str, str, str], dict[str, list[Any]]] = {}
    for cell in work.cells:
        key = (cell.task.preset, cell.task.dataset, cell.task.settings.backbone)
        groups.setdefault(key, {}).setdefault(cell.method.name, []).append(cell)
    seen: set[str] = set()
    for (preset, dataset, backbone), methods in groups.items():
        print(printable(f"{dataset} ({preset}, {backbone})"))
        for name, cells in methods.items():
            keys = {fit.key for cell in cells for fit in cell.fits}
            new = keys - seen
            seen |= keys
            print(
                f"  {name:24} {len(cells)} cells, {len(keys)} fits: {len(new)} of its own, "
                f"{len(keys) - len(new)} shared with methods above"
            )


def _leaderboard(options: argparse.Namespace) -> int:
    results = benchmark.load_results(
        options.results,
        datasets=options.datasets,
        metrics=options.metrics or None,
        against=options.against,
        alpha=options.alpha,
    )
    _show(results, options.format)
    return 1 if results.missing else 0


def _show(results: benchmark.Results, form: str) -> None:
    """Print the results in a form, and on standard error what is missing."""
    from benchmark import terminal

    if form == "json":
        print(results.to_json())
    elif form == "markdown" and len(results.ranks):
        text = (results.folder / "leaderboard.md").read_text(encoding="utf-8")
        print(terminal.printable(text, but="\n"), end="")
    elif len(results.ranks):
        results.show()
        print(f"The page with everything: {results.folder / 'report.html'}")
    for sentence in results.missing:
        terminal.say(f"missing: {sentence}")


def _evaluate(options: argparse.Namespace) -> int:
    from benchmark import terminal
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
    for sentence in result.understood if options.format != "table" else ():
        terminal.say(f"understood: {sentence}")
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
        raise benchmark.InputError(
            "--update and --reason TEXT go together: a new baseline needs a reason"
        )
    try:
        if options.update:
            report = guard.update(options.baseline, options.reason, say)
        else:
            report = guard.check(options.baseline, say)
    except Exception as error:  # exit code 1 would say that something was found to be worse
        expected, reason = isinstance(error, (benchmark.InputError, OSError)), str(error)
        if not expected:
            import traceback

            traceback.print_exception(error)
            reason = f"this tree cannot be compared, it fails ({type(error).__name__})"
        if options.format != "table":  # whoever reads only these is to learn it, too
            print(guard.refusal(reason).render(options.format))
        if expected:
            raise
        raise benchmark.InputError(reason) from error
    if options.update and not report.rows:
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
    from rich.table import Table

    from benchmark import terminal

    table = Table(show_edge=False, pad_edge=False)
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(catalogue.text, row.values()))
    terminal.console().print(table)
    return 0


def _data_prepare(options: argparse.Namespace) -> int:
    from rich.progress import Progress

    from benchmark import terminal
    from benchmark.data import fetch
    from benchmark.plan import registry

    for dataset in registry.select_datasets(options.names, options.data_root):
        with Progress(transient=True, console=terminal.console(stderr=True)) as bar:
            task = bar.add_task(dataset.name, total=None)
            advance = functools.partial(_advance, bar, task)
            check = fetch.prepare(dataset, options.data_root, advance)
        print(check)
    return 0


def _advance(bar: Any, task: Any, done: int, total: int | None) -> None:
    bar.update(task, completed=done, total=total)


def _data_check(options: argparse.Namespace) -> int:
    from rich.progress import Progress

    from benchmark import library, terminal
    from benchmark.data import fetch

    complete = readable = True
    where = terminal.console(stderr=True)
    names, root = options.names, options.data_root
    for dataset in library.select_datasets(names, root, options.on_duplicates):
        try:
            with Progress(transient=True, console=where, disable=not where.is_terminal) as bar:
                advance = functools.partial(_advance, bar, bar.add_task(dataset.name, total=None))
                check = fetch.check(dataset, root, progress=advance)
        except benchmark.InputError as error:
            print("error:", terminal.printable(f"{dataset.name}: {error}", "\n"), file=sys.stderr)
            readable = False
            continue
        print(terminal.printable(check, but="\n"))
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
        raise benchmark.InputError(f"{message}; see `{self.prog} --help`")

    def option(self, words: str, text: str, default: Any = None, **more: Any) -> None:
        """Declare ``--flag PLACEHOLDER``; folders and files become paths, the default is told."""
        flag, *placeholder = words.split()
        if placeholder:
            more |= {"metavar": placeholder[0]}
            if placeholder[0] in ("DIR", "FILE.toml"):
                more |= {"type": Path}
        if default is not None:
            more |= {"default": default}
        if default:
            text = f"{text} (default: {default})".lstrip()
        self.add_argument(flag, help=text, **more)

    def form(self) -> None:
        self.option("--format", "what to print", "table", choices=("table", "json", "markdown"))

    def data_root(self) -> None:
        self.option("--data-root DIR", "where the data sets lie", Path("data"))
        self.option("--cache DIR", "decoded images (default: DATA_ROOT/cache)")

    def duplicates(self) -> None:
        choices = ("group", "drop", "error", "ignore")
        text = "identical images of folder: and csv: (default: group)"
        self.option("--on-duplicates", text, choices=choices)

    def comparison(self, reference: str) -> None:
        self.option("--metrics LIST", "only these, comma-separated")
        self.option("--against METHOD", f"reference ({reference})")
        self.option("--alpha ALPHA", "1 - confidence of the intervals", 0.05, type=float)


def _parser() -> argparse.ArgumentParser:
    about = "A fair benchmark of calibration methods for image classifiers."
    parser = _Parser(prog="python -m benchmark", description=about, allow_abbrev=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    run = _command(commands, "run", "train what is missing and show the leaderboard", _run)
    names = "comma-separated names or globs"
    more = "mhml-*,mhml[heads=6],deep-ensemble+temperature,all+temperature"
    run.option("--methods LIST", f"{names}, with parameters and calibrators: {more}", "all")
    run.option("--datasets LIST", names, "simulated,digits")
    text = "small, or any timm name; may be repeated (default: the preset's)"
    run.option("--backbone NAME", text, [], action="append")
    text = "quick, standard or paper, also quick[epochs=5,size=64] (default: each data set's)"
    run.option("--preset NAME", text)
    run.option("--folds K|official", "how to split (default: the preset's)", type=_number)
    run.option("--seeds S", "seeds per fold (default: the preset's)", type=_number)
    run.option("--device", "", "auto", choices=("auto", "cpu", "cuda"))
    run.option("--jobs N", "fits at once (default: cores; 1 on a GPU)", type=_number)
    run.option("--results DIR", "", RESULTS)
    run.data_root()
    run.duplicates()
    run.option("--weights imagenet|none|FILE", "initial weights (default: the preset's)")
    run.option("--config FILE.toml", "the same keys; flags win")
    run.option("--dry-run", "print the plan and its cost", action="store_true")
    run.option("--force", "train again what is stored", action="store_true")
    run.form()

    text = "regenerate tables, figures and the page"
    board = _command(commands, "leaderboard", text, _leaderboard)
    board.option("--results DIR", "", RESULTS)
    board.option("--datasets LIST", "only these (names or globs)")
    board.comparison("cross-entropy where it is there")
    board.form()

    text = "measure and compare predictions made anywhere else"
    elsewhere = _command(commands, "evaluate", text, _evaluate)
    text = (
        ".npz (test_logits or test_probs, test_labels) or .csv (label, p_0, p_1, ...); "
        "several are compared as methods"
    )
    elsewhere.add_argument("files", nargs="+", type=Path, metavar="FILE", help=text)
    text = "add calibrated versions, fitted on each file's calibration part: temperature,vector"
    elsewhere.option("--calibrate LIST", text)
    elsewhere.option("--out DIR", "where the report goes", RESULTS / "evaluate")
    elsewhere.option("--name NAME", "of the data set, for the headings", "predictions")
    elsewhere.comparison("cross-entropy if it is there, or the first")
    elsewhere.form()

    guard = _command(commands, "guard", "compare this tree with the committed baseline", _guard)
    guard.option("--baseline DIR", "", Path("results/guard"))
    guard.option("--update", "make a new baseline of this tree", action="store_true")
    guard.option("--reason TEXT", "why, kept in the baseline")
    guard.form()

    listing = _command(commands, "list", "what there is, with parameters and papers", _list)
    kinds = ("methods", "datasets", "calibrators", "metrics", "costs", "presets")
    listing.add_argument("what", choices=kinds)
    listing.form()

    data = commands.add_parser("data", help="get and check data sets", allow_abbrev=False)
    actions = data.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, text, function in (
        ("prepare", "download and unpack what may be downloaded", _data_prepare),
        ("check", "decode all, name doubles, compare counts with known ones", _data_check),
    ):
        action = _command(actions, name, text, function)
        action.add_argument("names", metavar="NAMES", help="comma-separated names")
        action.data_root()
        if name == "check":
            action.duplicates()
    _command(actions, "clear-cache", "remove decoded images", _data_clear).data_root()
    return parser


def _command(
    commands: Any, name: str, text: str, function: Callable[[argparse.Namespace], int]
) -> _Parser:
    parser: _Parser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.set_defaults(function=function, config=None)
    parser.option("--plugins DIR", "a folder with your own methods/, datasets/ and metrics/")
    return parser


def _number(text: str) -> int | str:
    """A whole number, or the text: the library says which are possible."""
    try:
        return int(text)
    except ValueError:
        return text


def _apply_config(
    parser: argparse.ArgumentParser, words: list[str], options: argparse.Namespace
) -> None:
    """Read the config file as flags that stand before those of the command line."""
    import tomllib

    path: Path = options.config
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise benchmark.InputError(f"--config {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise benchmark.InputError(f"--config {path}: not TOML: {error}") from error
    flags: list[str] = []
    for key, value in content.items():
        name = key.replace("_", "-")
        if not hasattr(options, name.replace("-", "_")) or name in ("config", "function"):
            raise benchmark.InputError(
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
