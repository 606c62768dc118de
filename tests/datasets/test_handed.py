"""What people hand in is understood, or refused with both readings; never understood wrongly."""

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmark.datasets.csv import DATASETS as CSV
from benchmark.datasets.folder import DATASETS as FOLDER
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import benchmark
from benchmark.api import InputError
from benchmark.api.handed.names import alike, part_of, plain
from benchmark.plan import registry
from benchmark.running.reading import replicates
from benchmark.running.request import Request

(folder,), (table,) = FOLDER, CSV
CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "images"


@pytest.fixture
def cases():
    if not CASES.is_dir():
        pytest.skip(f"no cases: {CASES} is missing")
    return CASES


def picture(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 6), np.uint8)).save(path)


def tree(root, *names):
    for seed, name in enumerate(names):
        picture(root / name, seed)
    return root


def read(path, **options):
    return replace(folder, argument=str(path), **options).read(Path())


def listed(path, **options):
    return replace(table, argument=str(path), **options).read(Path())


def parts_of(images):
    names, counts = np.unique(images.split, return_counts=True)
    return dict(zip(names.tolist(), counts.tolist()))


# --- folders: the cases --------------------------------------------------------------------


def test_training_and_testing_are_parts(cases):
    images = read(cases / "folder-training-testing")
    assert images.classes == ("a", "b", "c")
    assert parts_of(images) == {"train": 36, "test": 24}
    assert any("train from training, test from testing" in note for note in images.notes)


@pytest.mark.parametrize("case", ["x", "y", "z"])
def test_hidden_folders_hold_no_images_and_folders_are_none(cases, case):
    images = read(cases / "hidden-checkpoints" / case)
    assert np.bincount(images.labels).tolist() == [12, 12]
    assert any("hidden or system" in note for note in images.notes)


@pytest.mark.parametrize("case", ["x", "y", "z"])
def test_images_of_any_ending_and_without_one_are_read(cases, case):
    images = read(cases / "extensions" / case)
    said = any("6 files without an ending" in note for note in images.notes)
    assert np.bincount(images.labels).tolist() == [12, 12]
    assert said == (case == "y")


def test_a_file_that_stands_for_a_link_is_counted(cases):
    images = read(cases / "symlinks" / "y")  # its links became files of text in this copy
    linked = np.bincount(images.labels).tolist() == [24, 12]
    assert linked or any("left out: 1 file" in note for note in images.notes)


def test_links_are_followed_and_loops_found(tmp_path):
    tree(tmp_path / "src", "a1/1.png", "b1/2.png")
    own = tmp_path / "own"
    (own / "a").mkdir(parents=True)
    (own / "a" / "site").symlink_to(tmp_path / "src" / "a1")
    (own / "b").symlink_to(tmp_path / "src" / "b1")
    (own / "a" / "again").symlink_to(own)
    images = read(own)
    assert images.ids.tolist() == ["a/site/1.png", "b/2.png"]
    assert any("links that lead to a folder above them (a/again)" in n for n in images.notes)


# --- folders: layouts ----------------------------------------------------------------------

SPELLINGS = {
    "train": ("train", "Training", "TRAIN", "train_set", "TrainData", "1-train", "trainset"),
    "calibration": ("val", "Valid", "VALIDATION", "dev", "cal", "val images"),
    "test": ("test", "Testing", "TEST", "test-set", "TestImages", "2_test"),
}
NAMES = st.lists(
    st.sampled_from(("benign", "Malign", "no tumor", "3", "ä", "class.x", "naevus", "trainer")),
    min_size=2, max_size=4, unique=True,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    NAMES,
    st.fixed_dictionaries({part: st.sampled_from(SPELLINGS[part]) for part in SPELLINGS}),
    st.booleans(),
    st.sampled_from(("", "images/", "a/b/")),
    st.sampled_from(("", "images/")),
    st.sampled_from(("", "site/", "p1/deep/")),
    st.booleans(),
    st.sampled_from(("", "chest-", "seg_", "Set of ")),
)
def test_every_spelling_of_parts_at_every_depth(
    classes, spelt, with_val, above, between, below, classes_outside, shared
):
    parts = [part for part in SPELLINGS if with_val or part != "calibration"]
    if not classes_outside and not any(map(str.isdigit, "".join(spelt.values()))):
        spelt = {part: shared + name for part, name in spelt.items()}
    with tempfile.TemporaryDirectory() as root:
        truth = {}
        for part in parts:
            for name in classes:
                pair = (
                    (name, spelt[part]) if classes_outside else (spelt[part] + "/" + between, name)
                )
                where = "/".join((above + pair[0], pair[1], below + "1.png")).replace("//", "/")
                picture(Path(root, where))
                truth[where] = part, name
        images = read(root)
        found = {
            i: (s, images.classes[c]) for i, s, c in zip(images.ids, images.split, images.labels)
        }
        assert found == truth


