"""Downloading, unpacking and checking, against a server on this machine."""

import hashlib
import io
import shutil
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from benchmark.datasets.chaoyang import DATASETS as CHAOYANG
from benchmark.datasets.digits import DATASETS as DIGITS
from benchmark.datasets.kvasir import DATASETS as KVASIR
from benchmark.datasets.medmnist import DATASETS as MEDMNIST

from benchmark.api import Archive, InputError
from benchmark.data import fetch
from tests import trees

(chaoyang,), (digits,), (kvasir,), (medmnist,) = CHAOYANG, DIGITS, KVASIR, MEDMNIST
CONTENT = bytes(range(256)) * 4000


class Server(ThreadingHTTPServer):
    content = CONTENT
    tag = '"one"'
    breaks: list[int]  # after how many bytes to hang up, request by request
    ranges = True
    codes: list[int]
    asked: list[str | None]

    def handle_error(self, *_):
        """A client that hangs up is part of some tests."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append(asked)
        if server.codes:
            return self.send_error(server.codes.pop(0))
        start = 0
        same = self.headers.get("If-Range", server.tag) == server.tag
        if asked and server.ranges and same:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(server.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(server.content)}")
                return self.end_headers()
            self.send_response(206)
            end = len(server.content)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
        else:
            self.send_response(200)
        body = server.content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", server.tag)
        self.end_headers()
        return self.wfile.write(body[: server.breaks.pop(0)] if server.breaks else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: None)
    monkeypatch.setenv("no_proxy", "*")
    with Server(("127.0.0.1", 0), Handler) as server:
        server.breaks, server.codes, server.asked = [], [], []
        server.url = f"http://127.0.0.1:{server.server_port}/data.zip"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_download_arrives_whole_with_progress(server, tmp_path):
    seen = []
    archive = Archive(server.url, len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    fetch.download(archive, tmp_path / "data.zip", lambda *step: seen.append(step))
    assert (tmp_path / "data.zip").read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [p.name for p in tmp_path.iterdir()] == ["data.zip"]
    fetch.download(archive, tmp_path / "data.zip")
    assert len(server.asked) == 1


def test_a_broken_download_goes_on_where_it_broke(server, tmp_path):
    server.breaks = [300_000, 200_000]
    fetch.download(Archive(server.url), tmp_path / "data.zip")
    assert (tmp_path / "data.zip").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-", "bytes=500000-"]


def test_the_next_run_goes_on_too(server, tmp_path):
    server.breaks = [300_000] + [0] * 5
    with pytest.raises(InputError, match="300000 bytes are kept, run again"):
        fetch.download(Archive(server.url), tmp_path / "data.zip")
    assert (tmp_path / "data.zip.part").stat().st_size == 300_000
    assert not (tmp_path / "data.zip").exists()
    fetch.download(Archive(server.url), tmp_path / "data.zip")
    assert (tmp_path / "data.zip").read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=300000-"


def test_a_file_that_changed_meanwhile_is_not_glued_to_the_old_part(server, tmp_path):
    server.breaks = [300_000] + [0] * 5
    with pytest.raises(InputError):
        fetch.download(Archive(server.url), tmp_path / "data.zip")
    server.content, server.tag = CONTENT[::-1], '"two"'
    fetch.download(Archive(server.url), tmp_path / "data.zip")
    assert (tmp_path / "data.zip").read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges_starts_anew(server, tmp_path):
    server.ranges = False
    server.breaks = [300_000]
    fetch.download(Archive(server.url), tmp_path / "data.zip")
    assert (tmp_path / "data.zip").read_bytes() == CONTENT


def test_a_part_that_was_complete_is_taken_and_one_too_long_is_not(server, tmp_path):
    for old in (CONTENT, CONTENT + b"more"):
        (tmp_path / "data.zip.part").write_bytes(old)
        fetch.download(Archive(server.url), tmp_path / "data.zip")
        assert (tmp_path / "data.zip").read_bytes() == CONTENT
        (tmp_path / "data.zip").unlink()


def test_wrong_content_is_deleted_and_said(server, tmp_path):
    with pytest.raises(InputError, match="not what its publisher describes"):
        fetch.download(Archive(server.url, sha256="0" * 64), tmp_path / "data.zip")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="has 1024000 bytes, not 5"):
        fetch.download(Archive(server.url, bytes=5), tmp_path / "data.zip")


def test_refusals_are_final_and_failures_are_tried_again(server, tmp_path):
    server.codes = [404]
    with pytest.raises(InputError, match="answers 404"):
        fetch.download(Archive(server.url), tmp_path / "data.zip")
    server.codes = [503, 500]
    fetch.download(Archive(server.url), tmp_path / "data.zip")
    assert (tmp_path / "data.zip").read_bytes() == CONTENT


def test_only_the_web_is_asked(tmp_path):
    with pytest.raises(InputError, match="no web address"):
        fetch.download(Archive("file:///etc/hostname"), tmp_path / "data.zip")


def test_no_network_is_one_message_at_once(server, tmp_path, monkeypatch):
    server.shutdown()
    server.server_close()
    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: pytest.fail("it waits"))
    dataset = replace(kvasir, archive=Archive(server.url))
    message = rf"{server.url} could not be downloaded .*refused.*by hand: Put labeled-images/ of"
    with pytest.raises(InputError, match=message):
        fetch.prepare(dataset, tmp_path)


def test_a_medmnist_set_is_fetched_as_it_is(server, tmp_path):
    dataset = replace(medmnist, name="medmnist/x_64", argument="x_64")
    assert dataset.archive.url.endswith("/x_64.npz")
    parts = {f"{part}_images": np.zeros((4, 8, 8), np.uint8) for part in ("train", "val", "test")}
    labels = {f"{part}_labels": np.array([[0], [1]] * 2) for part in ("train", "val", "test")}
    np.savez(buffer := io.BytesIO(), **parts, **labels)
    server.content, url = buffer.getvalue(), server.url.replace("data.zip", "x_64.npz")
    object.__setattr__(dataset, "archive", replace(dataset.archive, url=url))
    with pytest.raises(InputError, match=r"no .*x_64\.npz\. Put NAME\.npz .*`data prepare"):
        dataset.read(tmp_path)
    assert server.asked == []  # reading never downloads
    assert fetch.prepare(dataset, tmp_path).counts["all"] == (6, 6)
    assert fetch.prepare(dataset, tmp_path).problems == ()
    assert len(server.asked) == 1


# --- unpacking -----------------------------------------------------------------------------


def zipped(file, entries):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return file


def link(name, target):
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = 0o120777 << 16
    return entry, target


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([("good.txt", b"1"), ("../evil.txt", b"1")], "outside its folder"),
        ([("a/../../evil.txt", b"1")], "outside its folder"),
        ([("/tmp/evil.txt", b"1")], "outside its folder"),
        ([("..\\evil.txt", b"1")], "outside its folder"),
        ([("C:evil.txt", b"1")], "outside its folder"),
        ([link("out", "/etc"), ("out/evil.txt", b"1")], "link or device"),
        ([("bomb", b"\0" * (3 * 2**20))], "implausibly many"),
    ],
)
def test_a_malicious_archive_writes_nothing(tmp_path, monkeypatch, entries, message):
    monkeypatch.setattr(fetch, "_FREE_BYTES", 2**20)
    file = zipped(tmp_path / "evil.zip", entries)
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    with pytest.raises(InputError, match=message):
        fetch.unpack(file, inside)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "b", "evil.zip"]


def test_an_entry_that_lies_about_its_size_is_refused(tmp_path):
    file = zipped(tmp_path / "lie.zip", [("bomb", b"\0" * 2**20)])
    content = file.read_bytes()
    file.write_bytes(content.replace((2**20).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="is damaged"):
        fetch.unpack(file, tmp_path / "in")
    assert all(p.stat().st_size <= 10 for p in (tmp_path / "in").iterdir())


def test_a_link_that_lies_in_the_folder_is_not_followed_out(tmp_path):
    outside, inside = tmp_path / "outside", tmp_path / "in"
    outside.mkdir()
    inside.mkdir()
    (inside / "door").symlink_to(outside)
    with pytest.raises(InputError, match="leads out of"):
        fetch.unpack(zipped(tmp_path / "a.zip", [("door/evil.txt", b"1")]), inside)
    assert not list(outside.iterdir())


def test_a_damaged_archive_is_said(tmp_path):
    file = zipped(tmp_path / "a.zip", [("a.txt", bytes(range(256)) * 99)])
    content = bytearray(file.read_bytes())
    content[60:80] = b"\xff" * 20
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.zip is damaged.*delete it"):
        fetch.unpack(file, tmp_path)
    file.write_bytes(b"no archive at all")
    with pytest.raises(InputError, match="is damaged"):
        fetch.unpack(file, tmp_path)


def test_unpacking_again_writes_only_what_is_missing(tmp_path):
    file = zipped(tmp_path / "a.zip", [("d/one.txt", b"one"), ("d/two.txt", b"two")])
    inside = tmp_path / "in"
    inside.mkdir()
    fetch.unpack(file, inside)
    (inside / "d" / "one.txt").unlink()
    (inside / "d" / "two.txt").write_bytes(b"own")
    seen = []
    fetch.unpack(file, inside, lambda *step: seen.append(step))
    assert (inside / "d" / "one.txt").read_bytes() == b"one"
    assert (inside / "d" / "two.txt").read_bytes() == b"own"
    assert seen == [(3, 6), (6, 6)]


def test_too_little_space_is_said_before_anything_is_written(tmp_path, monkeypatch):
    file = zipped(tmp_path / "a.zip", [("a.txt", b"1" * 1000)])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 10))
    with pytest.raises(InputError, match="1000 bytes are needed"):
        fetch.unpack(file, tmp_path)
    assert not (tmp_path / "a.txt").exists()


# --- the two commands ----------------------------------------------------------------------


def test_prepare_downloads_unpacks_and_checks(server, tmp_path):
    labeled = trees.kvasir(tmp_path / "made")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in labeled.rglob("*.*"):
            archive.write(path, path.relative_to(labeled.parent))
    server.content, server.breaks = buffer.getvalue(), [1000]
    dataset = replace(kvasir, archive=Archive(server.url), known_counts={})
    root = tmp_path / "data"
    report = fetch.prepare(dataset, root)
    assert report.problems == ()
    assert sum(report.counts["all"]) == sum(n for _, _, n in trees.KVASIR.values())
    assert [p.name for p in (root / "kvasir").iterdir()] == ["labeled-images"]
    asked = len(server.asked)
    assert fetch.prepare(dataset, root).problems == ()  # there already: nothing is asked
    assert len(server.asked) == asked

    next((root / "kvasir").rglob("*.jpg")).unlink()  # damaged later: fetched anew
    assert fetch.prepare(dataset, root).problems == ()
    assert len(server.asked) == asked + 1


def test_prepare_says_how_to_get_what_may_not_be_downloaded(tmp_path):
    with pytest.raises(InputError, match=r"On request.*HSA-NRL.*chaoyang/ in the data root"):
        fetch.prepare(chaoyang, tmp_path)
    assert fetch.prepare(digits, tmp_path).problems == ()


def test_a_full_disk_keeps_what_was_downloaded(server, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetch.os, "fsync", full)
    dataset = replace(kvasir, archive=Archive(server.url))
    with pytest.raises(InputError, match=r"No space left on device.*run again"):
        fetch.prepare(dataset, tmp_path)
    assert (tmp_path / "kvasir" / "data.zip.part").exists()


def test_check_compares_every_class_with_the_published_counts(tmp_path):
    folder = trees.chaoyang(tmp_path, per_class=10)
    known = {"train": (8,) * 4, "calibration": (2,) * 4, "test": (5, 5, 6, 4)}
    dataset = replace(chaoyang, known_counts=known)
    report = fetch.check(dataset, tmp_path)
    assert report.counts["train"] == (8, 8, 8, 8)
    assert report.counts["all"] == (15, 15, 15, 15)
    assert report.problems == (
        "class 'adenocarcinoma': 5 images in test, 6 expected (1 missing)",
        "class 'adenoma': 5 images in test, 4 expected (1 too many)",
    )
    (gone,) = list((folder / "train").iterdir())[:1]
    gone.unlink()
    assert f"1 image files are missing, such as {gone}" in fetch.check(dataset, tmp_path).problems


def test_the_report_reads_well(tmp_path):
    trees.chaoyang(tmp_path, per_class=5)
    known = {"train": (4,) * 4, "calibration": (1,) * 4, "test": (2,) * 4}
    lines = str(fetch.check(replace(chaoyang, known_counts=known), tmp_path)).splitlines()
    assert lines[0] == "chaoyang        train  calibration  test  all"
    assert lines[3] == "adenocarcinoma      4            1     2    7"
    assert lines[5] == "sum                16            4     8   28"
    assert lines[6] == "complete: the counts are as published"
    known["test"] = (2, 2, 2, 3)
    report = fetch.check(replace(chaoyang, known_counts=known), tmp_path)
    assert not report.complete
    assert str(report).endswith("class 'adenoma': 2 images in test, 3 expected (1 missing)")
    assert "no published counts" in str(fetch.check(replace(chaoyang, known_counts={}), tmp_path))


def test_prepare_says_what_is_missing_from_what_is_there(server, tmp_path):
    trees.chaoyang(tmp_path)
    with pytest.raises(InputError, match=r"(?s)880 missing.*On request: ask"):
        fetch.prepare(chaoyang, tmp_path)
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        archive.writestr("labeled-images/nothing.txt", "")
    server.content = buffer.getvalue()
    trees.kvasir(tmp_path)
    with pytest.raises(InputError, match=r"(?s)missing.*data\.zip was unpacked, but is not as"):
        fetch.prepare(replace(kvasir, archive=Archive(server.url)), tmp_path)


def test_check_of_fewer_classes_says_so(tmp_path):
    trees.chaoyang(tmp_path)
    dataset = replace(chaoyang, known_counts={"all": (1, 2, 3)})
    assert fetch.check(dataset, tmp_path).problems == ("4 classes found, 3 expected",)
