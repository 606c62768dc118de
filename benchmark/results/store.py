"""The store: one atomic, content-addressed, checked record per fit and per calibration.

A record is an ``.npz`` file (never a pickle) of arrays and one JSON text. It is written to a
temporary name and then renamed, so a process killed at any moment leaves whole records only.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tempfile
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]


class UnreadableRecordError(Exception):
    """A record is missing, cut short, changed, or not one of ours."""


@dataclass(frozen=True, eq=False)
class Record:
    """What is stored under one key.

    Attributes:
        arrays: by name; a fit holds ``calibration_*`` and ``test_*``: ``log_probs`` (float32,
            ``(n, classes)``), ``labels``, ``ids``, and ``groups`` and ``posterior`` where the
            data set has them.
        info: plain JSON values: the description, environment and costs.
    """

    arrays: Arrays
    info: dict[str, Any]


@dataclass(frozen=True)
class Store:
    """Records in a folder, addressed by the digest of what determines them."""

    folder: Path

    def path(self, key: str) -> Path:
        """Where the record of a key is or would be."""
        return self.folder / f"{key}.npz"

    def read(self, key: str) -> Record:
        """The record of a key.

        Raises:
            UnreadableRecordError: there is none, or its contents do not match its checksum.
        """
        path = self.path(key)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UnreadableRecordError(f"{path}: {error.strerror}") from error
        if data[-_SEAL:] != _seal(data[:-_SEAL]):
            raise UnreadableRecordError(f"{path}: its contents do not match its checksum")
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            info = json.loads(arrays.pop("info").item())
        except (ValueError, KeyError) as error:
            raise UnreadableRecordError(f"{path}: {error}") from error
        if info["key"] != key:
            raise UnreadableRecordError(f"{path}: it is the record of {info['key']}")
        return Record(arrays, info)

    def holds(self, key: str) -> bool:
        """Whether there is a readable record of a key."""
        try:
            self.read(key)
        except UnreadableRecordError:
            return False
        return True

    def write(self, key: str, record: Record) -> None:
        """Write a record atomically; forget that the key failed before."""
        info = json.dumps(record.info | {"key": key})
        columns: dict[str, Any] = {**record.arrays, "info": np.array(info)}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **columns)
        with zipfile.ZipFile(buffer, "a") as archive:
            archive.comment = bytes(_SEAL)
        data = buffer.getvalue()[:-_SEAL]
        write_atomically(self.path(key), data + _seal(data))
        self._failure(key).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what killed processes left half written an hour ago or longer."""
        for path in self.folder.glob(f"{_PART}*"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > 3600:
                    path.unlink()

    def fail(self, key: str, reason: str) -> None:
        """Mark that a fit failed, and why; a later run tries it again."""
        write_atomically(self._failure(key), json.dumps({"reason": reason}).encode())

    def failure(self, key: str) -> str | None:
        """Why the fit of a key failed, if it did."""
        try:
            return str(json.loads(self._failure(key).read_text())["reason"])
        except (OSError, ValueError, KeyError):
            return None

    def _failure(self, key: str) -> Path:
        return self.path(key).with_suffix(".failed.json")


_PART = ".part-"


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that at every moment it has its old or its new contents, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_PART)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


_SEAL = 64
"""Length of the checksum of a record, which stands in the archive's comment, its last bytes."""


def _seal(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
