"""Downloads a public data set, unpacks it, and checks what lies in the data root."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import ssl
import stat
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from benchmark.api import PARTS, Archive, Dataset, Images, InputError, require
from benchmark.data import Advance, duplicates

_NETWORK_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    TimeoutError,
    ConnectionError,
    ssl.SSLError,
)
_CHUNK_BYTES = 2**20
_TIMEOUT_SECONDS = 15
_ATTEMPTS = 5
_FREE_BYTES = 2**30
_SHOWN = 50
_EXPANSION = 20
"""An archive may unpack to a gibibyte, or to this many times its size: images hardly shrink."""


@dataclass(frozen=True)
class Check:
    """What lies in the data root, against what was published.

    Attributes:
        dataset: name of the data set.
        classes: names of the classes.
        counts: images of each class in each part; ``all`` for the whole set.
        problems: plain sentences on what is missing or too much; empty if all is well.
        published: whether there are published numbers to compare with.
        notes: what was understood of the data, and which images occur more than once.
    """

    dataset: str
    classes: tuple[str, ...]
    counts: Mapping[str, tuple[int, ...]]
    problems: tuple[str, ...]
    published: bool
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all is as published."""
        return not self.problems

    def __str__(self) -> str:
        """A table of the counts, and the verdict."""
        import pandas as pd

        frame = pd.DataFrame(self.counts, index=self.classes).rename_axis(columns=self.dataset)
        table = pd.concat([frame, frame.sum().rename("sum").to_frame().T]).to_string()
        verdict = "complete: the counts are as published"
        if not self.published:
            verdict = "readable, every image; there are no published counts to compare with"
        notes = [f"note: {note}" for note in self.notes]
        return "\n".join([table, *([] if self.problems else [verdict]), *notes, *self.problems])


def check(
    dataset: Dataset, root: Path, decode: bool = True, progress: Advance | None = None
) -> Check:
    """Count the images of each class and compare with the published numbers.

    Args:
        dataset: to check.
        root: folder of the data sets.
        decode: whether to decode all images, and look for those that occur more than once.
        progress: told how many images are decoded.

    Raises:
        InputError: the data are not there at all, or cannot be read.
    """
    images = dataset.read(root)
    counts = _counts(images)
    problems = []
    for part, expected in dataset.known_counts.items():
        found = counts.get(part, (0,) * len(images.classes))
        if len(found) != len(expected):
            problems.append(f"{len(found)} classes found, {len(expected)} expected")
            break
        problems += [
            f"class {name!r}: {n} images in {part}, {m} expected ({abs(m - n)} "
            f"{'missing' if n < m else 'too many'})"
            for name, n, m in zip(images.classes, found, expected)
            if n != m
        ]
    absent = []
    if isinstance(images.inputs, tuple):
        absent = [path for path in images.inputs if not path.is_file()]
        if absent:
            problems.append(f"{len(absent)} image files are missing, such as {absent[0]}")
    notes = list(images.notes)
    if images.split is not None:
        notes.append("there is a split: the folds `official` use it, other folds mix its parts")
    if decode:
        wrong, kinds, near = duplicates.look(images, progress)
        problems += [str(error) for error in wrong]
        notes += kinds
        if not wrong:
            same = duplicates.identical(images)
            notes += same.notes(_SHOWN) or ["no two images are identical"]
            how = getattr(dataset, "on_duplicates", None)
            if same.sets and how == "error":
                problems.append("there are identical images, which on_duplicates=error refuses")
            elif same.sets and how is not None:
                notes.append(duplicates.treated(same, how).notes[-1])
            if near is not None:
                notes += duplicates.without(near, same).notes(_SHOWN)
    published = bool(dataset.known_counts)
    return Check(dataset.name, images.classes, counts, tuple(problems), published, tuple(notes))


