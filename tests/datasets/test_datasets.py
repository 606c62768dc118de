"""The data sets read official layouts as they are, and say what is missing."""

import ast
import csv
import importlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmark.datasets.chaoyang import DATASETS as CHAOYANG
from benchmark.datasets.csv import DATASETS as CSV
from benchmark.datasets.digits import DATASETS as DIGITS
from benchmark.datasets.folder import DATASETS as FOLDER
from benchmark.datasets.kvasir import DATASETS as KVASIR
from benchmark.datasets.medmnist import DATASETS as MEDMNIST
from benchmark.datasets.simulated import DATASETS as SIMULATED
from PIL import Image

import benchmark.datasets
from benchmark.api import InputError
from benchmark.plan import folds
from tests import trees

(chaoyang,), (kvasir,), (medmnist,) = CHAOYANG, KVASIR, MEDMNIST
(digits,), (simulated,), (folder,), (table,) = DIGITS, SIMULATED, FOLDER, CSV


FILES = sorted(Path(benchmark.datasets.__path__[0]).glob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_file_is_short_says_its_terms_and_imports_only_the_api(file):
    text = file.read_text()
    assert len(text.splitlines()) <= 80
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert not str(node.module).startswith("benchmark.") or node.module.startswith(
                "benchmark.api"
            )
    for dataset in importlib.import_module(f"benchmark.datasets.{file.stem}").DATASETS:
        for words in (dataset.summary, dataset.paper, dataset.licence, dataset.access):
            assert words.strip() == words != ""


def test_digits_are_scikit_learns(tmp_path):
    samples = digits.read(tmp_path)
    assert samples.inputs.shape == (1797, 8, 8, 1)
    assert samples.inputs.dtype == np.uint8
    assert set(np.unique(samples.inputs)) == {round(k * 255 / 16) for k in range(17)}
    assert tuple(np.bincount(samples.labels)) == digits.known_counts["all"]
    assert digits.preset == simulated.preset == "quick"


# --- simulated -----------------------------------------------------------------------------


def test_the_posterior_is_calibrated_against_drawn_labels():
    # Where the posterior says p, the class occurs with frequency p: for every class, in each of
    # ten bins of p, the standardised difference is that of chance.
    draws = [simulated.draw(number) for number in range(6)]
    posterior = np.concatenate([d.posterior for d in draws])
    labels = np.concatenate([d.labels for d in draws])
    hits = np.eye(4)[labels].ravel()
    p = posterior.ravel()
    bins = np.minimum((p * 10).astype(int), 9)
    variance = np.bincount(bins, p * (1 - p))
    z = np.bincount(bins, hits - p) / np.sqrt(variance)
    assert np.abs(z).max() < 3.5
    np.testing.assert_allclose(posterior.sum(1), 1, atol=1e-12)


def test_the_posterior_of_stored_pixels_equals_one_worked_by_hand(monkeypatch):
    # One pixel, two prototypes a class, noise 10: the mass of each stored value, ends included,
    # is counted from a million draws made in the way that images are made.
    from benchmark.datasets import simulated as module

    monkeypatch.setattr(module, "CLASSES", 2)
    monkeypatch.setattr(module, "PROTOTYPES", 2)
    prototypes = np.array([[240.0], [250.3], [247.0], [262.0]])
    values = np.array([[238], [250], [255]], dtype=np.uint8)
    posterior = module._posterior(values, prototypes, 10.0)
    noise = np.random.default_rng(0).normal(0, 10, 1_000_000)
    stored = [np.clip(np.rint(m + noise), 0, 255) for m in prototypes[:, 0]]
    mass = np.array([[(s == v).mean() for s in stored] for v in values[:, 0]])
    by_class = mass.reshape(3, 2, 2).sum(2)
    np.testing.assert_allclose(posterior, by_class / by_class.sum(1, keepdims=True), atol=0.006)


def test_the_best_possible_accuracy_is_about_ninety_percent():
    accuracies = []
    for number in range(3):
        draw = simulated.draw(number)
        test = draw.split == "test"
        assert test.sum() == 2500
        assert (draw.split == "calibration").sum() == 500
        accuracies.append((draw.posterior[test].argmax(1) == draw.labels[test]).mean())
    assert 0.88 < np.mean(accuracies) < 0.92


def test_draws_are_independent_and_repeatable_around_fixed_prototypes(tmp_path):
    one, again, other = simulated.draw(1), simulated.draw(1), simulated.draw(2)
    np.testing.assert_array_equal(one.inputs, again.inputs)
    assert not (one.inputs == other.inputs).all((1, 2, 3)).any()
    assert not set(one.ids) & set(other.ids)
    np.testing.assert_array_equal(simulated.read(tmp_path).inputs, simulated.draw(0).inputs)
    # With 4000 images each class mean is known to 37 / sqrt(1000) = 1.2 grey levels.
    for c in range(4):
        means = [d.inputs[d.labels == c].mean(0) for d in (one, other)]
        assert np.abs(means[0] - means[1]).mean() < 2.5


def test_the_posterior_stays_right_far_from_the_prototypes():
    # With little noise the mass of a stored value lies in a tail where 1 - cdf is rounded to 0.
    precise = replace(simulated, noise=4.0).draw(0)
    assert (precise.posterior.argmax(1) == precise.labels).mean() > 0.999
    assert np.isfinite(precise.posterior).all()
    with pytest.raises(InputError, match="above zero"):
        replace(simulated, noise=0.0).draw(0)


# --- Chaoyang ------------------------------------------------------------------------------


def test_chaoyangs_official_layout_is_read(tmp_path):
    root = trees.chaoyang(tmp_path, per_class=20).parent
    samples = chaoyang.read(root)
    assert samples.classes == ("normal", "serrated", "adenocarcinoma", "adenoma")
    assert np.bincount(samples.labels).tolist() == [30] * 4
    for part, each in (("train", 16), ("calibration", 4), ("test", 10)):
        assert np.bincount(samples.labels[samples.split == part]).tolist() == [each] * 4
    assert all(name.startswith("test/") for name in samples.ids[samples.split == "test"])
    assert set(samples.groups[samples.labels == 0]) == {"353042_1", "353046_2", "353050_3"}
    assert set(samples.groups[samples.labels == 1]) == {"353043-2", "353047-3", "353051-1"}
    assert all(path.is_file() for path in samples.inputs)
    (note,) = folds.official(samples, np.random.default_rng(0)).notes
    assert "optimistic about new groups" in note


def test_chaoyangs_calibration_part_has_the_known_class_counts(tmp_path):
    # The class counts of the real train part, without its images.
    (tmp_path / "chaoyang").mkdir()
    for part, counts in (("train", (1111, 842, 1404, 664)), ("test", (705, 321, 840, 273))):
        labels = np.random.default_rng(0).permutation(np.repeat(np.arange(4), counts))
        entries = [{"name": f"{part}/{i}-IMG1.JPG", "label": int(c)} for i, c in enumerate(labels)]
        (tmp_path / "chaoyang" / f"{part}_label.json").write_text(json.dumps(entries))
    samples = chaoyang.read(tmp_path)
    for part, counts in chaoyang.known_counts.items():
        assert tuple(np.bincount(samples.labels[samples.split == part])) == counts
    again = chaoyang.read(tmp_path)
    np.testing.assert_array_equal(samples.split, again.split)


def test_chaoyang_takes_ones_own_split(tmp_path):
    trees.chaoyang(tmp_path)
    everything = chaoyang.read(tmp_path)
    chosen = everything.ids[[3, 17, 40]]
    (tmp_path / "val.csv").write_text("image_id,label\n" + "".join(f"{n},0\n" for n in chosen))
    samples = replace(chaoyang, split=str(tmp_path / "val.csv")).read(tmp_path)
    assert set(samples.ids[samples.split == "calibration"]) == set(chosen)
    (tmp_path / "val.csv").write_text("image_id\ntest/none.JPG\n")
    with pytest.raises(InputError, match=r"test/none\.JPG.* no image_id of Chaoyang's train"):
        replace(chaoyang, split=str(tmp_path / "val.csv")).read(tmp_path)
    with pytest.raises(InputError, match="No such file"):
        replace(chaoyang, split="nowhere.csv").read(tmp_path)


def test_chaoyangs_mistakes_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no .*chaoyang/train\.json.*On request: ask"):
        chaoyang.read(tmp_path)
    place = trees.chaoyang(tmp_path)
    (place / "train.json").write_text('[{"name": "train/a-IMG1.JPG"}]')
    with pytest.raises(InputError, match=r"train\.json is not a list of names and labels"):
        chaoyang.read(tmp_path)
    entries = json.loads((place / "test.json").read_text())
    (place / "train.json").write_text(json.dumps([e | {"label": 4} for e in entries]))
    with pytest.raises(InputError, match=r"label 4 .* does not fit the 4 classes"):
        chaoyang.read(tmp_path)


# --- HyperKvasir ---------------------------------------------------------------------------


def test_kvasirs_official_layout_is_read_and_split_as_in_the_paper(tmp_path):
    from sklearn.model_selection import train_test_split

    trees.kvasir(tmp_path)
    samples = kvasir.read(tmp_path)
    assert samples.classes == tuple(sorted(trees.KVASIR))
    assert tuple(np.bincount(samples.labels)) == tuple(n for *_, n in trees.KVASIR.values())
    for path, label in zip(samples.inputs, samples.labels):
        assert path.parent.name == samples.classes[label]
    # The paper's rule, on names instead of rows: test first, then validation.
    n = len(samples.ids)
    rest, test, rest_labels, _ = train_test_split(
        samples.ids, samples.labels, test_size=n // 5, random_state=0, stratify=samples.labels
    )
    _, validation = train_test_split(rest, test_size=n // 5, random_state=0, stratify=rest_labels)
    assert set(samples.ids[samples.split == "test"]) == set(test)
    assert set(samples.ids[samples.split == "calibration"]) == set(validation)


def test_kvasirs_known_counts_are_those_of_its_rule(tmp_path):
    from benchmark.datasets.kvasir import _paper_split

    sizes = np.sum(list(kvasir.known_counts.values()), axis=0)
    assert sizes.sum() == 10_662
    assert sizes.min() == 6
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(23), sizes))
    parts = _paper_split(labels)
    assert [int((parts == part).sum()) for part in kvasir.known_counts] == [6398, 2132, 2132]
    for part, counts in kvasir.known_counts.items():
        assert tuple(np.bincount(labels[parts == part])) == counts


