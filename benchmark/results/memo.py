"""What was computed before from the same inputs, by the same code: kept beside the results.

Values are plain JSON; frames are taken apart and put together again, to the last bit. Whatever is
missing or damaged is computed anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

import benchmark
from benchmark import metrics
from benchmark.results.files import write_atomically

FOLDER = ".cache"


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

    def keep_only(self, kind: str, keys: Iterable[str]) -> None:
        """Forget the values of a kind that are of no use any more."""
        wanted = {self._path(kind, key) for key in keys}
        for path in self._path(kind, "").parent.glob(f"{kind}-*.json"):
            if path not in wanted:
                with contextlib.suppress(OSError):
                    path.unlink()

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
    files += [path for own in metrics.__path__ for path in sorted(Path(own).glob("*.py"))]
    libraries = [version(name) for name in ("numpy", "scipy", "pandas", "matplotlib")]
    return hashlib.sha256(repr((digest_of_files(files), libraries)).encode()).hexdigest()[:32]
