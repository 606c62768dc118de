"""The manifest of a results folder: which cells were asked for, and where their records are.

With the store it is all that the leaderboard reads. It is written before training starts, so
that what is missing can be named.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from benchmark.api import ORIGIN, Dataset, InputError, Origin
from benchmark.plan.addresses import changed, digest
from benchmark.plan.cells import Cell
from benchmark.plan.presets import Preset
from benchmark.plan.registry import parameters_of
from benchmark.results.files import write_atomically

NAME = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One cell: what it is, and the keys of its records.

    Settings and data are digests: cells that differ in them are never compared.
    """

    origin: Origin
    settings: str
    data: str
    fits: tuple[str, ...]
    calibration: str | None


@dataclass(frozen=True)
class Manifest:
    """All cells asked for so far in a results folder, with what the tables say of them.

    Attributes:
        entries: in the order of the first request.
        methods: summary, paper, and parameters under each preset, by name.
        datasets: summary, paper and licence by name.
        presets: every number and the note, by name.
        notes: sentences on the splits, by data set.
        commands: the distinct command lines that led here.
    """

    entries: tuple[Entry, ...] = ()
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    datasets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: Mapping[str, list[str]] = field(default_factory=dict)
    commands: tuple[str, ...] = ()

    def extend(
        self,
        cells: Sequence[Cell],
        datasets: Iterable[Dataset],
        presets: Iterable[Preset],
        notes: Mapping[str, list[str]],
        command: str,
    ) -> Manifest:
        """This manifest with more cells, and without those of other settings or data there."""
        new = [_entry(cell) for cell in cells]
        settings = {_network(e): e.settings for e in new}
        data = {(_network(e), e.origin.replicate): e.data for e in new}
        kept = [
            e
            for e in self.entries
            if settings.get(_network(e), e.settings) == e.settings
            and data.get((_network(e), e.origin.replicate), e.data) == e.data
        ]
        entries = {entry.origin: entry for entry in (*kept, *new)}
        methods = dict(self.methods)
        for cell in cells:
            method = cell.method
            values = parameters_of(method) | {"calibrator": method.calibrator or "none"}
            methods[method.name] = {
                "summary": method.summary,
                "paper": method.paper,
                "parameters": methods.get(method.name, {}).get("parameters", {})
                | {cell.task.preset: values},
            }
        return Manifest(
            tuple(entries.values()),
            methods,
            dict(self.datasets)
            | {
                d.name: {"summary": d.summary, "paper": d.paper, "licence": d.licence}
                for d in datasets
            },
            dict(self.presets)
            | {
                p.name: {"summary": p.summary, "note": p.note} | dataclasses.asdict(p.settings)
                for p in presets
            },
            dict(self.notes) | dict(notes),
            tuple(c for c in dict.fromkeys((*self.commands, command)) if c),
        )

    def definitions(self) -> list[dict[str, Any]]:
        """Each method with its summary, paper and parameters, where they differ of each preset."""

        def value(of: Mapping[str, Mapping[str, Any]], key: str) -> Any:
            found = {preset: values.get(key) for preset, values in of.items()}
            if len(set(map(str, found.values()))) == 1:
                return next(iter(found.values()))
            return ", ".join(f"{value} ({preset})" for preset, value in found.items())

        return [
            {
                "name": name,
                **about,
                "parameters": {
                    key: value(about["parameters"], key)
                    for key in dict.fromkeys(k for v in about["parameters"].values() for k in v)
                },
            }
            for name, about in self.methods.items()
        ]

    def restrict(self, datasets: set[str]) -> Manifest:
        """The part of this manifest that concerns some data sets."""
        kept = tuple(entry for entry in self.entries if entry.origin.dataset in datasets)
        notes = {name: notes for name, notes in self.notes.items() if name in datasets}
        return dataclasses.replace(self, entries=kept, notes=notes)

    def write(self, folder: Path) -> None:
        """Write it into a results folder, atomically."""
        content = dataclasses.asdict(self)
        content["entries"] = [entry.pop("origin") | entry for entry in content["entries"]]
        text = json.dumps(content, indent=1, ensure_ascii=False)
        write_atomically(folder / NAME, text.encode() + b"\n")


def add(
    folder: Path,
    cells: Sequence[Cell],
    datasets: Iterable[Dataset],
    presets: Iterable[Preset],
    notes: Mapping[str, list[str]],
    command: str,
) -> int:
    """Add cells to the manifest of a results folder; runs at the same time wait for each other.

    Returns:
        How many cells had to leave, since their data sets were run with other settings or data.
    """
    (folder / "store").mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "store" / ".lock"):
        old = read(folder)
        new = old.extend(cells, datasets, presets, notes, command)
        new.write(folder)
    return len({e.origin for e in old.entries} - {e.origin for e in new.entries})


def read(folder: Path) -> Manifest:
    """The manifest of a results folder; an empty one where there is none yet.

    Raises:
        InputError: there is a file of that name which is no manifest.
    """
    path = folder / NAME
    if not path.exists():
        return Manifest()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        entries = tuple(map(_read_entry, content.pop("entries")))
        return Manifest(entries, commands=tuple(content.pop("commands")), **content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is not a manifest of this benchmark ({error}); move it away, or choose "
            "another folder for results"
        ) from error


def _entry(cell: Cell) -> Entry:
    return Entry(
        origin=cell.origin,
        settings=digest(changed(cell.task.settings)),
        data=cell.task.data,
        fits=tuple(fit.key for fit in cell.fits),
        calibration=cell.calibration,
    )


def _read_entry(stated: dict[str, Any]) -> Entry:
    origin = Origin(**{name: stated.pop(name) for name in ORIGIN})
    return Entry(origin=origin, **{**stated, "fits": tuple(stated["fits"])})


def _network(entry: Entry) -> tuple[str, str, str]:
    return entry.origin.preset, entry.origin.dataset, entry.origin.backbone
