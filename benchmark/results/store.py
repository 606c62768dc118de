"""The store: one atomic, content-addressed, checked file per fit and per calibration.

A record is an ``.npz`` file (never a pickle) of arrays and one JSON text. It is written to a
temporary name and then renamed, so a process killed at any moment leaves whole records only.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.plan.cells import Fit
from benchmark.results import files
from benchmark.results.records import Arrays, CalibrationRecord, FitRecord

_SEAL = 64
"""Length of the checksum of a record, which stands in the archive's comment, its last bytes."""


class UnreadableRecordError(Exception):
    """A record is missing, cut short, changed, or not one of ours."""


@dataclass(frozen=True)
class Store:
    """Records in a folder, addressed by the digest of what determines them."""

    folder: Path

    def path(self, key: str) -> Path:
        """Where the record of a key is or would be."""
        return self.folder / f"{key}.npz"

    def fit(self, key: str) -> FitRecord:
        """The record of a fit.

        Raises:
            UnreadableRecordError: there is none, or its contents do not match its checksum.
            InputError: it holds a cost that nobody declares.
        """
        arrays, info = self._read(key)
        try:
            return FitRecord.from_plain(arrays, info)
        except (KeyError, TypeError) as error:
            raise UnreadableRecordError(f"{self.path(key)}: not the record of a fit") from error

    def calibration(self, key: str) -> CalibrationRecord:
        """The record of a calibration.

        Raises:
            UnreadableRecordError: there is none, or its contents do not match its checksum.
        """
        arrays, info = self._read(key)
        try:
            return CalibrationRecord.from_plain(arrays, info)
        except (KeyError, TypeError) as error:
            message = f"{self.path(key)}: not the record of a calibration"
            raise UnreadableRecordError(message) from error

    def holds(self, fit: Fit) -> bool:
        """Whether there is a readable record of a fit that was made with the values asked for."""
        try:
            _, info = self._read(fit.key, arrays=False)
            return fit.agrees(info["stated"])
        except (UnreadableRecordError, KeyError, TypeError):
            return False

    def checksum(self, key: str) -> str:
        """Of a record's contents, without reading all of it; empty where there is none."""
        try:
            with self.path(key).open("rb") as file:
                file.seek(-_SEAL, io.SEEK_END)
                return file.read().decode("ascii", "replace")
        except OSError:
            return ""

    def write(self, key: str, record: FitRecord | CalibrationRecord) -> None:
        """Write a record atomically; forget that the key failed before."""
        arrays, info = record.to_plain()
        columns: dict[str, Any] = {**arrays, "info": np.array(json.dumps(info | {"key": key}))}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **columns)
        with zipfile.ZipFile(buffer, "a") as archive:
            archive.comment = bytes(_SEAL)
        data = buffer.getvalue()[:-_SEAL]
        files.write_atomically(self.path(key), data + _checksum(data))
        self._failure(key).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what killed processes left half written an hour ago or longer."""
        files.sweep(self.folder)

    def fail(self, key: str, reason: str) -> None:
        """Mark that a fit failed, and why; a later run tries it again."""
        files.write_atomically(self._failure(key), json.dumps({"reason": reason}).encode())

    def failure(self, key: str) -> str | None:
        """Why the fit of a key failed, if it did."""
        try:
            return str(json.loads(self._failure(key).read_text())["reason"])
        except (OSError, ValueError, KeyError):
            return None

    def _failure(self, key: str) -> Path:
        return self.path(key).with_suffix(".failed.json")

    def _read(self, key: str, arrays: bool = True) -> tuple[Arrays, dict[str, Any]]:
        path = self.path(key)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UnreadableRecordError(f"{path}: {error.strerror}") from error
        if data[-_SEAL:] != _checksum(data[:-_SEAL]):
            raise UnreadableRecordError(f"{path}: its contents do not match its checksum")
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                info = json.loads(file["info"].item())
                columns = {n: file[n] for n in file.files if n != "info"} if arrays else {}
        except (ValueError, KeyError) as error:
            raise UnreadableRecordError(f"{path}: {error}") from error
        if info.pop("key", None) != key:
            raise UnreadableRecordError(f"{path}: it is the record of another key")
        return columns, info


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