def prepare(dataset: Dataset, root: Path, progress: Advance | None = None) -> Check:
    """Download and unpack a data set, unless it is there already, and check it.

    What a broken download or a full disk leaves behind is used by the next call.

    Raises:
        InputError: the data set may not be downloaded (saying how to get it), it could not be,
            or it is not complete.
    """
    try:
        report = check(dataset, root, decode=False)
        if report.complete:
            return report
        require(dataset.archive is not None, f"{report}\n{dataset.access}")
    except InputError:
        if dataset.archive is None:
            raise
    assert dataset.archive is not None
    folder = root / dataset.name.strip(":/")
    file = folder / PurePosixPath(dataset.archive.url).name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        download(dataset.archive, file, progress)
        if dataset.archive.unpack:
            unpack(file, folder, progress)
    except InputError as error:
        raise InputError(f"{error}. Or bring it by hand: {dataset.access}") from error
    except OSError as error:
        raise InputError(
            f"cannot write to {folder} ({error.strerror or error}): what is there is kept, "
            "put that right and run again"
        ) from error
    report = check(dataset, root, decode=False)
    done = "unpacked" if dataset.archive.unpack else "downloaded"
    require(report.complete, f"{report}\n{file} was {done}, but is not as published")
    if dataset.archive.unpack:
        file.unlink()
    return report


def download(archive: Archive, file: Path, progress: Advance | None = None) -> None:
    """Fetch an archive into a file, going on where an earlier attempt broke off.

    A connection that breaks off is tried again; a server that never answered is not. The bytes
    gather in ``FILE.part``; the name changes when size and checksum are right.

    Raises:
        InputError: it could not be had, or is not what its publisher describes.
    """
    if file.is_file():
        return
    require(archive.url.startswith(("https://", "http://")), f"{archive.url} is no web address")
    part = file.with_name(file.name + ".part")
    failures, answered = 0, False
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            complete, problem = _transfer(archive, part, progress), "the connection broke off"
            answered = True
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise InputError(f"{archive.url} answers {error.code} {error.reason}") from error
            complete, problem, answered = False, f"{error.code} {error.reason}", True
        except _NETWORK_ERRORS as error:
            complete, problem = False, str(getattr(error, "reason", error))
        if complete:
            break
        done = part.stat().st_size if part.exists() else 0
        failures = 1 if done > before else failures + 1
        answered = answered or done > before
        require(
            answered and failures < _ATTEMPTS,
            f"{archive.url} could not be downloaded ({problem}): "
            + (f"{done} bytes are kept, run again to go on from there" if done else "run again"),
        )
        time.sleep(min(2.0**failures / 4, 10))
    _verify(archive, part)
    part.replace(file)
    _tag_file(part).unlink(missing_ok=True)


