"""Run the guard on an unchanged tree again and again, and count the alarms. There should be none.

    python -m tools.guard_false_alarms [--runs 30] [--busy 10] [--other-versions]

Some runs share the machine with a process that keeps one core busy. With ``--other-versions``
each run draws all random streams of training anew, as under another version of torch at its
worst: nothing is then bit-equal to the baseline.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

from tools.guard_plants import guard, plant

KINDS = ("score", "engine", "throughput")


def _spin() -> None:
    while True:
        pass


def main() -> int:
    """Count; 1 if there was an alarm."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=30, help="(30)")
    parser.add_argument("--busy", type=int, default=10, help="how many of them beside a busy core")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="(all)")
    parser.add_argument("--other-versions", action="store_true")
    options = parser.parse_args()
    alarms = 0
    for number in range(options.runs):
        busy = number < options.busy
        process = multiprocessing.Process(target=_spin, daemon=True)
        if busy:
            process.start()
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="guard-") as folder:
            plant(None, Path(folder), version=number + 1 if options.other_versions else None)
            found = guard(Path(folder), tuple(options.kinds))
        seconds = time.perf_counter() - started
        if busy:
            process.kill()
            process.join()
        # A run of some kinds alone is no pass: then what counts is that nothing is worse.
        bad = [
            f"{row['what']} ({row['old']} -> {row['new']}; {row['note']})"
            for row in found["rows"]
            if row["verdict"] not in ("identical", "unchanged", "improved")
        ]
        if not found["rows"]:
            bad = [found["headline"]]
        alarms += bool(bad)
        verdict = "ALARM: " + "; ".join(bad) if bad else "no alarm"
        noise = ", one core kept busy" if busy else ""
        print(f"{number + 1}: {verdict} ({seconds:.0f} s{noise})", flush=True)
    print(f"{alarms} alarms in {options.runs} runs, {options.busy} of them beside a busy core")
    return 1 if alarms else 0


if __name__ == "__main__":
    sys.exit(main())
