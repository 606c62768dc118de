"""What was computed before from the same inputs, by the same code: kept beside the results.

Values are plain JSON; frames are taken apart and put together again, to the last bit. Whatever is
missing or damaged is computed anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

import benchmark
from benchmark import metrics
from benchmark.results.files import write_atomically

FOLDER = ".cache"
LIBRARIES = ("numpy", "scipy", "pandas", "matplotlib", "seaborn", "scikit-posthocs", "pillow")


@dataclass(frozen=True)
class Memo:
    """Kept values in a folder, each in a file of its own.

    Attributes:
        folder: of the results; the values lie in a folder within it.
    """

    folder: Path

    def get(self, kind: str, key: str) -> Any:
        """What is kept under a kind and key, or None."""
        try:
            return json.loads(self._path(kind, key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def put(self, kind: str, key: str, value: Any) -> None:
        """Keep a value; a folder that cannot be written to keeps nothing."""
        with contextlib.suppress(OSError):
            write_atomically(self._path(kind, key), json.dumps(value).encode())

    def forget_old(self, kind: str, kept: int = 50) -> None:
        """Forget the values of a kind that were put first, but for so many."""
        found = []
        for path in self._path(kind, "").parent.glob(f"{kind}-*.json"):
            with contextlib.suppress(OSError):
                found.append((path.stat().st_mtime_ns, path))
        for _, path in sorted(found)[:-kept]:
            with contextlib.suppress(OSError):
                path.unlink()

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Held by one process at a time; where nothing can be written, by nobody."""
        try:
            (self.folder / FOLDER).mkdir(exist_ok=True)
            held = FileLock(self.folder / FOLDER / ".lock")
            held.acquire()
        except OSError:
            yield
            return
        try:
            yield
        finally:
            held.release()

    def _path(self, kind: str, key: str) -> Path:
        return self.folder / FOLDER / f"{kind}-{key}.json"


def frames_to_plain(frames: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Frames as JSON values."""
    return {
        name: {"columns": list(frame.columns), "rows": frame.to_numpy(dtype=object).tolist()}
        for name, frame in frames.items()
    }


def frames_from_plain(plain: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """The frames that :func:`frames_to_plain` took apart.

    Raises:
        KeyError, TypeError, ValueError: these are not frames.
    """
    return {
        name: pd.DataFrame(each["rows"], columns=each["columns"]) for name, each in plain.items()
    }


def digest_of_files(paths: Iterable[Path]) -> str:
    """A digest of the contents of files, in their order."""
    total = hashlib.sha256()
    for path in paths:
        with contextlib.suppress(OSError):
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:32]


def code_version(*places: str) -> str:
    """A digest of all code that numbers may depend on.

    Args:
        places: rooms or modules; plug-ins' metrics and the libraries' versions count always.
    """
    folder = Path(benchmark.__file__).parent
    kinds = (".py", ".html", ".css", ".js")
    every = [p for place in places for p in [folder / place, *sorted((folder / place).rglob("*"))]]
    files = [path for path in every if path.suffix in kinds]
    files += [p for own in metrics.__path__ for p in sorted(Path(own).rglob("*")) if p.is_file()]
    versions = [sys.version, *map(version, LIBRARIES)]
    return hashlib.sha256(repr((digest_of_files(files), versions)).encode()).hexdigest()[:32]