def test_kvasir_is_found_where_it_was_unpacked_by_hand(tmp_path):
    made = trees.kvasir(tmp_path / "made")
    made.rename(tmp_path / "labeled-images")
    assert len(kvasir.read(tmp_path).labels) == 239


def test_kvasirs_mistakes_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no HyperKvasir in .*/kvasir\. Put .* or run `data prep"):
        kvasir.read(tmp_path)
    place = trees.kvasir(tmp_path)
    gone = next(place.rglob("*.jpg"))
    gone.unlink()
    with pytest.raises(InputError, match=rf"1 of 239 images, such as \['{gone.stem}'\]"):
        kvasir.read(tmp_path)
    (place / "image-labels.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"image-labels\.csv lacks"):
        kvasir.read(tmp_path)


# --- MedMNIST ------------------------------------------------------------------------------


def medmnist_file(path, shape=(28, 28), labels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {}
    for part, n in (("train", 20), ("val", 6), ("test", 8)):
        columns[f"{part}_images"] = np.zeros((n, *shape), np.uint8)
        columns[f"{part}_labels"] = np.tile(np.arange(n)[:, None] % 2, (1, labels)).astype(np.uint8)
    np.savez(path, **columns)


def test_pneumoniamnist_is_read(shared_data):
    samples = replace(medmnist, argument="pneumoniamnist").read(shared_data)
    assert samples.inputs.shape == (5856, 28, 28, 1)
    assert samples.classes == ("normal", "pneumonia")
    for part, n in (("train", 4708), ("calibration", 524), ("test", 624)):
        assert (samples.split == part).sum() == n
    cut = folds.split(samples, 5, np.random.default_rng(0))
    assert cut.notes == ()
    assert {len(fold.test) for fold in cut.folds} <= {1171, 1172}


@pytest.mark.parametrize("place", ["medmnist/x_64.npz", "x_64.npz", "x_64/x_64.npz"])
def test_medmnist_files_are_found_and_colour_is_kept(tmp_path, place):
    medmnist_file(tmp_path / place, shape=(64, 64, 3))
    samples = replace(medmnist, argument="x_64").read(tmp_path)
    assert samples.inputs.shape == (34, 64, 64, 3)
    assert samples.classes == ("0", "1")
    assert samples.ids[20] == "calibration/000000"


def test_medmnists_mistakes_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(InputError, match=r"write medmnist/NAME"):
        medmnist.read(tmp_path)
    with pytest.raises(InputError, match=r"no .*/medmnist/none\.npz.*medmnist\.com"):
        replace(medmnist, argument="none").read(tmp_path)
    medmnist_file(tmp_path / "chest.npz", labels=14)
    medmnist_file(tmp_path / "volume.npz", shape=(28, 28, 28))
    for name in ("chest", "volume"):
        with pytest.raises(InputError, match="does not hold 2-D images with one label each"):
            replace(medmnist, argument=name).read(tmp_path)
    (tmp_path / "bad.npz").write_bytes(b"PK nothing")
    with pytest.raises(InputError, match=r"bad\.npz is not a MedMNIST file"):
        replace(medmnist, argument="bad").read(tmp_path)


# --- one's own images ----------------------------------------------------------------------


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4)).save(path)


def test_a_folder_holds_one_folder_per_class(tmp_path):
    for name in ("b/1.png", "b/deeper/2.PNG", "a/1.jpg", "a/.hidden.png", ".cache/1.png"):
        picture(tmp_path / "own" / name)
    (tmp_path / "own" / "a" / "notes.txt").write_text("no image")
    for argument in ("own", str(tmp_path / "own")):
        samples = replace(folder, argument=argument).read(tmp_path)
        assert samples.classes == ("a", "b")
        assert samples.ids.tolist() == ["a/1.jpg", "b/1.png", "b/deeper/2.PNG"]
        assert samples.labels.tolist() == [0, 1, 1]
        assert samples.split is None


@pytest.mark.parametrize("calibration", ["val", "dev"])
def test_a_folder_of_parts_brings_its_official_split(tmp_path, calibration):
    for part in ("train", calibration, "test"):
        for name in ("a", "b"):
            picture(tmp_path / part / name / "1.png")
    samples = replace(folder, argument=str(tmp_path)).read(tmp_path)
    assert samples.classes == ("a", "b")
    assert sorted(samples.split) == ["calibration"] * 2 + ["test"] * 2 + ["train"] * 2
    assert len(set(samples.ids)) == 6


def test_a_folders_mistakes_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no folder .*nowhere"):
        replace(folder, argument="nowhere").read(tmp_path)
    with pytest.raises(InputError, match="write folder:PATH"):
        folder.read(tmp_path)
    with pytest.raises(InputError, match="no class folders"):
        replace(folder, argument=str(tmp_path)).read(tmp_path)
    picture(tmp_path / "a" / "1.png")
    (tmp_path / "b").mkdir()
    with pytest.raises(InputError, match=r"no images in class folders \['b'\]"):
        replace(folder, argument=str(tmp_path)).read(tmp_path)
    for part in ("train", "test"):
        picture(tmp_path / "parts" / part / "1.png")
    with pytest.raises(InputError, match=r"no class folders in .*parts"):
        replace(folder, argument=str(tmp_path / "parts")).read(tmp_path)


def listed(path, header, *rows):
    with path.open("w", newline="") as lines:
        csv.writer(lines).writerows([header, *rows])
    return replace(table, argument=str(path))


def test_ham10000_is_read_with_lesions_as_groups(shared_data):
    path = shared_data / "ham10000_112" / "labels.csv"
    samples = replace(table, argument=str(path), group="lesion_id").read(shared_data)
    assert samples.classes == ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
    assert len(samples.labels) == 10_015
    assert len(set(samples.groups)) == 7470
    assert (samples.split == "calibration").sum() == 1495
    assert folds.official(samples, np.random.default_rng(0)).notes == ()
    for fold in folds.split(samples, 5, np.random.default_rng(0)).folds:
        assert not set(samples.groups[fold.test]) & set(samples.groups[fold.train])
        assert not set(samples.groups[fold.test]) & set(samples.groups[fold.calibration])
        assert not set(samples.groups[fold.train]) & set(samples.groups[fold.calibration])
    changes = {"label": "label", "split": "none", "group": "none"}
    numbered = replace(table, argument=str(path), **changes).read(shared_data)
    np.testing.assert_array_equal(numbered.labels, samples.labels)
    assert numbered.split is numbered.groups is None


def test_a_table_finds_its_columns_and_sorts_numbers_as_numbers(tmp_path):
    rows = (["x/1.png", "10", "p", "train"], ["x/2.png", "9", "q", "VALID"])
    samples = listed(tmp_path / "t.csv", ["image", "label", "group", "split"], *rows).read(tmp_path)
    assert samples.classes == ("9", "10")
    assert samples.labels.tolist() == [1, 0]
    assert samples.inputs == (tmp_path / "x/1.png", tmp_path / "x/2.png")
    assert samples.groups.tolist() == ["p", "q"]
    assert samples.split.tolist() == ["train", "calibration"]


@pytest.mark.parametrize("name", ["calibration", "val", "validation", "valid", "cal", "dev"])
def test_tables_and_folders_know_all_names_of_the_calibration_part(tmp_path, name):
    rows = [[f"{i}.png", "ab"[i % 2], part] for i, part in enumerate(("train", name, "test"))]
    samples = listed(tmp_path / "t.csv", ["file", "label", "split"], *rows).read(tmp_path)
    assert samples.split.tolist() == ["train", "calibration", "test"]
    for part in ("train", name, "test"):
        picture(tmp_path / "own" / part / "a" / "1.png")
        picture(tmp_path / "own" / part / "b" / "1.png")
    samples = replace(folder, argument="own").read(tmp_path)
    assert sorted(samples.split) == sorted(2 * ["train", "calibration", "test"])
    assert samples.classes == ("a", "b")


def test_a_tables_mistakes_are_named(tmp_path):
    path = tmp_path / "t.csv"
    with pytest.raises(InputError, match=r"no file 'nowhere.csv'\. Write csv:PATH"):
        replace(table, argument="nowhere.csv").read(tmp_path)
    with pytest.raises(InputError, match="no rows"):
        listed(path, ["file", "label"]).read(tmp_path)
    with pytest.raises(InputError, match=r"no column class_name or .* csv:PATH\[label=COLUMN\]"):
        listed(path, ["file", "kind"], ["1.png", "a"]).read(tmp_path)
    one = ["1.png", "a", "s"]
    with pytest.raises(InputError, match=r"no column patient: .* \['file', 'label', 'slide'\]"):
        replace(listed(path, ["file", "label", "slide"], one), group="patient").read(tmp_path)
    with pytest.raises(InputError, match=r"no label in row \[3\]"):
        listed(path, ["file", "label", "slide"], one, ["2.png", "", "s"]).read(tmp_path)
    with pytest.raises(InputError, match=r"'s'.* in the split are none of"):
        replace(listed(path, ["file", "label", "slide"], one), split="slide").read(tmp_path)
    with pytest.raises(InputError, match=r"'1\.png'.* occurs more than once"):
        listed(path, ["file", "label"], one[:2], ["1.png", "b"]).read(tmp_path)
    path.write_bytes(b"file,label\n\xff\xfe,1\n")
    with pytest.raises(InputError, match="not a CSV file in UTF-8"):
        replace(table, argument=str(path)).read(tmp_path)