@pytest.mark.parametrize(
    "names",
    [
        ("train/a/1.png", "train/b/2.png", "test/a/3.png", "test/b/4.png", "extra/a/5.png"),
        ("seg_train/a/1.png", "seg_train/b/2.png", "seg_test/a/3.png", "seg_pred/4.png"),
        ("f1_train/a/1.png", "f1_train/b/2.png", "f2_test/a/3.png", "f2_test/b/4.png"),
        ("train_val/a/1.png", "train_val/b/2.png", "train/a/3.png", "test/b/4.png"),
        ("nan/1.png", "b/2.png"),
        ("train/a/1.png", "train/b/2.png", "eval/a/3.png", "eval/b/4.png"),
        ("site1/a/1.png", "site1/b/2.png", "site2/a/3.png", "site2/b/4.png"),
        ("cat/1.png", "dog/2.png", "test/3.png"),
        ("cat/1.png", "dog/2.png", "holdout/3.png"),
        ("images/a/1.png", "images/b/2.png", "masks/3.png"),
        ("train/a/1.png", "train/b/2.png", "test/c/3.png", "test/d/4.png"),
        ("train/s1/a/1.png", "train/s1/b/2.png", "train/s2/a/3.png", "train/s2/b/4.png",
         "test/s1/a/5.png", "test/s1/b/6.png", "test/s2/a/7.png"),
        ("a/x/train/1.png", "a/x/test/2.png", "b/3.png"),
        ("train/1.png", "test/2.png"),
        ("train/a/1.png", "train/b/2.png", "test/3.png"),
    ],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_is_refused_and_says_how_to_say_which(tmp_path, names):
    tree(tmp_path, *names)
    with pytest.raises(InputError, match=r"add \[layout=|Name the class|move"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["train_val", "TrainVal", "train-valid"])
def test_train_and_val_together_are_train_where_nothing_else_is(tmp_path, name):
    tree(tmp_path, f"{name}/a/1.png", f"{name}/b/2.png", "test/a/3.png", "test/b/4.png")
    images = read(tmp_path)
    assert (images.classes, set(images.split)) == (("a", "b"), {"train", "test"})
    assert f"parts, named by folders: train from {name}, test from test" in images.notes


def test_layout_says_which(tmp_path):
    tree(tmp_path, "s1/a/1.png", "s1/b/2.png", "s2/a/3.png", "s2/b/4.png")
    assert read(tmp_path, layout="classes").classes == ("s1", "s2")
    inner = read(tmp_path, layout="inner")
    assert (inner.classes, inner.labels.tolist()) == (("a", "b"), [0, 1, 0, 1])
    with pytest.raises(InputError, match="none of classes, parts, inner"):
        read(tmp_path, layout="outer")


def test_names_that_only_remind_of_parts_stay_classes(tmp_path):
    tree(tmp_path, "bus/1.png", "train/2.png", "car/3.png")
    images = read(tmp_path)
    assert images.classes == ("bus", "car", "train")
    assert any("train is read as a class" in note for note in images.notes)
    tree(tmp_path / "own", "testis/1.png", "lung/p1/2.png", "lung/p2/3.png", "testis/p9/3.png")
    assert read(tmp_path / "own").classes == ("lung", "testis")


def test_classes_that_are_alike_are_named(tmp_path):
    tree(tmp_path, "train/Benign/1.png", "train/mal/2.png", "test/benign/3.png", "test/mal/4.png")
    with pytest.raises(InputError, match=r"'Benign' and 'benign'.*similar=merge"):
        read(tmp_path)
    assert read(tmp_path, similar="merge").classes == ("Benign", "mal")
    assert read(tmp_path, similar="keep").classes == ("Benign", "benign", "mal")
    assert alike(["no tumor", "no_tumor", "x"]) == [["no tumor", "no_tumor"]]
    assert alike(["n\u00e9v", "ne\u0301v"]) != []  # as macOS writes it
    assert plain("1234567") != plain("1234568")
    assert plain("01") == plain("1.0")


@pytest.mark.parametrize(
    "name", ["train 2", "fold_1", "latest", "seg_train", "trains", "train_val"]
)
def test_what_is_no_certain_name_of_a_part(name):
    assert part_of(name) is None


def test_other_files_and_stray_images_are_said(tmp_path):
    tree(tmp_path, "a/1.png", "b/2.png", "stray.png")
    (tmp_path / "a" / "x.dcm").write_bytes(b"DICM")
    (tmp_path / "a" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "__MACOSX" / "a").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "a" / "._1.png").write_bytes(b"x")
    notes = " ".join(read(tmp_path).notes)
    assert "1 .dcm" in notes
    assert "1 image in no class folder (stray.png)" in notes
    assert "2 hidden or system" in notes


