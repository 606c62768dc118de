"""Images decoded and resized once, into a checked uint8 cache that is memory-mapped.

A cache file is an ordinary ``.npy`` file followed by the SHA-256 of all its bytes. It is written
under another name and renamed when complete, so that a reader never sees half of it.

Several runs may share a cache. Who builds a file or works on it holds a lock on the file itself,
which ends with the process at the latest; a file is deleted only by who can lock it for himself.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmark.api import Images, InputError, require
from benchmark.data import Advance, decode

Pixels = npt.NDArray[np.uint8]
LIMIT_BYTES = 50 * 2**30
"""What the cache may hold; beyond it, the files that were not used for longest go."""

IN_MEMORY_BYTES = 2**26
"""Up to here, an array of the wanted size is handed on as it is, without a cache file."""

_DIGEST_BYTES = hashlib.sha256().digest_size
_BATCH = 256
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def fingerprint(
    images: Images, cache_dir: Path | None = None, progress: Advance | None = None
) -> str:
    """A hash of the content: pixels or file bytes, labels, classes, ids, groups and split.

    Where the files lie does not matter. With a cache folder, a file whose path, size and time of
    change are known is not read again.

    Raises:
        InputError: an image file is missing or cannot be read.
    """
    total = hashlib.sha256()

    def add(name: str, content: bytes | memoryview) -> None:
        total.update(f"{name}:{memoryview(content).nbytes}:".encode())
        total.update(content)

    for name in ("labels", "groups", "split", "ids"):
        column = getattr(images, name)
        add(name, b"" if column is None else "\0".join(map(str, column.tolist())).encode())
    add("classes", "\0".join(images.classes).encode())
    if isinstance(images.inputs, np.ndarray):
        add("shape", str(images.inputs.shape).encode())
        add("pixels", np.ascontiguousarray(images.inputs).data)
    else:
        add("files", "".join(file_hashes(images.inputs, cache_dir, progress)).encode())
    return total.hexdigest()


def load(
    images: Images,
    fingerprint: str,
    size: int | None,
    cache_dir: Path,
    progress: Advance | None = None,
    limit_bytes: int = LIMIT_BYTES,
) -> Pixels:
    """All images as one read-only array, from the cache if it holds them intact.

    Images are resized to a square without regard to their aspect ratio (bilinear with
    antialiasing, as torchvision resizes a PIL image). Image files become RGB unless all of them
    are grey.

    Args:
        images: the images.
        fingerprint: of these images, from :func:`fingerprint`.
        size: height and width in pixels; None keeps the images as they are.
        cache_dir: where the cache lies; it is made if needed.
        progress: told how many images are decoded.
        limit_bytes: what the cache may hold.

    Returns:
        ``(n, channels, height, width)`` uint8; memory-mapped, or in memory if a small array had to
        be neither decoded nor resized. While the mapping lives, no run deletes the file.

    Raises:
        InputError: an image is missing or corrupt (named), the images differ in size although
            ``size`` is None, or there is no space on the disk.
    """
    require(size is None or size > 0, f"size={size}: an image has at least one pixel")
    inputs = images.inputs
    if isinstance(inputs, np.ndarray) and inputs.nbytes <= IN_MEMORY_BYTES:
        height, width = inputs.shape[1:3]
        if size is None or size == height == width:
            pixels = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))
            pixels.flags.writeable = False
            return pixels
    path = cache_dir / f"{fingerprint[:32]}-{size or 'native'}.npy"
    cached = _open_checked(path, len(inputs))
    if cached is None:
        cached = _build(path, inputs, size, progress)
        _evict(cache_dir, limit_bytes)
    with suppress(OSError):  # another's cache may be readable only
        os.utime(path)
    return cached


def clear(cache_dir: Path) -> int:
    """Delete cached arrays, remembered hashes and unfinished files; returns the bytes freed.

    What a run is building or working on stays.
    """
    patterns = ("*.npy", "hashes-*.json", "*.tmp", "*.lock")
    return sum(_remove(path) for pattern in patterns for path in cache_dir.glob(pattern))


# --- the hashes of files -------------------------------------------------------------------


def file_hashes(
    paths: Sequence[Path], cache_dir: Path | None, progress: Advance | None
) -> list[str]:
    """The SHA-256 of the content of files, with a mark where their EXIF data turn them.

    Raises:
        InputError: files are missing, or are no images that can be used: all of them are named.
    """
    memo: Path | None = None
    known: dict[str, Any] = {}
    if cache_dir is not None:
        names = "\0".join(str(path.absolute()) for path in paths)
        memo = cache_dir / f"hashes-2-{hashlib.sha256(names.encode()).hexdigest()[:32]}.json"
        try:
            known = json.loads(memo.read_text())
        except (OSError, ValueError):
            known = {}

    def examine(path: Path) -> tuple[str, Any]:
        entry: Any
        try:
            status = path.stat()
            seen = [status.st_size, status.st_mtime_ns]
            entry = known.get(str(path.absolute()), [])
            if entry[:2] != seen:
                content = path.read_bytes()
                turned = decode.header(path, content).turned
                mark = "" if turned == 1 else f" turned {turned}"
                entry = [*seen, hashlib.sha256(content).hexdigest() + mark]
        except OSError as error:
            entry = decode.unreadable(path, error)
        except InputError as error:
            entry = error
        return str(path.absolute()), entry

    found = dict(in_threads(examine, paths, progress))
    problems = [entry for entry in found.values() if isinstance(entry, InputError)]
    if problems:  # others may be cut off behind their headers
        raise decode.all_of(unreadable(tuple(paths)) or problems)
    if memo is not None and found != known:
        try:
            with _part(memo) as file:
                file.write(json.dumps(found).encode())
                _finish(file, memo)
        except OSError as error:
            raise InputError(f"cannot write {memo} ({error.strerror}): free some space") from error
    return [str(found[str(path.absolute())][2]) for path in paths]


def unreadable(images: tuple[Path, ...] | Pixels) -> list[InputError]:
    """What is wrong with each image file that cannot be decoded."""
    paths = () if isinstance(images, np.ndarray) else images
    return [problem for problem in in_threads(_problem, paths) if problem is not None]


def _problem(path: Path) -> InputError | None:
    try:
        decode.header(path)
        with decode.decoded(path, "L"):
            return None
    except InputError as error:
        return error


# --- the cache -----------------------------------------------------------------------------


def _build(
    path: Path, images: tuple[Path, ...] | Pixels, size: int | None, progress: Advance | None
) -> Pixels:
    if isinstance(images, np.ndarray):
        channels, shape = images.shape[3], (size or images.shape[1], size or images.shape[2])
        grey = channels == 1
    else:
        headers = list(in_threads(decode.header, images))
        grey = all(header.mode in decode.GREY_MODES for header in headers)
        channels, shape = (1 if grey else 3), (size, size)
        if size is None:
            different = next((i for i, h in enumerate(headers) if h.size != headers[0].size), None)
            require(
                different is None,
                f"the images differ in size ({images[0]} and {images[different or 0]}): "
                "choose a size for all",
            )
            shape = headers[0].size[::-1]

    def read(image: Path | Pixels) -> Pixels:
        if isinstance(image, Path):
            with decode.decoded(image, "L" if grey else "RGB") as picture:
                return _to_array(picture, size)
        return _to_array(Image.fromarray(image.squeeze(-1) if grey else image), size)

    layout = {"descr": "|u1", "fortran_order": False, "shape": (len(images), channels, *shape)}
    try:
        with _part(path) as file:
            cached = _open_checked(path, len(images))
            if cached is not None:  # another run built it while this one waited
                return cached
            np.lib.format.write_array_header_1_0(file, layout)
            header_bytes = file.tell()
            file.seek(0)
            checksum = hashlib.sha256(file.read(header_bytes))
            try:
                for row in in_threads(read, images, progress):
                    checksum.update(row.data)
                    file.write(row.data)
            except InputError as error:
                raise decode.all_of(unreadable(images) or [error]) from error
            file.write(checksum.digest())
            _finish(file, path)
            cached = _open_checked(path, len(images))
    except OSError as error:
        raise InputError(
            f"cannot write the image cache {path} ({error.strerror}): free some space, or keep "
            "it elsewhere"
        ) from error
    if cached is None:
        raise InputError(f"{path} cannot be read back after it was written: check the disk")
    return cached


def _open_checked(path: Path, n: int) -> Pixels | None:
    """Map a cache file, or None if it is absent or not what was once written.

    The lock belongs to the open file, which the mapping keeps open as long as it lives.
    """
    try:
        with closing(_locked(path, "rb", fcntl.LOCK_SH)) as file:
            left = os.fstat(file.fileno()).st_size - _DIGEST_BYTES
            checksum = hashlib.sha256()
            while left > 0 and (chunk := file.read(min(left, 2**20))):
                checksum.update(chunk)
                left -= len(chunk)
            if file.read() != checksum.digest():
                return None
            file.seek(0)
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            pixels: Pixels = np.memmap(file, dtype, "r", file.tell(), shape)
    except (OSError, ValueError):
        return None
    return pixels if pixels.dtype == np.uint8 and len(pixels) == n else None


def _evict(cache_dir: Path, limit_bytes: int) -> None:
    """Delete what killed runs left, and what was not used for longest until the limit is kept."""
    for path in (*cache_dir.glob("*.tmp"), *cache_dir.glob("*.lock")):
        _remove(path)
    files = []
    for path in cache_dir.glob("*.npy"):
        with suppress(FileNotFoundError):
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, _, path in sorted(files):
        if total > limit_bytes:
            total -= _remove(path)


# --- files that several runs share ---------------------------------------------------------


def _locked(path: Path, mode: str, lock: int) -> BinaryIO:
    """Open the file of this name as soon as others' locks on it allow."""
    while True:
        file = cast(BinaryIO, open(os.fspath(path), mode))  # noqa: SIM115
        try:
            fcntl.flock(file, lock)
            if _has_name(file, path):  # while this one waited, another may have deleted the file
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _has_name(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def _part(path: Path) -> Iterator[BinaryIO]:
    """A file written beside the one that it will be; who else wants to write it waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part, turn = path.with_suffix(".tmp"), path.with_suffix(".lock")
    # Two locks: that on the part goes on as that of the finished file, for which nobody waits.
    with (
        closing(_locked(turn, "ab", fcntl.LOCK_EX)),
        closing(_locked(part, "a+b", fcntl.LOCK_SH)) as file,
    ):
        file.seek(0)
        file.truncate()  # what a killed run left
        try:
            yield file
        finally:
            part.unlink(missing_ok=True)
            turn.unlink(missing_ok=True)


def _finish(file: BinaryIO, path: Path) -> None:
    """Give a complete file its name."""
    file.flush()
    os.fsync(file.fileno())
    path.with_suffix(".tmp").replace(path)


def _remove(path: Path) -> int:
    """Delete a file unless a run builds it or has it mapped; returns the bytes freed."""
    try:
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _has_name(file, path):
                return 0
            path.unlink()
            return os.fstat(file.fileno()).st_size
    except (BlockingIOError, FileNotFoundError, PermissionError):
        return 0


# --- one image -----------------------------------------------------------------------------


def _to_array(image: Image.Image, size: int | None) -> Pixels:
    """As ``(channels, height, width)``, resized to a square unless ``size`` is None."""
    from torchvision.transforms import InterpolationMode  # it loads torch
    from torchvision.transforms.v2 import functional

    if size is not None and image.size != (size, size):
        image = functional.resize(image, [size, size], InterpolationMode.BILINEAR)
    return np.ascontiguousarray(functional.pil_to_tensor(image).numpy())


def in_threads(
    work: Callable[[_Item], _Result], items: Iterable[_Item], progress: Advance | None = None
) -> Iterator[_Result]:
    """The results in order, a batch at a time so that few of them wait in memory.

    Threads suffice: hashing, decoding and resizing release the interpreter's lock.
    """
    items = items if isinstance(items, np.ndarray) else tuple(items)
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(threads) as executor:
        for start in range(0, len(items), _BATCH):
            yield from executor.map(work, items[start : start + _BATCH])
            if progress is not None:
                progress(min(start + _BATCH, len(items)), len(items))
