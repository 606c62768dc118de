"""Give the fits of an older results folder the addresses of today, without training anything.

    python -m tools.migrate RESULTS...

Format 2 addressed a fit by a digest of all values and of the engine's code. The values stand in
each record. The methods are looked up by their names in the manifest; a record whose values are
not those of the method today is left where it is, and named.
"""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.api import ORIGIN, Method
from benchmark.plan import registry
from benchmark.plan.addresses import agrees, changed, digest
from benchmark.plan.cells import Cell, Fit, Task
from benchmark.plan.presets import Settings
from benchmark.results.files import write_atomically
from benchmark.results.load import STORE
from benchmark.results.manifest import NAME
from benchmark.results.records import CalibrationRecord, FitRecord
from benchmark.results.store import Store

OLD = 2

Arrays = dict[str, Any]


def migrate(folder: Path) -> list[str]:
    """Move the records of a results folder to their new addresses, and rewrite its manifest.

    Returns:
        A sentence for each cell that has to be trained anew.
    """
    store = Store(folder / STORE)
    content = json.loads((folder / NAME).read_text(encoding="utf-8"))
    old: dict[str, tuple[Arrays, dict[str, Any]]] = {}
    obsolete, left = set(), []
    for entry in content["entries"]:
        keys = entry["fits"]
        for key in [*keys, *([entry["calibration"]] if entry["calibration"] else [])]:
            if key not in old and store.path(key).exists():
                old[key] = _read(store.path(key))
        if any(key not in old for key in keys):
            left.append(f"{_name(entry)}: not all of its fits are there")
            continue
        if any("fit" not in old[key][1] for key in keys):  # of this format already
            continue
        cell = _cell(entry, old[keys[0]][1]["fit"])
        members = list(zip(cell.fits, keys, strict=True))
        if not all(_agrees(fit, old[key][1]["fit"]) for fit, key in members):
            left.append(f"{_name(entry)}: it was made with other values than the method has today")
            continue
        for fit, key in members:
            if not store.path(fit.key).exists():
                store.write(fit.key, _fit(fit, *old[key]))
            obsolete.add(key)
        if entry["calibration"] in old and cell.calibration is not None:
            arrays, info = old[entry["calibration"]]
            store.write(cell.calibration, _calibration(cell, arrays, info))
            obsolete.add(entry["calibration"])
        entry["fits"] = [fit.key for fit in cell.fits]
        entry["calibration"] = cell.calibration
        entry["settings"] = digest(changed(cell.task.settings))
    text = json.dumps(content, indent=1, ensure_ascii=False)
    write_atomically(folder / NAME, text.encode() + b"\n")
    for key in obsolete:
        store.path(key).unlink()
    return left


def _cell(entry: dict[str, Any], stated: dict[str, Any]) -> Cell:
    preset = registry.select_preset(entry["preset"])
    method: Method = registry.select_methods(entry["method"], preset.parameters)[0]
    task = Task(
        preset=entry["preset"],
        dataset=entry["dataset"],
        data=entry["data"],
        settings=Settings(**stated["settings"]),
        fold=entry["fold"],
        seed=entry["seed"],
    )
    calibrators = registry.calibrators()
    name = method.calibrator
    return Cell(task=task, method=method, calibrator=calibrators[name] if name else None)


def _agrees(fit: Fit, stated: dict[str, Any]) -> bool:
    where = ("dataset", "data", "fold", "seed", "member", "passes")
    return (
        stated["format"] == OLD
        and all(stated[name] == fit.stated()[name] for name in where)
        and agrees(stated["recipe"]["parameters"], fit.recipe)
    )


def _fit(fit: Fit, arrays: Arrays, info: dict[str, Any]) -> FitRecord:
    kept = {f.name for f in dataclasses.fields(FitRecord)}
    values = {name: value for name, value in info.items() if name in kept}
    return FitRecord.from_plain(arrays, values | {"stated": fit.stated()})


def _calibration(cell: Cell, arrays: Arrays, info: dict[str, Any]) -> CalibrationRecord:
    kept = {f.name for f in dataclasses.fields(CalibrationRecord)}
    values = {name: value for name, value in info.items() if name in kept}
    return CalibrationRecord.from_plain(arrays, values | {"fits": [f.key for f in cell.fits]})


def _read(path: Path) -> tuple[Arrays, dict[str, Any]]:
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return arrays, json.loads(arrays.pop("info").item())


def _name(entry: dict[str, Any]) -> str:
    return ", ".join(str(entry[name]) for name in ORIGIN)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        for sentence in migrate(Path(argument)):
            print(f"{argument}: {sentence}")
        print(f"{argument}: migrated")