# --- tables: the cases ---------------------------------------------------------------------

READ = {  # rows, groups, part
    "blanklines": (36, None, None), "duppath": (36, None, None), "duprows": (36, None, None),
    "floatgroup": (36, 9, None), "floatlabel": (36, None, None), "ham_ext": (36, 36, None),
    "ham_lesions": (36, 12, None), "ham_noext": (36, 36, None),
    "ham_noext_onefolder": (18, None, None), "headercase": (36, None, None),
    "nangroup": (36, 36, None), "onehot": (36, None, None), "pandasindex": (36, None, None),
    "patientcol": (36, 36, None), "semicolon": (36, None, None), "spaces": (36, None, None),
    "splitcol_set": (36, None, "test"), "tab": (36, None, None),
    "traintestval_case": (36, None, "test"), "trainval": (36, None, "calibration"),
    "upperext": (36, None, None), "utf16": (36, None, None), "windows": (36, None, None),
}  # fmt: skip
REFUSED = {
    "labelcase": "similar=merge", "latin1": "encoding=cp1252", "longrow": "by line: 7",
    "multilabel": "several labels", "nanlabel": "no label", "nanlabel2": "no label",
    "noheader": "file,label", "shortrow": "by line: 7", "zeropad": "similar=merge",
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_tables_that_are_read(cases, name):
    (path,) = (cases / "csv").glob(f"{name}.?sv")
    images = listed(path)
    rows, groups, part = READ[name]
    assert [len(images.labels), len(set(images.ids)), len(images.classes)] == [rows, rows, 3]
    assert all(file.is_file() for file in images.inputs)
    for file, label in zip(images.inputs, images.labels):  # in all of them, labels go round
        assert int(file.stem[-4:]) % 3 == label
    assert (None if images.groups is None else len(set(images.groups))) == groups
    assert (images.split is None) == (part is None)
    assert part is None or parts_of(images) == {"train": 24, part: 12}
    assert images.notes[0].startswith("columns: ")


@pytest.mark.parametrize("name", REFUSED)
def test_tables_that_are_refused(cases, name):
    with pytest.raises(InputError, match=REFUSED[name]):
        listed(cases / "csv" / f"{name}.csv")


def test_every_case_of_a_table_is_tested(cases):
    assert {p.stem for p in (cases / "csv").glob("*.?sv")} == {*READ, *REFUSED}


def test_what_was_said_makes_a_table_readable(cases):
    assert len(listed(cases / "csv" / "latin1.csv", encoding="latin-1").classes) == 3
    assert listed(cases / "csv" / "labelcase.csv", similar="merge").classes == ("A", "B", "C")
    assert listed(cases / "csv" / "ham_lesions.csv", group="none").groups is None


# --- tables: spellings ---------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.permutations(range(4)),
    st.sampled_from(["file", "Filename", "IMAGE", "image_id", "path", "image_path", "FilePath"]),
    st.sampled_from(["label", "Class", "diagnosis", "TARGET"]),
    st.sampled_from(["patient", "Patient ID", "lesion_id", "subject", "slideId", "smear", "group"]),
    st.sampled_from(["split", "Set", "subset", "phase", "used for"]),
    st.fixed_dictionaries({part: st.sampled_from(SPELLINGS[part]) for part in SPELLINGS}),
    st.sampled_from(["as is", "windows", "no ending", "other case", "root", "absolute", "moved"]),
)
def test_every_spelling_of_a_table(sign, encoding, order, file, label, group, split, spelt, how):
    with tempfile.TemporaryDirectory() as root:
        base = Path(root, "pictures" if how == "root" else "")
        truth, rows = [], []
        for i in range(6):
            name, kind, part = f"d{i % 2}/é {i}.png", "xyz"[i % 3], list(SPELLINGS)[i % 3]
            picture(base / name, i)
            truth.append((f"é {i}.png", kind, f"p{i // 2}", part))
            written = {
                "windows": name.replace("/", "\\"), "no ending": name[:-4],
                "other case": name[:-4] + ".PNG", "absolute": str(base / name),
                "moved": f"/home/somebody/data/{name}",
            }.get(how, name)  # fmt: skip
            rows.append([written, kind, f"p{i // 2}", spelt[part]])
        lines = [[row[k] for k in order] for row in ([file, label, group, split], *rows)]
        path = Path(root, "t.csv")
        path.write_bytes("\n".join(sign.join(line) for line in lines).encode(encoding))
        images = listed(path, root="pictures" if how == "root" else "")
        assert all(p.is_file() for p in images.inputs)
        assert [p.name for p in images.inputs] == [name for name, *_ in truth]
        assert [images.classes[c] for c in images.labels] == [kind for _, kind, *_ in truth]
        assert images.groups.tolist() == [owner for *_, owner, _ in truth]
        assert images.split.tolist() == [part for *_, part in truth]
        assert not any(root in name for name in images.ids)


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def test_columns_that_may_both_be_meant_are_named(tmp_path):
    t = tmp_path / "t.csv"
    rows = ("1.png,0,a,p1,q1", "2.png,1,b,p1,q2", "3.png,1,a,p2,q2")
    write(t, "file,target,diagnosis,patient,slide", *rows)
    with pytest.raises(InputError, match=r"\[label=target\] or \[label=diagnosis\]"):
        listed(t)
    with pytest.raises(InputError, match=r"\[group=patient\] or \[group=slide\]"):
        listed(t, label="target")
    write(t, "file,label,patient,slide", "1.png,a,p1,s1", "2.png,b,p1,s2", "3.png,a,p2,s3")
    assert listed(t).groups.tolist() == ["p1", "p1", "p2"]
    write(t, "file,label,split,set", "1.png,a,train,test", "2.png,b,test,train")
    assert listed(t).split.tolist() == ["train", "test"]
    write(t, "file,label,phase,use", "1.png,a,train,test", "2.png,b,test,train")
    with pytest.raises(InputError, match=r"\[split=phase\] or \[split=use\]"):
        listed(t)
    write(t, "file,label,phase,use", "1.png,a,train,train", "2.png,b,train,maybe test")
    assert listed(t).split is None


