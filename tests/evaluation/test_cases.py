"""``evaluate`` on files as people hand them in: the right numbers, or a refusal that says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax

from benchmark.api import InputError
from benchmark.evaluation.evaluate import Evaluation, evaluate
from benchmark.evaluation.sources import from_arrays

METRICS = ("accuracy", "nll", "ece", "aurc", "auc", "brier")


def measured(result: Evaluation, method: str) -> dict[str, float]:
    rows = result.intervals[result.intervals["method"] == method]
    return dict(zip(rows["metric"], rows["value"]))


BINARY = {"accuracy": 0.9167, "nll": 0.2515}
THREE = {"accuracy": 0.8625, "nll": 0.3935}
VOTES = {"aurc": 0.001308, "auc": 0.998200}
RIGHT: dict[str, tuple[dict[str, float], tuple[str, ...]]] = {
    "columns_prob1_prob0.csv": (BINARY, ("prob0, prob1", "by number")),
    "column_seed_0_first.csv": (BINARY, ("cat, dog", "not read: seed")),
    "classes_1_0_int_labels.npz": (BINARY, ("classes 1, 0 from classes", "by number")),
    "unnamed_0.csv": (BINARY, ("not read: Unnamed: 0",)),
    "one_probability_column.csv": (BINARY, ("p_1 is of the class 1, the rest of 0",)),
    "percent.csv": (BINARY, ("percent, so divided by 100",)),
    "semicolon_decimal_comma.csv": (BINARY, ("separated by semicolons", "decimal commas")),
    "columns_prediction_10_before_2.csv": ({"accuracy": 0.8}, ("12 columns", "prediction_11")),
    "classes_1_2_3_labels_1_2.npz": (THREE, ("classes 1, 2, 3 from classes", "by number")),
    "float16_probs.npz": ({"accuracy": 0.8625}, ("of half precision",)),
    "four_decimals_5_classes.npz": ({"accuracy": 0.2075}, ("rounded to 4 decimals",)),
    "knn_votes.npz": (VOTES, ()),
    "knn_votes_columns_reversed.npz": (VOTES, ()),
    "filename_natural.csv": ({}, ("ids from filename",)),
    "filename_lexicographic.csv": ({}, ("ids from filename",)),
    "id_natural.csv": ({}, ("ids from id",)),
    "id_lexicographic.csv": ({}, ("ids from id",)),
    "five_positives.npz": ({}, ("no interval for Macro AUC",)),
}
CALIBRATED = {
    "calibration_20_images_all_right.npz": (
        {"nll": (0.0, 2 * 0.2782)},
        ("0 errors (fewer than 5: they teach little)", "too few errors to determine"),
    ),
    "calibration_constant_logits.npz": ({"nll": (0.945, 0.946)}, ("temperature 1",)),
    "cosine_sized_logits.npz": ({"ece": (0.0215, 0.0225)}, ("temperature 0.0017",)),
}
REFUSED = {"calibration_is_test_same_ids.npz": "200 of the 200 images of the calibration part"}


def test_every_case_is_here(shared_cases: Path) -> None:
    files = {path.name for path in (shared_cases / "evaluate").iterdir()} - {"README"}
    assert files <= {*RIGHT, *CALIBRATED, *REFUSED}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_read_is_right_and_said(shared_cases: Path, name: str) -> None:
    file = shared_cases / "evaluate" / name
    result = evaluate(file, metrics=METRICS)
    values, said = measured(result, file.stem), "\n".join([*result.understood, *result.notes])
    right, words = RIGHT[name]
    for metric, value in right.items():
        assert values[metric] == pytest.approx(value, abs=6e-5 if metric != "aurc" else 6e-7)
    for sentence in words:
        assert sentence in said


@pytest.mark.parametrize("name", CALIBRATED)
def test_temperatures(shared_cases: Path, name: str) -> None:
    file = shared_cases / "evaluate" / name
    result = evaluate(file, metrics=["nll", "ece"], calibrate="temperature")
    values, said = measured(result, f"{file.stem}+temperature"), "\n".join(result.understood)
    right, words = CALIBRATED[name]
    for metric, (low, high) in right.items():
        assert low <= values[metric] <= high
    for sentence in words:
        assert sentence in said
    assert set(result.calibrations[f"{file.stem}+temperature"]["parameters"]) == {"temperature"}


@pytest.mark.parametrize("name", REFUSED)
def test_what_calibrates_is_not_what_is_measured(shared_cases: Path, name: str) -> None:
    with pytest.raises(InputError, match=REFUSED[name]):
        evaluate(shared_cases / "evaluate" / name, calibrate="isotonic")


@pytest.mark.parametrize("column", ["filename", "id"])
def test_names_of_images_align_files(shared_cases: Path, column: str) -> None:
    files = [
        shared_cases / "evaluate" / f"{column}_{way}.csv" for way in ("natural", "lexicographic")
    ]
    pairs = evaluate(files, metrics=["accuracy"]).pairs
    p = pairs[pairs["metric"] == "accuracy"]["p"].iloc[0]
    assert p == pytest.approx(0.0004, abs=5e-5)


# --- others of their kinds -------------------------------------------------------------------

GENERATOR = np.random.default_rng(3)
LABELS = GENERATOR.integers(3, size=300)
LOGITS = 2 * np.eye(3)[LABELS] + GENERATOR.normal(size=(300, 3))
PROBS = np.exp(log_softmax(LOGITS, 1))
ACCURACY = float(np.mean(LOGITS.argmax(1) == LABELS))


def write(path: Path, **keys: Any) -> Path:
    np.savez(path, **keys)
    return path


def table(path: Path, columns: dict[str, Any]) -> Path:
    rows = zip(*(np.asarray(values).tolist() for values in columns.values()))
    text = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(text), encoding="utf-8")
    return path


@pytest.mark.parametrize("denominator", [7, 10, 20])
@pytest.mark.parametrize("kind", ["probs", "log_probs", "logits"])
def test_the_order_of_columns_does_not_matter_to_any_metric(denominator: int, kind: str) -> None:
    generator = np.random.default_rng(denominator)
    votes = generator.multinomial(denominator, [0.1] * 10, size=400)
    labels = np.where(
        generator.random(400) < 0.8, votes.argmax(1), generator.integers(10, size=400)
    )
    with np.errstate(divide="ignore"):
        scores = {
            "probs": votes / denominator,
            "log_probs": np.log(votes / denominator),
            "logits": votes.astype(float),
        }[kind]
    unique = np.sort(votes, 1)[:, -1] > np.sort(votes, 1)[:, -2]  # no tie for the prediction
    plain = evaluate(**{kind: scores[unique]}, labels=labels[unique]).intervals
    turned = evaluate(**{kind: scores[unique, ::-1]}, labels=9 - labels[unique]).intervals
    both = plain["value"].to_numpy(), turned["value"].to_numpy()
    np.testing.assert_allclose(*both, rtol=1e-9, atol=1e-13)


def test_a_confidence_just_above_an_edge_is_in_the_next_bin() -> None:
    confidence = np.repeat([0.6000005, 0.62], 100)
    probs = np.stack([confidence, 1 - confidence], 1)
    labels = np.concatenate([np.zeros(100, int), np.ones(100, int)])
    ece = measured(evaluate(probs=probs, labels=labels, metrics=["ece"]), "predictions")["ece"]
    assert ece == pytest.approx(abs((1 - 0.6000005 - 0.62) / 2))
    probs[:100] = [0.6, 0.4]
    ece = measured(evaluate(probs=probs, labels=labels, metrics=["ece"]), "predictions")["ece"]
    assert ece == pytest.approx((0.4 + 0.62) / 2)


def test_logits_that_spread_over_thousands_are_not_cut(tmp_path: Path) -> None:
    logits = 2000 * log_softmax(LOGITS / 3, 1)
    keys = {"logits": logits[:150], "labels": LABELS[:150]}
    keys |= {"val_logits": logits[150:], "val_labels": LABELS[150:]}
    small = {k: v / 2000 if "logits" in k else v for k, v in keys.items()}
    files = write(tmp_path / "a.npz", **keys), write(tmp_path / "b.npz", **small)
    one, two = (evaluate(f, metrics=["nll"], calibrate="temperature") for f in files)
    nll = measured(one, "a+temperature")["nll"]
    assert nll == pytest.approx(measured(two, "b+temperature")["nll"], rel=1e-9)


@pytest.mark.parametrize("key", ["logits", "probs"])
def test_logits_are_never_suggested_for_percent(tmp_path: Path, key: str) -> None:
    if key == "logits":
        with pytest.raises(InputError, match=r"all rows are percent .* call them test_probs"):
            evaluate(logits=100 * PROBS, labels=LABELS)
    uneven = 100 * PROBS * GENERATOR.uniform(0.5, 0.9, size=(300, 1))
    with pytest.raises(InputError) as caught:
        evaluate(probs=uneven, labels=LABELS)
    assert "logits, call them so" not in str(caught.value)


@pytest.mark.parametrize("classes", [2, 5, 10, 100])
@pytest.mark.parametrize("form", ["3 decimals", "4 decimals", "float16"])
def test_rounded_probabilities_of_any_number_of_classes(classes: int, form: str) -> None:
    generator = np.random.default_rng(classes)
    labels = generator.integers(classes, size=200)
    probs = np.exp(
        log_softmax(generator.normal(size=(200, classes)) + 3 * np.eye(classes)[labels], 1)
    )
    given = probs.astype(np.float16) if form == "float16" else probs.round(int(form[0]))
    nll = measured(evaluate(probs=given, labels=labels, metrics=["brier"]), "predictions")["brier"]
    right = measured(evaluate(probs=probs, labels=labels, metrics=["brier"]), "predictions")[
        "brier"
    ]
    assert nll == pytest.approx(right, rel=0.02)
    with pytest.raises(InputError, match="not to one"):
        evaluate(probs=given * 0.9, labels=labels)


def test_labels_from_one_are_not_taken_for_labels_from_zero(tmp_path: Path) -> None:
    kept = LABELS < 2  # the last class has no image
    probs, labels = PROBS[kept], LABELS[kept] + 1
    with pytest.raises(
        InputError, match=r"may be the places of columns, from 0 .* from 1 .* say which"
    ):
        evaluate(probs=probs, labels=labels)
    with pytest.raises(InputError, match="if they count from 1, say so with classes"):
        evaluate(probs=PROBS, labels=LABELS + 1)
    named = evaluate(probs=probs, labels=labels, classes=["1", "2", "3"], metrics=["accuracy"])
    columns = {"label": labels} | {f"class_{i + 1}": probs[:, i] for i in range(3)}
    file = evaluate(table(tmp_path / "t.csv", columns), metrics=["accuracy"])
    right = np.mean(probs.argmax(1) == labels - 1)
    assert measured(named, "predictions")["accuracy"] == pytest.approx(right)
    assert measured(file, "t")["accuracy"] == pytest.approx(right)
    absent = LABELS > 0  # and here the first one, which is as it was said to be
    result = evaluate(probs=PROBS[absent], labels=LABELS[absent], metrics=["accuracy"])
    right = np.mean(PROBS[absent].argmax(1) == LABELS[absent])
    assert measured(result, "predictions")["accuracy"] == pytest.approx(right)


def test_whole_numbers_beside_names(tmp_path: Path) -> None:
    named = dict(zip(("cat", "dog", "owl"), PROBS.T))
    good = evaluate(table(tmp_path / "a.csv", {"label": LABELS} | named), metrics=["accuracy"])
    assert measured(good, "a")["accuracy"] == pytest.approx(ACCURACY)
    turned = {"label": LABELS} | dict(zip(("dog", "cat", "owl"), PROBS.T))
    with pytest.raises(InputError, match="whole numbers beside columns that are named dog, cat"):
        evaluate(table(tmp_path / "b.csv", turned))
    with pytest.raises(InputError, match="or the names in another order"):
        evaluate(table(tmp_path / "c.csv", {"label": (LABELS + 1) % 3} | named))
    places = evaluate(probs=PROBS, labels=LABELS, classes=["owl", "cat", "dog"], metrics=["nll"])
    assert measured(places, "predictions")["accuracy"] == pytest.approx(ACCURACY)
    with pytest.raises(InputError, match="or the names in alphabetical order"):
        evaluate(probs=PROBS[:, [1, 2, 0]], labels=LABELS, classes=["dog", "owl", "cat"])


@pytest.mark.parametrize("spell", ["class_{}", "Class {}", "{}", "{}.0", "0{}"])
def test_numbers_of_classes_in_words(tmp_path: Path, spell: str) -> None:
    columns = {"label": [spell.format(c) for c in LABELS]}
    columns |= {f"prob{c}": PROBS[:, c] for c in (2, 0, 1)}
    result = evaluate(table(tmp_path / "t.csv", columns), metrics=["accuracy"])
    assert measured(result, "t")["accuracy"] == pytest.approx(ACCURACY)


@pytest.mark.parametrize("unknown", ["nan", "N/A", "<NA>"])
def test_an_unknown_label_is_no_class(tmp_path: Path, unknown: str) -> None:
    columns: dict[str, Any] = {"label": [unknown, *("cdo"[c] for c in LABELS[1:])]}
    columns |= {f"p_{c}": PROBS[:, i] for i, c in enumerate("cdo")}
    with pytest.raises(InputError, match=f"'{unknown}' in line 2 is no class"):
        evaluate(table(tmp_path / "t.csv", columns))


@pytest.mark.parametrize(
    ("column", "of"),
    [("p", 1), ("p_1", 1), ("p_0", 0), ("y_prob", 1), ("cat_prob", 0), ("p_dog", 1)],
)
@pytest.mark.parametrize("whole", [1, 100])
def test_one_column_of_probabilities(tmp_path: Path, column: str, of: int, whole: int) -> None:
    labels = LABELS[LABELS < 2]
    probs = PROBS[LABELS < 2, :2]
    probs = probs / probs.sum(1, keepdims=True)
    spoken = ["cat", "dog"] if column in ("cat_prob", "p_dog") else ["0", "1"]
    columns = {"label": [spoken[c] for c in labels], column: whole * probs[:, of]}
    result = evaluate(table(tmp_path / "t.csv", columns), metrics=["nll", "accuracy"])
    right = -np.log(probs[np.arange(len(labels)), labels]).mean()
    assert measured(result, "t")["nll"] == pytest.approx(right)
    said = "\n".join(result.understood)
    assert f"{column} is of the class {spoken[of]}, the rest of {spoken[1 - of]}" in said
    assert ("percent, so divided by 100" in said) == (whole == 100)


@pytest.mark.parametrize("column", ["patient", "Patient ID", "smear", "slideId"])
def test_columns_of_persons_and_specimens_are_groups(tmp_path: Path, column: str) -> None:
    columns = {"label": LABELS, column: np.arange(300) // 3, "patient_age": np.arange(300) % 50}
    columns |= {f"p_{c}": PROBS[:, c] for c in range(3)}
    result = evaluate(table(tmp_path / "t.csv", columns), metrics=["nll"])
    assert any(f"groups from {column}" in said for said in result.understood)
    both = table(tmp_path / "u.csv", columns | {"case": np.arange(300) % 7})
    unread = evaluate(both, metrics=["nll"]).understood
    assert any("not read:" in said and column in said and "case" in said for said in unread)


def test_files_are_not_compared_by_position_in_silence(tmp_path: Path) -> None:
    codes = np.array([f"x{i}" for i in range(300)])
    plain = {"label": LABELS, "p_0": PROBS[:, 0], "p_1": PROBS[:, 1], "p_2": PROBS[:, 2]}
    files = [table(tmp_path / "a.csv", {"code": codes} | plain)]
    order = np.argsort(LABELS, kind="stable")
    inside = np.concatenate([GENERATOR.permutation(np.flatnonzero(c == LABELS)) for c in range(3)])
    for name, rows in (("b", order), ("c", inside)):
        files.append(
            table(
                tmp_path / f"{name}.csv", {k: v[rows] for k, v in ({"code": codes} | plain).items()}
            )
        )
    with pytest.raises(InputError, match="the same 'code' in different orders"):
        evaluate(files[1:], metrics=["nll"])
    other = table(tmp_path / "d.csv", {"code": np.char.add(codes, "b")} | plain)
    result = evaluate([files[0], other], metrics=["nll"])
    assert any("differ in 'code', which is not read" in said for said in result.understood)
    assert any("compared by their position" in said for said in result.understood)


@pytest.mark.parametrize("keep", [1.0, 0.7, 0.1])
def test_what_calibrates_and_what_is_measured_overlap(tmp_path: Path, keep: float) -> None:
    shared = int(150 * keep)
    held_out = np.concatenate([np.arange(shared), np.arange(150, 300 - shared)])
    keys = {"logits": LOGITS[:150], "labels": LABELS[:150]}
    keys |= {"val_logits": LOGITS[held_out], "val_labels": LABELS[held_out]}
    file = write(tmp_path / "a.npz", **keys)
    if keep > 0.5:
        with pytest.raises(InputError, match="must be fitted on other images"):
            evaluate(file, calibrate="temperature")
    else:
        said = "\n".join(evaluate(file, calibrate="temperature", metrics=["nll"]).understood)
        assert f"{shared} images of the calibration part have exactly" in said


@pytest.mark.parametrize("what", ["ids", "groups"])
def test_what_calibration_and_test_part_share_is_said(tmp_path: Path, what: str) -> None:
    names = {what: np.arange(150), f"val_{what}": np.arange(150) + 149}
    keys = {"logits": LOGITS[:150], "labels": LABELS[:150], **names}
    keys |= {"val_logits": LOGITS[150:], "val_labels": LABELS[150:]}
    result = evaluate(write(tmp_path / "a.npz", **keys), calibrate="temperature", metrics=["nll"])
    assert any("are in the calibration and the test part" in said for said in result.understood)


def test_folds_are_put_together_and_calibrated_within(tmp_path: Path) -> None:
    fold = np.arange(300) % 3
    columns = {"id": np.arange(300), "fold": fold, "label": LABELS}
    columns |= {f"p_{i}": PROBS[:, i] for i in range(3)}
    whole = evaluate(table(tmp_path / "a.csv", columns), metrics=["nll"])
    assert any("images of 3 folds are put together" in said for said in whole.understood)
    files = []
    for k in range(3):
        rows, others = np.flatnonzero(fold == k), np.flatnonzero(fold == (k + 1) % 3)
        keys = {"logits": LOGITS[rows] * (k + 1), "labels": LABELS[rows], "ids": rows}
        keys |= {"val_logits": LOGITS[others] * (k + 1), "val_labels": LABELS[others]}
        files.append(write(tmp_path / f"net_fold{k}.npz", **keys))
    for k, form in enumerate(("fold_{}_net.npz", "net.split{}of3.npz", "fold{}/net.npz")):
        moved = [tmp_path / str(k) / form.format(i) for i in range(3)]
        for old, new in zip(files, moved):
            new.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(old.read_bytes())
        assert evaluate(moved, metrics=["nll"]).methods == ("net",)
    result = evaluate(files, metrics=["nll"], calibrate="temperature")
    assert result.methods == ("net", "net+temperature")
    assert result.images == 300
    temperatures = list(result.calibrations["net+temperature"]["parameters"].values())
    assert len(temperatures) == 3
    assert temperatures[2] > 2 * temperatures[0]


@pytest.mark.parametrize("name", ["valid", "cal", "dev", "val"])
def test_every_name_of_the_calibration_part(tmp_path: Path, name: str) -> None:
    keys = {f"{name}_logits": LOGITS[150:], f"{name}_labels": LABELS[150:]}
    file = write(tmp_path / "a.npz", logits=LOGITS[:150], labels=LABELS[:150], **keys)
    assert len(evaluate(file, calibrate="temperature", metrics=["nll"]).methods) == 2


def test_names_that_need_a_pickle_are_refused_with_the_remedy(tmp_path: Path) -> None:
    names = np.array(["a", "b", "c"], dtype=object)
    file = write(tmp_path / "a.npz", logits=LOGITS, labels=names[LABELS], classes=names)
    with pytest.raises(InputError, match=r"pickles are never read: save text as numpy.array"):
        evaluate(file)
    memory = evaluate(logits=LOGITS, labels=names[LABELS], classes=names, metrics=["accuracy"])
    assert measured(memory, "predictions")["accuracy"] == pytest.approx(ACCURACY)


def test_a_sum_of_one_but_for_rounding_is_not_divided_by() -> None:
    probs = np.array([[6, 7, 7], [2, 5, 13]]) / 20
    assert probs[0].sum() != 1
    read = from_arrays("probs", probs, None, labels=[1, 2])["predictions"].test
    assert read.log_probs.tolist() == np.log(probs).tolist()
