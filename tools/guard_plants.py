"""Plant regressions in copies of the tree, run the guard there, and see each caught and named.

    python tests/guard_plants.py [NAME...] [--other-version]

A plant changes the benchmark's source, never the guard's. With ``--other-version`` all random
streams of training differ too, as under another version of torch at its worst, so that nothing is
bit-equal to the baseline and the statistical verdict stands alone. Every plant takes one run of
the part of the guard that it is about (up to a minute on two idle cores).
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SCORES, TIMES = ("score", "invariant"), ("throughput",)


@dataclass(frozen=True)
class Plant:
    """A change to the source, and rows (or a message) of which at least one must name it.

    Attributes:
        name: what is wrong.
        file: where.
        edits: text that occurs there once, and what takes its place.
        kinds: the parts of the guard that are run.
        expected: globs of what the guard must say is worse.
    """

    name: str
    file: str
    edits: tuple[tuple[str, str], ...]
    kinds: tuple[str, ...]
    expected: tuple[str, ...]


_STEP = "                    images, mixed = recipe.mix(images, mixed, mixing)\n"
_END = "                    step(images, mixed, settings.learning_rate * cosine)\n"
_BATCH = "    images = batches(index)\n"
_VIEWS = "        return views(network, images, passes)\n"
_CLOCK = (
    "                    clock = __import__('time')\n"
    "                    began = clock.thread_time()\n"
)
_SLEEP = "clock.sleep(0.3 * (clock.thread_time() - began))"

PLANTS = (
    Plant(
        "temperature inverted",
        "methods/temperature_scaling.py",
        (("finite_logits(new) / np.exp(best)", "finite_logits(new) * np.exp(best)"),),
        SCORES,
        ("ece of temperature-scaling on *", "nll of temperature-scaling on *"),
    ),
    Plant(
        "labels smoothed twice",
        "methods/label_smoothing.py",
        (
            (
                "return super().loss(logits, smoothed, weights)",
                "smoothed = (1 - self.smoothing) * smoothed + self.smoothing / targets.shape[-1]\n"
                "        return super().loss(logits, smoothed, weights)",
            ),
        ),
        SCORES,
        ("ece of label-smoothing on *", "nll of label-smoothing on *"),
    ),
    Plant(
        "softmax applied twice",
        "benchmark/engine/predict.py",
        (
            (
                "separate = logits.double().log_softmax(-1)",
                "separate = logits.double().softmax(-1).log_softmax(-1)",
            ),
        ),
        SCORES,
        ("ece of cross-entropy on *", "nll of cross-entropy on *"),
    ),
    Plant(
        "softmax applied twice in training",
        "benchmark/api/method.py",
        (
            (
                "log_probs = logits.log_softmax(-1)\n",
                "log_probs = logits.softmax(-1).log_softmax(-1)\n",
            ),
        ),
        SCORES,
        ("nll of label-smoothing on *", "nll of mixup on *", "nll of mhml-4 on *"),
    ),
    Plant(
        "MHML weights dropped",
        "benchmark/api/method.py",
        (
            (
                "weighted = targets.unsqueeze(1) * weights",
                "weighted = targets.unsqueeze(1) * (0 * weights + 1)",
            ),
        ),
        SCORES,
        ("mhml-4 differs from mhsl-4",),
    ),
    Plant(
        "MHML's other classes weigh 1",
        "methods/mhml.py",
        (("torch.full((self.heads, classes), 1 / self.heads)", "torch.ones(self.heads, classes)"),),
        SCORES,
        ("* of mhml-4 on *",),
    ),
    Plant(
        "a constant learning rate",
        "benchmark/engine/train.py",
        ((_END, _END.replace(" * cosine", "")),),
        SCORES,
        ("* of cross-entropy on *",),
    ),
    Plant(
        "less mixup",
        "methods/mixup.py",
        (("alpha: float = 0.2", "alpha: float = 0.08"),),
        SCORES,
        ("*: alpha of mixup 0.2 -> 0.08.*",),
    ),
    Plant(
        "half the focal exponent",
        "methods/focal.py",
        (("gamma: float = 3.0", "gamma: float = 1.5"),),
        SCORES,
        ("*: gamma of focal 3.0 -> 1.5.*",),
    ),
    Plant(
        "three passes of dropout",
        "methods/mc_dropout.py",
        (("passes=30", "passes=3"),),
        SCORES,
        ("*: passes of mc-dropout 30 -> 3.*",),
    ),
    Plant(
        "an ensemble of three",
        "methods/deep_ensemble.py",
        (("members=5", "members=3"),),
        SCORES,
        ("*: members of deep-ensemble 5 -> 3.*",),
    ),
    Plant(
        "ensemble averages logits",
        "benchmark/results/combine.py",
        (
            (
                "np.logaddexp.reduce(stacked, axis=0) - math.log(len(stacked))",
                "stacked.mean(0)\n"
                "    pooled = pooled - np.logaddexp.reduce(pooled, axis=1, keepdims=True)",
            ),
        ),
        SCORES,
        ("deep-ensemble is the mean of its members' probabilities on *",),
    ),
    Plant(
        "calibration fitted on test",
        "benchmark/running/run.py",
        (
            (
                "cell.calibrator.fit(calibration, labels)",
                'cell.calibrator.fit(test, records[0].arrays["test_labels"])',
            ),
        ),
        SCORES,
        ("permuted test labels leave temperature-scaling's predictions as they are",),
    ),
    Plant(
        "test labels leak into training",
        "benchmark/engine/fit.py",
        (
            (
                "        parts.train,\n        parts.calibration,\n",
                "        np.concatenate([parts.train, parts.test]),\n        parts.calibration,\n",
            ),
        ),
        SCORES,
        ("permuted test labels leave cross-entropy's predictions as they are",),
    ),
    Plant(
        "test images in the training part",
        "benchmark/plan/folds.py",
        (
            (
                "cut.append(Parts(train, calibration, np.flatnonzero(tested_in == fold)))",
                "cut.append(Parts(np.r_[train, np.flatnonzero(tested_in == fold)], calibration,\n"
                "            np.flatnonzero(tested_in == fold)))",
            ),
        ),
        SCORES,
        ("train, calibration and test are disjoint on easy",),
    ),
    Plant(
        "a sleep of 30 % of a step in the training loop",
        "benchmark/engine/train.py",
        (
            (_STEP, f"{_CLOCK}{_STEP}"),
            (_END, f"{_END}                    {_SLEEP}\n"),
        ),
        TIMES,
        ("training: engine to bare loop",),
    ),
    Plant(
        "a sleep above the stopwatch",
        "benchmark/engine/train.py",
        (
            (
                "            step.total.zero_()\n",
                "            step.total.zero_()\n"
                "            __import__('time').sleep(0.0012 * steps)\n",
            ),
        ),
        TIMES,
        ("training: engine to bare loop",),
    ),
    Plant(
        "copies that cost 25 % of a step",
        "benchmark/engine/train.py",
        (
            (_STEP, f"{_CLOCK}{_STEP}"),
            (
                _END,
                f"{_END}                    until = 1.25 * clock.thread_time() - 0.25 * began\n"
                "                    while clock.thread_time() < until:\n"
                "                        images = images.clone()\n",
            ),
        ),
        TIMES,
        ("training: engine to bare loop",),
    ),
    Plant(
        "a sleep of 30 % of a batch in prediction",
        "benchmark/engine/predict.py",
        (
            (_BATCH, f"{_CLOCK.replace(20 * ' ', 4 * ' ')}{_BATCH}"),
            (
                _VIEWS,
                f"{_VIEWS.replace('return', 'seen =')}        {_SLEEP}\n        return seen\n",
            ),
        ),
        TIMES,
        ("prediction: engine to bare loop",),
    ),
)


def plant(change: Plant | None, folder: Path, *, version: int | None = None) -> None:
    """Copy the tree's code and baseline to a folder, and change the copy.

    Args:
        change: what to plant.
        folder: of the copy.
        version: draws all random streams of training anew, differently for each number.
    """
    for part in ("benchmark", "methods", "datasets", "results/guard"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    edits = [] if change is None else [(change.file, old, new) for old, new in change.edits]
    if version is not None:
        seed = 'seed = fit.task.seed("member", fit.member)'
        edits.append(("benchmark/engine/fit.py", seed, f"{seed[:-1]}, {version})"))
    for name, old, new in edits:
        file = folder / name
        text = file.read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise ValueError(f"{name} does not hold {old!r} once: mend this plant")
        file.write_text(text.replace(old, new), encoding="utf-8")


def guard(folder: Path, kinds: tuple[str, ...]) -> dict[str, Any]:
    """What the guard in a folder says, as its JSON; of a comparison it refuses, the message."""
    code = """\
