"""Files are written so that at every moment each has its old or its new contents, whole."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path

_PART = ".part-"


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under a temporary name beside it, and rename it when it is complete."""
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


def sweep(folder: Path) -> None:
    """Remove what killed processes left half written in a folder an hour ago or longer."""
    for path in folder.glob(f"{_PART}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > 3600:
                path.unlink()
