"""The committed baseline: a readable ``baseline.toml`` with, beside it, two more files.

``predictions.npz`` holds predictions of each image, and ``benchmark.json`` times in seconds as
pytest-benchmark writes them, so that ``pytest-benchmark compare`` reads them.
"""

from __future__ import annotations

import json
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.api import InputError
from benchmark.guard.matrix import Predicted
from benchmark.results.files import write_atomically

TOML, NPZ, JSON = "baseline.toml", "predictions.npz", "benchmark.json"

_HEAD = """\
# What `python -m benchmark guard` compares with. Do not edit it by hand: make it anew with
#
#     python -m benchmark guard --update --reason TEXT
#
# and commit it together with the change that made it necessary.
"""

Scores = Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]


@dataclass(frozen=True, eq=False)
class Baseline:
    """What was true when it was made.

    Attributes:
        reason: why it was made.
        environment: the versions and hardware that it was made with.
        matrix: settings of each set, parameters of each method.
        scores: by set, method and metric: one value for each seed.
        ratios: throughput ratios by name: one value for each round.
        seconds: times by name: one value for each round.
        invariants: names of those that held.
        predicted: per-image predictions of the first seed, by set.
    """

    reason: str
    environment: Mapping[str, str]
    matrix: Mapping[str, Mapping[str, Any]]
    scores: Scores
    ratios: Mapping[str, Sequence[float]]
    seconds: Mapping[str, Sequence[float]]
    invariants: Sequence[str]
    predicted: Mapping[str, Predicted]


def write(folder: Path, baseline: Baseline) -> None:
    """Write the files."""
    lines = [_HEAD, f"reason = {_text(baseline.reason)}", "", "invariants = ["]
    lines += [f"    {_text(name)}," for name in baseline.invariants]
    lines += ["]", "", "[environment]"]
    lines += [f"{key} = {_text(value)}" for key, value in baseline.environment.items()]
    lines += ["", "[matrix]"]
    for key, value in baseline.matrix.items():
        inside = ", ".join(f"{k} = {json.dumps(v)}" for k, v in value.items())
        lines.append(f"{_text(key)} = {{ {inside} }}")
    for name, methods in baseline.scores.items():
        for method, metrics in methods.items():
            lines += ["", f"[scores.{name}.{method}]  # one value for each seed"]
            lines += [f"{m} = {_numbers(values, 7)}" for m, values in metrics.items()]
    lines += ["", "[ratios]  # of seconds, one value for each round; small is fast"]
    lines += [f"{_text(name)} = {_numbers(values, 4)}" for name, values in baseline.ratios.items()]
    arrays: dict[str, Any] = {}
    for name, predicted in baseline.predicted.items():
        arrays[f"{name}/ids"] = predicted.ids
        arrays[f"{name}/labels"] = predicted.labels
        for (method, seed), log_probs in predicted.log_probs.items():
            arrays[f"{name}/{method}/{seed}"] = log_probs
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / NPZ).open("wb") as file:
        np.savez_compressed(file, **arrays)
    timed = json.dumps(_benchmark(baseline), indent=1)
    write_atomically(folder / JSON, timed.encode() + b"\n")
    write_atomically(folder / TOML, ("\n".join(lines) + "\n").encode())


def read(folder: Path) -> Baseline:
    """Read the files.

    Raises:
        InputError: one is missing or damaged.
    """
    path = folder / TOML
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        with np.load(folder / NPZ, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        timed = json.loads((folder / JSON).read_text(encoding="utf-8"))
        return Baseline(
            content["reason"],
            content["environment"],
            content["matrix"],
            content["scores"],
            content["ratios"],
            {each["name"]: each["stats"]["data"] for each in timed["benchmarks"]},
            content["invariants"],
            _predicted(arrays),
        )
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename}: there is no baseline; make one on a tree that is known to be "
            "good: python -m benchmark guard --update --reason TEXT"
        ) from error
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{folder}: the baseline is damaged ({type(error).__name__}: {error}); restore "
            "it from version control"
        ) from error


def _predicted(arrays: Mapping[str, Any]) -> dict[str, Predicted]:
    found: dict[str, Predicted] = {}
    for name in dict.fromkeys(key.partition("/")[0] for key in arrays):
        log_probs = {}
        for key, array in arrays.items():
            own, _, rest = key.partition("/")
            if own == name and "/" in rest:
                method, _, seed = rest.rpartition("/")
                log_probs[method, int(seed)] = array
        found[name] = Predicted(arrays[f"{name}/ids"], arrays[f"{name}/labels"], log_probs, {})
    return found


def _benchmark(baseline: Baseline) -> dict[str, Any]:
    """Times as pytest-benchmark writes them."""
    environment = baseline.environment
    listed = []
    for name, data in baseline.seconds.items():
        low, middle, high = np.quantile(data, [0.25, 0.5, 0.75]).tolist()
        stats = {
            "min": min(data),
            "max": max(data),
            "mean": float(np.mean(data)),
            "stddev": float(np.std(data, ddof=1)),
            "rounds": len(data),
            "median": middle,
            "iqr": high - low,
            "q1": low,
            "q3": high,
            "ops": 1 / float(np.mean(data)),
            "total": sum(data),
            "iterations": 1,
            "outliers": "",
            "data": [round(value, 7) for value in data],
        }
        each: dict[str, Any] = {
            "group": name.partition(":")[0],
            "name": name,
            "fullname": name,
            "params": None,
        }
        listed.append(each | {"param": None, "extra_info": {}, "options": {}, "stats": stats})
    return {
        "machine_info": {
            "python_version": environment.get("python", ""),
            "cpu": {"brand_raw": environment.get("hardware", "")},
        },
        "commit_info": {},
        "benchmarks": listed,
        "datetime": "",
        "version": "5",
    }


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _numbers(values: Sequence[float], digits: int) -> str:
    return "[" + ", ".join(f"{value:.{digits}f}" for value in values) + "]"
