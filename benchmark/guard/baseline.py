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

from benchmark.api import InputError, Predictions
from benchmark.guard.engine import Engine
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


@dataclass(frozen=True, eq=False, kw_only=True)
class Baseline:
    """What was true when it was made.

    Attributes:
        reason: why it was made.
        engine: the code that made its fits; None if it was made before that was stated.
        environment: the versions and hardware that it was made with.
        matrix: settings of each set, parameters of each method.
        scores: by set, method and metric: one value for each seed.
        ratios: throughput ratios by name: one value for each round.
        seconds: times by name: one value for each round.
        predictions: of the first seed, by set and method.
    """

    reason: str
    engine: Engine | None
    environment: Mapping[str, str]
    matrix: Mapping[str, Mapping[str, Any]]
    scores: Scores
    ratios: Mapping[str, Sequence[float]]
    seconds: Mapping[str, Sequence[float]]
    predictions: Mapping[str, Mapping[str, Predictions]]


def write(folder: Path, baseline: Baseline) -> None:
    """Write the files."""
    lines = [_HEAD, f"reason = {_text(baseline.reason)}", "", *_engine(baseline.engine)]
    lines += ["[environment]", *_entries(baseline.environment), "", "[matrix]"]
    for key, value in baseline.matrix.items():
        inside = ", ".join(f"{k} = {json.dumps(v)}" for k, v in value.items())
        lines.append(f"{_text(key)} = {{ {inside} }}")
    for name, methods in baseline.scores.items():
        for method, metrics in methods.items():
            lines += ["", f"[scores.{name}.{method}]  # one value for each seed"]
            lines += [f"{metric} = {_numbers(values, 7)}" for metric, values in metrics.items()]
    lines += ["", "[ratios]  # of seconds, one value for each round; small is fast"]
    lines += [f"{_text(name)} = {_numbers(values, 4)}" for name, values in baseline.ratios.items()]
    arrays: dict[str, Any] = {}
    for name, predictions in baseline.predictions.items():
        for method, p in predictions.items():
            arrays |= {f"{name}/ids": p.ids, f"{name}/labels": p.labels}
            arrays[f"{name}/{method}/0"] = p.log_probs.astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / NPZ).open("wb") as file:
        np.savez_compressed(file, **arrays)
    write_atomically(folder / JSON, json.dumps(_benchmark(baseline), indent=1).encode() + b"\n")
    write_atomically(folder / TOML, ("\n".join(lines) + "\n").encode())


def state_engine(folder: Path, engine: Engine) -> None:
    """State an engine in a baseline, and leave all else as it is, byte for byte."""
    text = (folder / TOML).read_text(encoding="utf-8")
    before, _, rest = text.partition("[environment]")
    before = before.partition("[engine]")[0]
    new = "\n".join([*_engine(engine), "[environment]"])
    write_atomically(folder / TOML, f"{before}{new}{rest}".encode())


def read(folder: Path) -> Baseline:
    """Read the files.

    Raises:
        InputError: one is missing or damaged.
    """
    try:
        content = tomllib.loads((folder / TOML).read_text(encoding="utf-8"))
        with np.load(folder / NPZ, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        timed = json.loads((folder / JSON).read_text(encoding="utf-8"))
        return Baseline(
            engine=Engine(**content["engine"]) if "engine" in content else None,
            seconds={each["name"]: each["stats"]["data"] for each in timed["benchmarks"]},
            predictions=_predictions(arrays),
            **{n: content[n] for n in ("reason", "environment", "matrix", "scores", "ratios")},
        )
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename}: there is no baseline; make one on a tree that is known to be "
            "good, as CONTRIBUTING.md says"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{folder}: the baseline is damaged ({type(error).__name__}: {error}); restore "
            "it from version control"
        ) from error


def _predictions(arrays: Mapping[str, Any]) -> dict[str, dict[str, Predictions]]:
    """By set and method, from arrays named ``SET/ids``, ``SET/labels`` and ``SET/METHOD/0``."""
    found: dict[str, dict[str, Predictions]] = {}
    for key, array in arrays.items():
        name, *rest = key.split("/")
        if len(rest) == 2:
            found.setdefault(name, {})[rest[0]] = Predictions(
                log_probs=array, ids=arrays[f"{name}/ids"], labels=arrays[f"{name}/labels"]
            )
    return found


def _engine(engine: Engine | None) -> list[str]:
    if engine is None:
        return []
    stated = [f"format = {engine.format}", f"reason = {_text(engine.reason)}"]
    digests = _entries({_text(file): digest for file, digest in engine.digests.items()})
    return ["[engine]", *stated, "", "[engine.digests]", *digests, ""]


def _benchmark(baseline: Baseline) -> dict[str, Any]:
    """Times as pytest-benchmark writes them, with what its ``compare`` reads."""
    listed = []
    for name, data in baseline.seconds.items():
        q1, median, q3 = np.quantile(data, [0.25, 0.5, 0.75]).tolist()
        mean = float(np.mean(data))
        spread = {"stddev": float(np.std(data, ddof=1)), "median": median, "iqr": q3 - q1}
        counts = {"rounds": len(data), "iterations": 1, "outliers": ""}
        stats = {"min": min(data), "max": max(data), "mean": mean, "ops": 1 / mean}
        rounded = {"data": [round(value, 7) for value in data]}
        label = {"group": name.partition(":")[0], "name": name, "fullname": name}
        listed.append({**label, "params": None, "stats": stats | spread | counts | rounded})
    python, cpu = (baseline.environment.get(name, "") for name in ("python", "hardware"))
    machine = {"python_version": python, "cpu": {"brand_raw": cpu}}
    return {"machine_info": machine, "benchmarks": listed, "datetime": "", "version": "5"}


def _entries(values: Mapping[str, str]) -> list[str]:
    return [f"{key} = {_text(value)}" for key, value in values.items()]


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _numbers(values: Sequence[float], digits: int) -> str:
    return "[" + ", ".join(f"{value:.{digits}f}" for value in values) + "]"