def test_one_hot_columns_with_two_ones_are_refused(tmp_path):
    t = write(tmp_path / "t.csv", "image,A,B,age", "1.png,1,0,40", "2.png,0,1,50")
    assert listed(t).classes == ("A", "B")
    write(t, "image,A,B", "1.png,1,1", "2.png,0,1")
    with pytest.raises(InputError, match="exactly one 1, by line: 2"):
        listed(t)


def test_a_file_with_two_labels_and_a_name_for_two_files_are_refused(tmp_path):
    t = write(tmp_path / "t.csv", "file,label", "1.png,a", "./1.png,b")
    with pytest.raises(InputError, match=r"occurs more than once.*lines 2 and 3"):
        listed(t)
    tree(tmp_path, "x/1.png", "y/1.png")
    with pytest.raises(InputError, match=r"may be x/1\.png, y/1\.png"):
        listed(write(t, "file,label", "1,a", "2,b"))


# --- names and seeds -----------------------------------------------------------------------


def cut(text, root, folds=2):
    datasets = registry.select_datasets(text)
    request = Request(methods="", datasets=datasets, folds=folds, cache=root / "cache",
                      data_root=root / "none")  # fmt: skip
    (dataset,) = datasets
    cuts = replicates(request, dataset, registry.select_preset("quick"))
    seed_name = dataset.seed_name or cuts[0].fingerprint
    return dataset.name, seed_name, cuts[0].fingerprint, cuts[0].parts.test.tolist(), cuts[0].notes


