"""State the engine's code in the guard's baseline, once its predictions are shown to be bit-equal.

    python -m tools.guard_digest --reason TEXT [--before DIR]

For a change of the engine that changes no prediction. It trains the guard's small matrix and
compares it, to the last bit, with the committed baseline; on other versions or hardware, with one
that the tree before the change made on this machine (``--before``; made there by ``python -m
benchmark guard --update --reason before --baseline DIR``). Only then the committed baseline gets
the new digests, and how they were shown; all else in it stays as it is.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from benchmark import guard
from benchmark.api import InputError
from benchmark.guard import baseline, engine, matrix


def main(arguments: list[str] | None = None) -> int:
    """1 if predictions are not shown to be bit-equal: then nothing is written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reason", required=True, help="what was changed, kept in the baseline")
    parser.add_argument("--baseline", type=Path, default=Path("results/guard"), metavar="DIR")
    parser.add_argument("--before", type=Path, metavar="DIR", help="made here before the change")
    options = parser.parse_args(arguments)
    try:
        committed = guard.read(options.baseline)
        before = guard.read(options.before) if options.before else committed
        new = engine.current()
        if committed.engine is not None and committed.engine.format != new.format:
            raise InputError("FORMAT was changed: make a new baseline")
        if before.engine and committed.engine and engine.changed(before.engine, committed.engine):
            raise InputError(f"{options.before}: made by another engine than the committed one")
        trained = guard.train(matrix.SEEDS, lambda text: print(text, file=sys.stderr, flush=True))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    pairs, missing = guard.pair_up(before, trained)
    if not guard.bit_equal(pairs, missing, ()):
        differ = [f"{p.method} on {p.dataset}" for p in pairs if not p.identical]
        differ += [row.what for row in missing]
        where = guard.environment_changes(before)
        print(f"not bit-equal: {', '.join(differ)}. Nothing was written.")
        print(f"other versions or hardware: {'; '.join(where) or 'none'}")
        return 1
    how = f"{options.reason} ({len(pairs)} predictions bit-equal to those of the tree before"
    if options.before:
        how += f", on {before.environment['hardware']}, torch {before.environment['torch']}"
    baseline.state_engine(options.baseline, dataclasses.replace(new, reason=f"{how})"))
    print(f"{options.baseline / baseline.TOML} states the engine's code now: commit it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
