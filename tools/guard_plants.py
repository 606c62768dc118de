"""Plant regressions in copies of the tree, and see each caught and named: by the guard or a test.

    python -m tools.guard_plants [NAME...] [--other-version]

A plant changes the benchmark's source, never the guard's. With ``--other-version`` all random
streams of training differ too, as under another version of torch at its worst, so that nothing is
bit-equal to the baseline and the statistical verdict stands alone. Every plant takes one run of
the part of the guard that it is about (up to a minute on two idle cores), or of one test.
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
SCORES, TIMES, TESTS = ("score", "engine"), ("throughput",), ("tests",)


@dataclass(frozen=True)
class Plant:
    """A change to the source, and rows (or a message) of which at least one must name it.

    Attributes:
        name: what is wrong.
        file: where.
        edits: text that occurs there once, and what takes its place.
        kinds: the parts of the guard that are run, or ``TESTS``.
        expected: globs of what the guard must say is worse; or tests, all of which must fail.
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
        (("finite_logits(n) * scale", "finite_logits(n) / scale"),),
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
        ("code of the engine",),
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
        "benchmark/results/members.py",
        (
            (
                "np.logaddexp.reduce(stacked, axis=0) - math.log(len(stacked))",
                "stacked.mean(0)\n"
                "    pooled = pooled - np.logaddexp.reduce(pooled, axis=1, keepdims=True)",
            ),
        ),
        TESTS,
        (
            "tests/running/test_execute.py::test_an_ensemble_is_the_mean_of_its_members_and_then_calibrated",
        ),
    ),
    Plant(
        "calibration fitted on test",
        "benchmark/running/calibrate.py",
        (
            (
                "api.calibrate(cell.calibrator, fitted_on, labels, test)",
                "api.calibrate(cell.calibrator, test, records[0].test.labels, test)",
            ),
        ),
        TESTS,
        ("tests/running/test_execute.py::test_permuting_the_test_labels_changes_no_prediction",),
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
        TESTS,
        ("tests/guard/test_invariants.py::test_permuted_test_labels_change_no_prediction",),
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
        TESTS,
        (
            "tests/plan/test_folds.py::test_parts_are_disjoint_cover_everything_and_keep_groups_whole",
        ),
    ),
    Plant(
        "heads and passes average logits",
        "benchmark/engine/predict.py",
        (
            (
                "separate = logits.double().log_softmax(-1)",
                "separate = logits.double().mean(1, keepdim=True).log_softmax(-1)",
            ),
        ),
        TESTS,
        (
            "tests/guard/test_invariants.py::"
            "test_a_prediction_is_the_mean_of_the_probabilities_of_heads_and_passes",
        ),
    ),
    Plant(
        "mixup mixes nothing",
        "methods/mixup.py",
        (("if self.alpha == 0:", "if True:"),),
        TESTS,
        (
            "tests/guard/test_invariants.py::"
            "test_a_method_predicts_something_else_than_without_what_makes_it_special",
        ),
    ),
    Plant(
        "a neutral parameter that is not",
        "methods/focal.py",
        (("missing**self.gamma", "missing ** (self.gamma + 0.1)"),),
        TESTS,
        (
            "tests/guard/test_invariants.py::"
            "test_a_method_with_its_neutral_parameter_predicts_what_cross_entropy_does",
        ),
    ),
    Plant(
        "a thousandth less momentum, FORMAT as it was",
        "benchmark/engine/step.py",
        (("momentum=settings.momentum,", "momentum=0.999 * settings.momentum,"),),
        SCORES,
        ("code of the engine",),
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
    for part in ("benchmark", "methods", "datasets", "results/guard", "tests", "tools"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    edits = [] if change is None else [(change.file, old, new) for old, new in change.edits]
    if version is not None:
        seed = 'seed = fit.task.derive("member", fit.member)'
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
    done = run_python(folder, "-c", code, *kinds)
    if done.returncode:
        raise RuntimeError(done.stderr)
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def failed(folder: Path, tests: tuple[str, ...]) -> list[str]:
    """Which of these tests fail in a folder."""
    return [
        test for test in tests if run_python(folder, "-m", "pytest", "-x", test).returncode == 1
    ]


def run_python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a copy of the tree, with its code."""
    environment = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


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
        if options.other_version and change.kinds in (TIMES, TESTS):
            continue
        with tempfile.TemporaryDirectory(prefix="plant-") as name:
            plant(change, Path(name), version=0 if options.other_version else None)
            if change.kinds == TESTS:
                worse = failed(Path(name), change.expected)
                caught = len(worse) == len(change.expected)
            else:
                worse, caught = _judged(change, guard(Path(name), change.kinds))
        missed += not caught
        print(f"{'caught' if caught else 'MISSED'}: {change.name}: {'; '.join(worse)}", flush=True)
    return 1 if missed else 0


def _judged(change: Plant, found: dict[str, Any]) -> tuple[list[str], bool]:
    """What the guard says is worse, and whether the plant is among it."""
    worse = [r["what"] for r in found["rows"] if r["verdict"] == "regressed"]
    worse = worse or [found["headline"]]
    named = [what for what in worse if any(fnmatch.fnmatch(what, e) for e in change.expected)]
    return worse, found["exit_code"] != 0 and bool(named)


if __name__ == "__main__":
    sys.exit(main())
