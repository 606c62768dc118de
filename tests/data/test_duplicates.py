"""Images that occur more than once are named, and treated as was said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmark.datasets.folder import DATASETS
from PIL import Image

from benchmark.api import Images, InputError
from benchmark.cli import main
from benchmark.data import duplicates, fetch
from benchmark.plan import folds

(folder,) = DATASETS
CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "images" / "duplicates"


def case(name):
    if not CASES.is_dir():
        pytest.skip(f"no cases: {CASES} is missing")
    return replace(folder, argument=str(CASES / name)).read(Path())


def made(labels=(0, 0, 1, 1, 0, 1), same=((0, 1), (2, 4)), **columns):
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8, 1), np.uint8)
    for one, other in same:
        pixels[other] = pixels[one]
    return Images(
        inputs=pixels, labels=np.array(labels), classes=("a", "b"),
        ids=np.array([f"i{k}" for k in range(len(labels))]), **columns,
    )  # fmt: skip


def test_copies_across_parts_are_named_and_dropped_from_train():
    images = case("official")
    told = " ".join(duplicates.treat(images, "group").notes)
    assert "lie in several parts" in told
    assert "test/a" in told
    dropped = duplicates.treat(images, "drop")
    assert not duplicates.identical(dropped).sets
    assert (dropped.split == "test").sum() == (images.split == "test").sum()


def test_copies_with_two_labels_are_named_with_files_and_classes():
    images = case("two-classes")
    found = duplicates.identical(images)
    assert len(found.conflicting()) == 6
    assert any("b/from_a_005.png (b)" in note for note in found.notes(None))
    assert len(duplicates.treat(images, "drop").labels) == 30 - 12


def test_no_fold_divides_copies():
    images = duplicates.treat(case("same-class"), "group")
    assert len(set(images.groups)) == 24
    for parts in folds.split(images, 3, np.random.default_rng(0)).folds:
        for one in ("train", "calibration", "test"):
            inside = set(images.groups[getattr(parts, one)])
            rest = np.setdiff1d(np.arange(len(images.labels)), getattr(parts, one))
            assert not inside & set(images.groups[rest])


def test_groups_that_share_an_image_become_one():
    images = made(groups=np.array(["p", "q", "q", "r", "s", "t"]))
    treated = duplicates.treat(images, "group")
    assert treated.groups.tolist() == ["p", "p", "p", "r", "p", "t"]
    assert duplicates.treat(made(same=()), "group").groups is None


def test_error_refuses_and_ignore_changes_nothing():
    images = made()
    with pytest.raises(InputError, match=r"(?s)i0 = i1.*on_duplicates=error"):
        duplicates.treat(images, "error")
    ignored = duplicates.treat(images, "ignore")
    assert ignored.groups is None
    assert "4 of 6 images are identical to others (2 sets)" in ignored.notes
    with pytest.raises(InputError, match="none of group, drop, error, ignore"):
        replace(folder, on_duplicates="no")


def photographs(n=6):
    """Smooth scenes, as photographs are, and each in another size and encoding."""
    for seed in range(n):
        rough = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
        image = Image.fromarray(rough).resize((120, 90), Image.Resampling.BICUBIC)
        yield image, image.resize((90, 68), Image.Resampling.BILINEAR)


def test_another_size_and_encoding_is_found_and_others_are_not(tmp_path):
    for i, (image, other) in enumerate(photographs()):
        for name in "ab":
            (tmp_path / name).mkdir(exist_ok=True)
        image.save(tmp_path / "a" / f"{i}.png")
        if i < 3:
            other.save(tmp_path / "b" / f"{i}.jpg", quality=80)
        else:
            Image.fromarray(np.random.default_rng(99 + i).integers(0, 256, (9, 9), np.uint8)).save(
                tmp_path / "b" / f"{i}.png"
            )
    report = fetch.check(replace(folder, argument=str(tmp_path)), tmp_path)
    told = " ".join(report.notes)
    assert "no two images are identical" in told
    assert "6 of 12 images are nearly identical to others (3 sets)" in told
    assert "a/0.png (a) = b/0.jpg (b)" in told


def test_check_lists_all_that_cannot_be_read_and_fails(tmp_path, capsys):
    for i, (image, _) in enumerate(photographs()):
        path = tmp_path / "own" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    command = ["data", "check", f"folder:{tmp_path / 'own'}"]
    assert main(command) == 0
    assert "readable, every image" in capsys.readouterr().out
    for i in (0, 3):
        path = next((tmp_path / "own").glob(f"*/{i}.png"))
        path.write_bytes(path.read_bytes()[:3000])
    assert main(command) == 1
    out = capsys.readouterr().out
    assert "a/0.png cannot be read" in out
    assert "b/3.png cannot be read" in out
    assert "note: 2 classes, named by folders: a, b" in out
