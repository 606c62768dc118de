"""The committed baseline: a readable ``baseline.toml`` and, beside it, ``predictions.npz``."""

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
from benchmark.store import write_atomically

TOML, NPZ = "baseline.toml", "predictions.npz"

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
        matrix: methods, data sets and settings.
        scores: by set, method and metric: one value for each seed.
        ratios: throughput ratios by name: one value for each round.
        predicted: per-image predictions of the first seeds, by set.
    """

    reason: str
    environment: Mapping[str, str]
    matrix: Mapping[str, Any]
    scores: Scores
    ratios: Mapping[str, Sequence[float]]
    predicted: Mapping[str, Predicted]


def write(folder: Path, baseline: Baseline) -> None:
    """Write both files."""
    lines = [_HEAD, f"reason = {_text(baseline.reason)}", "", "[environment]"]
    lines += [f"{key} = {_text(value)}" for key, value in baseline.environment.items()]
    lines += ["", "[matrix]"]
    for key, value in baseline.matrix.items():
        if isinstance(value, Mapping):
            inside = ", ".join(f"{k} = {json.dumps(v)}" for k, v in value.items())
            lines.append(f"{key} = {{ {inside} }}")
        else:
            lines.append(f"{key} = {json.dumps(value)}")
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
    write_atomically(folder / TOML, ("\n".join(lines) + "\n").encode())


def read(folder: Path) -> Baseline:
    """Read both files.

    Raises:
        InputError: one is missing or damaged.
    """
    path = folder / TOML
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        with np.load(folder / NPZ, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return Baseline(
            content["reason"],
            content["environment"],
            content["matrix"],
            content["scores"],
            content["ratios"],
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
            f"{TOML} and {NPZ} from version control"
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


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _numbers(values: Sequence[float], digits: int) -> str:
    return "[" + ", ".join(f"{value:.{digits}f}" for value in values) + "]"