def unpack(file: Path, folder: Path, progress: Advance | None = None) -> None:
    """Unpack a zip archive; a file that is there already, with the right size, is kept.

    Nothing is written unless every entry stays inside the folder, none is a link, and the whole
    has a plausible size.

    Raises:
        InputError: the archive is damaged or not to be trusted.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            _distrust(file, entries)
            total = sum(entry.file_size for entry in entries)
            lacking = {e.filename for e in entries if not _is_there(folder / e.filename, e)}
            _check_space(folder, sum(e.file_size for e in entries if e.filename in lacking))
            done = 0
            for entry in entries:
                if entry.filename in lacking:
                    target = folder / entry.filename
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _within(folder, target)
                    temporary = target.with_name(target.name + ".part")
                    try:
                        with archive.open(entry) as source, temporary.open("wb") as sink:
                            shutil.copyfileobj(source, sink, _CHUNK_BYTES)
                        temporary.replace(target)
                    finally:
                        temporary.unlink(missing_ok=True)
                done += entry.file_size
                if progress is not None:
                    progress(done, total)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise InputError(
            f"{file} is damaged ({error}): delete it and run again to download it anew"
        ) from error


# --- downloading ---------------------------------------------------------------------------


def _transfer(archive: Archive, part: Path, progress: Advance | None) -> bool:
    """Append what is still lacking; returns whether the file is then complete."""
    tag_file = _tag_file(part)
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(archive.url, headers={"Accept-Encoding": "identity"})
    if done:
        request.add_header("Range", f"bytes={done}-")
        if tag_file.exists():  # else the server sends the whole file anew if it has changed
            request.add_header("If-Range", tag_file.read_text())
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        with error:
            if error.code != 416:
                raise
            if error.headers.get("Content-Range") == f"bytes */{done}":
                return True
        part.unlink()  # longer than the original: it is not a part of it
        return False
    with response:
        resumed = response.status == 206
        if resumed:
            span, _, size = response.headers.get("Content-Range", "").partition("/")
            require(
                size.isdigit() and span == f"bytes {done}-{int(size) - 1}",
                f"{archive.url} sent {span or 'no range'} instead of byte {done} onwards",
            )
            total = int(size)
        else:
            done, total = 0, int(response.headers.get("Content-Length") or 0)
        tag = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        tag_file.unlink(missing_ok=True)
        if tag and not tag.startswith("W/"):  # a weak tag may not be used to go on
            tag_file.write_text(tag)
        if archive.bytes is not None and total:
            require(total == archive.bytes, f"{archive.url} has {total} bytes, not {archive.bytes}")
        _check_space(part.parent, total - done)
        with part.open("ab" if resumed else "wb") as sink:
            while chunk := response.read(_CHUNK_BYTES):
                sink.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
            sink.flush()
            os.fsync(sink.fileno())
    return done == total or not total


def _verify(archive: Archive, part: Path) -> None:
    size = part.stat().st_size
    wrong = archive.bytes is not None and size != archive.bytes
    if not wrong and archive.sha256 is not None:
        with part.open("rb") as source:
            wrong = hashlib.file_digest(source, "sha256").hexdigest() != archive.sha256.lower()
    if wrong:
        part.unlink()
        _tag_file(part).unlink(missing_ok=True)
        raise InputError(
            f"what {archive.url} sent ({size} bytes) is not what its publisher describes, and was "
            "deleted: run again"
        )


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    require(needed <= free, f"{needed} bytes are needed in {folder}, {free} are free")


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + ".tag")


# --- unpacking -----------------------------------------------------------------------------


def _distrust(file: Path, entries: list[zipfile.ZipInfo]) -> None:
    for entry in entries:
        name = entry.filename
        path = PurePosixPath(name)
        require(
            not (path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name),
            f"{file} would write outside its folder ({name!r}): it was not unpacked",
        )
        kind = stat.S_IFMT(entry.external_attr >> 16)
        require(
            kind in (0, stat.S_IFREG),
            f"{file} holds a link or device ({name!r}): it was not unpacked",
        )
    total = sum(entry.file_size for entry in entries)
    require(
        total <= max(_FREE_BYTES, _EXPANSION * file.stat().st_size),
        f"{file} would unpack to {total} bytes, implausibly many: it was not unpacked",
    )


def _is_there(path: Path, entry: zipfile.ZipInfo) -> bool:
    return path.is_file() and path.stat().st_size == entry.file_size


def _within(folder: Path, target: Path) -> None:
    """A link that lies in the folder already must not lead out of it either."""
    require(
        target.parent.resolve().is_relative_to(folder.resolve()),
        f"{target} leads out of {folder}: remove the link",
    )


# --- counting ------------------------------------------------------------------------------


def _counts(images: Images) -> dict[str, tuple[int, ...]]:
    def count(chosen: npt.NDArray[np.bool_]) -> tuple[int, ...]:
        labels = images.labels[chosen]
        return tuple(np.bincount(labels, minlength=len(images.classes)).tolist())

    counts = {"all": count(np.ones(len(images.labels), dtype=bool))}
    if images.split is not None:
        counts = {part: count(images.split == part) for part in PARTS} | counts
    return counts