import json, sys
from pathlib import Path
from benchmark import api, guard
try:
    print(guard.check(Path("results/guard"), kinds=sys.argv[1:]).render("json"))
except api.InputError as error:
    print(json.dumps({"exit_code": 2, "headline": str(error), "rows": []}))
"""
    environment = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *kinds],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def main() -> int:
    """Run the chosen plants; 1 if one is not caught or not named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=["*"], help="globs of plants; all by default")
    parser.add_argument(
        "--other-version", action="store_true", help="with nothing bit-equal to the baseline"
    )
    options = parser.parse_args()
    missed = 0
    for change in PLANTS:
        if not any(fnmatch.fnmatch(change.name, name) for name in options.names):
            continue
        if options.other_version and change.kinds == TIMES:
            continue
        with tempfile.TemporaryDirectory(prefix="plant-") as name:
            plant(change, Path(name), version=0 if options.other_version else None)
            found = guard(Path(name), change.kinds)
        worse = [r["what"] for r in found["rows"] if r["verdict"] in ("regressed", "broken")]
        worse = worse or [found["headline"]]
        named = [what for what in worse if any(fnmatch.fnmatch(what, e) for e in change.expected)]
        caught = found["exit_code"] != 0 and bool(named)
        missed += not caught
        print(f"{'caught' if caught else 'MISSED'}: {change.name}: {'; '.join(worse)}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