def test_the_path_as_typed_changes_nothing(tmp_path, monkeypatch):
    names = [f"{c}/{i}.png" for c in "ab" for i in range(8)]
    own = tree(tmp_path / "own", *names)
    write(own / "t.csv", "file,label", *(f"{n},{n[0]}" for n in names))
    monkeypatch.chdir(tmp_path)
    for kind, file in (("folder:", ""), ("csv:", "/t.csv")):
        spelt = ("own", "./own", "own/../own", str(own), os.path.relpath(own))
        seen = [cut(f"{kind}{path}{file}", tmp_path) for path in spelt]
        assert all(one == seen[0] for one in seen)
        shutil.copytree(own, tmp_path / "moved" / "other", dirs_exist_ok=True)
        moved = cut(f"{kind}moved/other{file}", tmp_path)
        assert moved[0] != seen[0][0]
        assert moved[1:] == seen[0][1:]
        named = cut(f"{kind}own{file}[name=mine]", tmp_path)
        assert named[:2] == ("mine", "mine")


def test_a_split_is_used_or_said_not_to_be(tmp_path):
    tree(tmp_path / "own", *(f"{p}/{c}/{i}.png" for p in ("train", "test") for c in "ab"
                             for i in range(4)))  # fmt: skip
    *_, notes = cut(f"folder:{tmp_path / 'own'}", tmp_path)
    assert any("is NOT used: 2 folds mix" in note and "official" in note for note in notes)
    *_, notes = cut(f"folder:{tmp_path / 'own'}", tmp_path, "official")
    assert any("is used: 8 train, 0 calibration, 8 test" in note for note in notes)


def test_what_was_moved_and_renamed_is_not_trained_again(tmp_path):
    names = [f"{c}/{i}.png" for c in "ab" for i in range(12)]
    tree(tmp_path / "own", *names)
    options = {"methods": "cross-entropy", "folds": 2, "preset": "quick[epochs=1,size=8]",
               "jobs": 1, "device": "cpu", "results": tmp_path / "results",
               "data_root": tmp_path / "root", "progress": False}  # fmt: skip
    first = benchmark.run(datasets=f"folder:{tmp_path / 'own'}", **options)
    (tmp_path / "own").rename(tmp_path / "moved")
    second = benchmark.run(datasets=f"folder:{tmp_path / 'moved'}", **options)
    assert (first.trained, second.trained, second.stored) == (2, 0, 2)
    assert set(second.scores["dataset"]) == {"folder:moved"}
    values = [r.scores.query("metric == 'nll'")["value"].tolist() for r in (first, second)]
    assert values[0] == values[1] != []
    assert any("2 classes, named by folders: a, b" in note for note in second.notes)


def test_red_blood_cells_are_read_as_they_stand(shared_data):
    path = shared_data / "chula_rbc12" / "labels.csv"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    images = listed(path)
    assert (len(images.labels), len(images.classes)) == (22106, 13)
    assert "smear the group" in images.notes[0]
    assert images.split is None
