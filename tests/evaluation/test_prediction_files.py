"""Files of predictions: what is read from them, and what is said of bad ones."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from benchmark.api import InputError
from benchmark.evaluation.check import Checked
from benchmark.evaluation.sources import from_file as read

LOGITS = np.array([[2.0, 0.0, -1.0], [0.0, 3.0, 0.0], [1.0, 1.0, 1.5], [0.0, 0.0, 0.0]])
PROBS = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
LABELS = np.array([0, 1, 2, 1])
TABLE = "id,label,p_a,p_b\nx,a,0.9,0.1\ny,b,0.25,0.75\n"


def npz(folder: Path, **keys: Any) -> Path:
    path = folder / "file.npz"
    np.savez(path, **keys)
    return path


def table(folder: Path, text: str) -> Path:
    path = folder / "file.csv"
    path.write_text(text, encoding="utf-8")
    return path


def said(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def same(file: Checked, probs: Any = PROBS) -> None:
    np.testing.assert_allclose(np.exp(file.test.log_probs), probs, atol=1e-12)
    assert file.test.labels.tolist() == LABELS[: len(probs)].tolist()


# --- archives --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keys",
    [
        {"test_logits": LOGITS, "test_labels": LABELS},
        {"logits": LOGITS.astype(np.float16), "labels": LABELS.astype(np.int8)},
        {"logits": LOGITS + 100, "targets": LABELS.astype(np.uint8)},
        {"test_probs": PROBS, "test_labels": LABELS.astype(float)},
        {"probabilities": PROBS, "labels": LABELS[:, None]},
        {"test_log_probs": np.log(PROBS), "labels": np.eye(3)[LABELS]},
        {"logits": np.log(PROBS), "labels": np.eye(3, dtype=bool)[LABELS]},
        {"logits": LOGITS, "labels": np.array(["a", "b", "c", "b"]), "classes": list("abc")},
        {"logits": LOGITS, "y": LABELS.astype("S")},
        {"logits": LOGITS, "target": LABELS + 5, "classes": [5.0, 6.0, 7.0]},
    ],
)
def test_the_same_predictions_in_many_spellings(tmp_path: Path, keys: dict[str, Any]) -> None:
    file = read(npz(tmp_path, **keys))
    same(file)
    assert file.calibration is None
    assert file.unused == ()


@pytest.mark.parametrize(
    "prefix", ["val_", "calibration_", "validation_", "valid_", "cal_", "dev_"]
)
def test_all_that_an_archive_may_hold(tmp_path: Path, prefix: str) -> None:
    file = read(
        npz(
            tmp_path,
            test_logits=LOGITS,
            test_labels=LABELS,
            ids=np.array(["x", "y", "z", "w"]),
            test_groups=np.array([7, 7, 8, 9]),
            classes=np.array(["cat", "dog", "owl"]),
            **{f"{prefix}probs": PROBS[:2], f"{prefix}labels": LABELS[:2]},
            features=np.zeros(3),
        )
    )
    same(file)
    assert file.calibration is not None
    np.testing.assert_allclose(np.exp(file.calibration.log_probs), PROBS[:2])
    assert file.calibration.labels.tolist() == [0, 1]
    assert file.test.ids is not None
    assert file.test.ids.tolist() == ["x", "y", "z", "w"]
    assert file.test.groups is not None
    assert file.test.groups.tolist() == ["7", "7", "8", "9"]
    assert file.test.classes == ("cat", "dog", "owl")
    assert file.unused == ("features",)


def test_rounded_probabilities_are_made_to_sum_to_one(tmp_path: Path) -> None:
    for keys in ({"probs": PROBS * 1.00009}, {"log_probs": np.log(PROBS) - 0.00009}):
        same(read(npz(tmp_path, **keys, labels=LABELS)))


def test_exact_zeros_stay_zero(tmp_path: Path) -> None:
    probs = np.array([[1.0, 0.0], [0.5, 0.5]])
    with np.errstate(divide="ignore"):
        log_probs = np.log(probs)
    for key, scores in (("probs", probs), ("log_probs", log_probs)):
        file = read(npz(tmp_path, **{key: scores}, labels=[1, 0]))
        assert file.test.log_probs[0].tolist() == [0.0, -np.inf]


@given(arrays.arrays(np.float64, (3, 4), elements=st.floats(-1e30, 1e30)))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_finite_logits_become_probabilities(
    tmp_path_factory: pytest.TempPathFactory, logits: Any
) -> None:
    path = npz(tmp_path_factory.mktemp("any"), logits=logits, labels=[0, 1, 3])
    probs = np.exp(read(path).test.log_probs)
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-9)
    of_largest = np.take_along_axis(probs, logits.argmax(1)[:, None], 1)[:, 0]
    np.testing.assert_allclose(of_largest, probs.max(1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"logits": PROBS}, "logits: all rows are probabilities"),
        ({"logits": PROBS * 1e300}, "cannot be a logit"),
        ({"probs": PROBS * 0.9}, "row 0 (from 0) (and 3 more) sum to 0.9, not to one"),
        (
            {"probs": LOGITS},
            "2 in row 0, column 0 (from 0) is not a probability; if these are logits",
        ),
        ({"log_probs": LOGITS}, "is not the logarithm of a probability"),
        ({"log_probs": np.log(PROBS / 2)}, "sum to 0.5"),
        ({"log_probs": np.full((4, 3), -np.inf)}, "sum to 0"),
        ({"probs": np.full((4, 3), np.nan)}, "nan in row 0, column 0 (from 0) is not a finite"),
        ({"logits": np.where(LOGITS == 3, np.nan, LOGITS)}, "nan in row 1, column 1"),
        ({"logits": np.where(LOGITS == 3, np.inf, LOGITS)}, "inf in row 1, column 1"),
        ({"logits": LOGITS.astype(complex)}, "complex128, not numbers"),
        ({"logits": LOGITS.astype(str)}, "not numbers"),
        ({"logits": LOGITS[:, 0]}, "has the shape (4,)"),
        ({"logits": LOGITS[:, :1]}, "one class only"),
        ({"logits": LOGITS[:0]}, "logits is empty"),
        ({"logits": np.zeros((0, 0))}, "logits is empty"),
        ({"logits": LOGITS[:3]}, "4 labels for 3 rows in logits"),
        ({"labels": LABELS[:0]}, "labels is empty"),
        ({"labels": LABELS + 1}, "3 in row 2 (from 0) does not fit logits, 3 columns"),
        ({"labels": LABELS - 1}, "-1 in row 0"),
        ({"labels": LABELS * 1e300}, "labels: 1e+300 in row 1 (from 0) does not fit"),
        ({"labels": LABELS + 0.5}, "0.5 in row 0 (from 0) is not a whole number"),
        ({"labels": LABELS * np.nan}, "nan in row 0 (from 0) is not a whole number"),
        ({"labels": np.ones(4, int)}, "one class only, all 4 images are of class 1"),
        ({"labels": np.ones((4, 3))}, "not one-hot"),
        ({"labels": np.ones((4, 2))}, "labels has the shape (4, 2)"),
        ({"labels": np.array(["a", "b", "c", "d"])}, "'a' in row 0 (from 0) is not a whole"),
        ({"labels": LABELS.astype("M8[s]")}, "labels holds datetime"),
        ({"logits": LOGITS[:, :2]}, "2 in row 2 (from 0) does not fit logits, 2 columns"),
        ({"test_logits": LOGITS}, "both test_logits and logits"),
        ({"probs": PROBS, "logits": LOGITS}, "both logits and probs: keep one"),
        ({"logits": np.array([None, 1])}, "logits cannot be read: Object arrays"),
        ({"classes": ["a", "b"]}, "2 names of classes for 3 columns"),
        ({"classes": ["a", "b", "b"]}, "two classes have the same name"),
        ({"classes": 3}, "classes: give a list of names"),
        ({"ids": ["a", "b", "a", "c"]}, "'a' in row 2 (from 0) occurs a second time"),
        ({"ids": ["a"]}, "ids has the shape (1,)"),
        ({"groups": [1.0, np.nan, 2, 3]}, "groups: nan in row 1"),
        ({"groups": [True, False, True, True]}, "groups holds bool"),
        ({"val_logits": LOGITS}, "val_logits without labels"),
        ({"val_labels": LABELS}, "no predictions of the calibration part"),
        ({"val_logits": LOGITS[:, :2], "val_labels": LABELS % 2}, "2 in the calibration part"),
    ],
)
def test_bad_archives(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    keys = {"logits": LOGITS, "labels": LABELS} | changes
    if {"probs", "log_probs"} & set(changes) and "logits" not in changes:
        del keys["logits"]
    assert words in said(npz(tmp_path, **keys))


def test_missing_keys_are_named(tmp_path: Path) -> None:
    message = said(npz(tmp_path, scores=LOGITS, test_labels=LABELS))
    assert "expected test_logits, test_probs" in message
    assert "keys found: scores, test_labels" in message
    assert "keys found: test_logits" in said(npz(tmp_path, test_logits=LOGITS))
    assert "keys found: none" in said(npz(tmp_path))


def test_what_is_not_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    whole = io.BytesIO()
    np.savez(whole, logits=LOGITS, labels=LABELS)
    single = io.BytesIO()
    np.save(single, LOGITS)
    for content in (pickle.dumps({"logits": [1]}), b"hello", single.getvalue(), b"PK\x03\x04"):
        path.write_bytes(content)
        assert "not an .npz archive" in said(path)
    path.write_bytes(b"")
    assert "empty" in said(path)
    for cut in range(0, len(whole.getvalue()), 37):
        path.write_bytes(whole.getvalue()[: max(cut, 1)])
        said(path)
    torn = bytearray(whole.getvalue())
    torn[60:70] = b"xxxxxxxxxx"
    path.write_bytes(torn)
    assert "cannot be read" in said(path)


def test_unreadable_paths(tmp_path: Path) -> None:
    assert "No such file" in said(tmp_path / "none.npz")
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    assert "directory" in said(folder)
    other = tmp_path / "file.pkl"
    other.write_bytes(pickle.dumps(1))
    assert "neither .npz nor .csv" in said(other)


# --- tables ----------------------------------------------------------------------------------


def test_a_table(tmp_path: Path) -> None:
    file = read(table(tmp_path, "\ufeff" + TABLE))
    np.testing.assert_allclose(np.exp(file.test.log_probs), [[0.9, 0.1], [0.25, 0.75]])
    assert file.test.labels.tolist() == [0, 1]
    assert file.test.ids is not None
    assert file.test.ids.tolist() == ["x", "y"]
    assert file.test.classes == ("a", "b")


@pytest.mark.parametrize(
    "text",
    [
        "label,p_0,p_1\n0,0.9,0.1\n1,0.25,0.75\n",
        "label,p_1,p_0\n0,0.1,0.9\n1,0.75,0.25\n",
        "label,cat,dog\ncat,0.9,0.1\n\ndog,0.25,0.75\n",
        "label,cat,dog\n0,0.9,0.1\n1,0.25,0.75\n",
        "p_1,p_2,label\n0.9,0.1,1\n0.25,0.75,2\n",
        ",label,prob_a,prob_b,age\n0,a,0.9,0.1,50\n1,b,0.25,0.75,60\n",
        f"label,logit_0,logit_1\n0,{np.log(9)},0\n1,0,{np.log(3)}\n",
        f"label,log_p_0,log_p_1\n0,{np.log(0.9)},{np.log(0.1)}\n1,{np.log(0.25)},{np.log(0.75)}\n",
    ],
)
def test_the_same_table_in_many_spellings(tmp_path: Path, text: str) -> None:
    file = read(table(tmp_path, text))
    np.testing.assert_allclose(np.exp(file.test.log_probs), [[0.9, 0.1], [0.25, 0.75]])
    assert file.test.labels.tolist() == [0, 1]
    assert file.unused == (("age",) if "age" in text else ())


def test_ten_classes_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = sorted(f"p_{i}" for i in range(12))
    rows = [",".join("1" if name == f"p_{i}" else "0" for name in names) for i in (2, 11)]
    text = f"label,{','.join(names)}\n2,{rows[0]}\n11,{rows[1]}\n"
    assert read(table(tmp_path, text)).test.log_probs.argmax(1).tolist() == [2, 11]


@pytest.mark.parametrize("name", ["val", "calibration", "validation", "valid", "cal", "Dev"])
def test_parts_and_groups_of_a_table(tmp_path: Path, name: str) -> None:
    text = (
        f"label,part,group,p_0,p_1\n0,test,g,1,0\n0,{name},h,.6,.4\n1,test,g,0,1\n1,Val,h,.5,.5\n"
    )
    file = read(table(tmp_path, text))
    assert file.calibration is not None
    assert file.test.log_probs.shape == file.calibration.log_probs.shape == (2, 2)
    assert file.test.groups is not None
    assert file.test.groups.tolist() == ["g", "g"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("\n", "no row below the header"),
        ("label,p_0,p_1\n", "no row below the header"),
        ("p_0,p_1\n1,0\n", "no column label"),
        ("z;p_0;p_1\n1;0;1\n", "columns found: 'z', 'p_0', 'p_1'"),
        ("label\n0\n1\n", "no predictions: expected p_0"),
        ("label,p_0,p_0\n0,1,0\n", "the column 'p_0' occurs more than once"),
        ("label,p_0,logit_1\n0,1,0\n", "columns that start with p_ and logit_"),
        ("label,p_0,p_1\n0,1,0\n1,,1\n", "column p_0, line 3: empty"),
        ("label,p_0,p_1\n0,1,0\n1,zero,1\n", "column p_0, line 3: 'zero' is not a number"),
        ("label,p_0,p_1\n0,1,0\n1,nan,1\n", "nan in line 3, column p_0 is not a finite number"),
        ("label,p_0,p_1\n0,1,0\n1,0,0.9\n", "columns p_0 to p_1: the probabilities in line 3 sum"),
        ("label,p_0,p_1\n0,1,0\n,0,1\n", "column label, line 3: empty"),
        ("label,p_0,p_2\n0,1,0\n1,0,1\n", "label: 1 in line 3 has no column; the columns are of"),
        ("label,p_0,p_1\n0,1,0\n5,0,1\n", "label: 5 in line 3 does not fit columns p_0 to p_1"),
        ("label,p_0,p_1\n0,1,0\n0.5,0,1\n", "label: 0.5 in line 3 is not a whole number"),
        ("label,p_0,p_1\n0,1,0\n\nowl,0,1\n", "label: 'owl' in line 4 is not a whole number"),
        ("label,p_a,p_b\n0,1,0\nb,0,1\n", "write all as names of classes, or all as numbers"),
        ("label,p_0,p_1\n0,1,0\n1,0\n", "line 3 has 2 cells, the header 3"),
        ("label,p_0,p_1\n0,1,0\n0,1,0\n", "one class only"),
        ("label,p_0\n0,1\n1,1\n2,1\n", "one class only"),
        ("label,p_cat\n0,1\n2,1\n", "one class only"),
        ("label,part,p_0,p_1\n0,x,1,0\n", "part 'x' in line 2: write test or calibration"),
        ("label,part,p_0,p_1\n0,val,1,0\n1,val,1,0\n", "no row of the test part"),
        ("id,label,p_0,p_1\na,0,1,0\na,1,0,1\n", "id: 'a' in line 3 occurs a second time"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, words: str) -> None:
    assert words in said(table(tmp_path, text))


def test_what_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(b"label,p_0\xff\n")
    assert "not a table in UTF-8" in said(path)


def test_labels_are_found_by_the_numbers_of_their_columns(tmp_path: Path) -> None:
    file = read(table(tmp_path, "label,p_0,p_2,p_7\n7,0,0,1\n0,1,0,0\n2,0,1,0\n"))
    assert file.test.labels.tolist() == [2, 0, 1]
    assert file.test.classes == ("0", "2", "7")


def test_rows_of_the_training_part_are_named_as_not_read(tmp_path: Path) -> None:
    rows = "0,test,1,0\n1,test,0,1\n1,train,0,1\n"
    assert read(table(tmp_path, f"label,part,p_0,p_1\n{rows}")).unused == (
        "1 rows whose part is train",
    )
