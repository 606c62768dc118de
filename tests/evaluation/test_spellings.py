"""Whatever way predictions are written: what is read is the truth, or it is refused."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark.api import InputError
from benchmark.evaluation.check import Checked
from benchmark.evaluation.sources import from_file

IMAGES = 60
thorough = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

PREFIXES = ("", "p_", "prob", "prob_", "P_", "probs.", "p_class", "prediction_", "class_", "net a ")
STYLES = {
    "logits": (("logit_", ""), ("", "_logit"), ("", " logits")),
    "log_probs": (("log_p_", ""), ("", "_log_prob")),
    "probs": (
        *((prefix, "") for prefix in PREFIXES),
        *(("", "_prob"), ("", " probability"), ("P(", ")"), ("P(", "|x)"), ("out[", "]")),
    ),
}
"""What stands before and after the name of a class."""

WORDS = ("cat", "dog", "owl", "Ant", "bee 2", "seed", "zebra", "y")


def truth(seed: int, classes: int, absent: set[int]) -> tuple[Any, Any]:
    """Probabilities and labels of a good classifier; some classes have no image."""
    generator = np.random.default_rng(seed)
    present = np.array([c for c in range(classes) if c not in absent] or [0])
    labels = generator.choice(present, size=IMAGES)
    logits = generator.normal(size=(IMAGES, classes)) + 3 * np.eye(classes)[labels]
    probs = np.exp(logits)
    return probs / probs.sum(1, keepdims=True), labels


def compare(file: Checked, probs: Any, labels: Any, order: Any, atol: float) -> None:
    """The same images: of the true class, the predicted one, and all in some order of classes."""
    read = np.exp(file.test.log_probs)
    every = np.arange(len(order))
    np.testing.assert_allclose(
        read[every, file.test.labels], probs[order, labels[order]], atol=atol
    )
    np.testing.assert_allclose(np.sort(read, 1), np.sort(probs[order], 1), atol=atol)
    np.testing.assert_array_equal(
        file.test.labels == read.argmax(1), labels[order] == probs[order].argmax(1)
    )


@st.composite
def tables(draw: Any) -> dict[str, Any]:
    """A truth, and one of the ways to write it."""
    classes = draw(st.integers(2, 8))
    first = draw(st.sampled_from([0, 1, 5]))
    numbered = draw(st.booleans())
    names = [str(first + i) for i in range(classes)] if numbered else list(WORDS[:classes])
    return {
        "seed": draw(st.integers(0, 999)),
        "classes": classes,
        "absent": draw(st.sets(st.integers(0, classes - 1), max_size=classes - 2)),
        "names": names,
        "numbered": numbered,
        "kind": (kind := draw(st.sampled_from(["probs", "percent", "logits", "log_probs"]))),
        "style": draw(st.sampled_from(STYLES["probs" if kind == "percent" else kind])),
        "columns": draw(st.permutations(range(classes))),
        "labels": draw(st.sampled_from(["name", "upper", "place", "column", "float"])),
        "label": draw(st.sampled_from(["label", "labels", "target", "y", "Label"])),
        "extras": draw(st.sets(st.sampled_from(["seed", "fold", "Unnamed: 0", "age", "note"]))),
        "front": draw(st.booleans()),
        "separator": draw(st.sampled_from([",", ";", "\t"])),
        "decimal": draw(st.booleans()),
        "encoding": draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])),
        "ids": draw(st.sampled_from(["", "id", "ID", "filename", "image_id", "path"])),
        "parts": draw(st.sampled_from(["", "val", "Dev", "valid", "train", "Validation set"])),
        "part": draw(st.sampled_from(["part", "split", "Subset", "phase"])),
    }


def write_table(path: Path, way: dict[str, Any], probs: Any, labels: Any) -> Any:
    """Write it, and say which images are of the test part."""
    prefix, suffix = way["style"]
    scores = {
        "probs": probs, "percent": 100 * probs, "logits": np.log(probs) + 3,
        "log_probs": np.log(probs),
    }[way["kind"]]  # fmt: skip
    names, generator = way["names"], np.random.default_rng(1)
    spoken = {
        "name": lambda i: names[i],
        "upper": lambda i: names[i].upper(),
        "place": str,
        "column": lambda i: prefix + names[i] + suffix,
        "float": lambda i: f"{float(names[i])}" if way["numbered"] else names[i],
    }[way["labels"]]
    parts = np.full(IMAGES, "test", dtype="U20")
    if way["parts"]:
        parts[generator.random(IMAGES) < 0.3] = way["parts"]
    extras = {
        "seed": ["0"] * IMAGES,
        "fold": (np.arange(IMAGES) % 2).astype(str).tolist(),
        "Unnamed: 0": np.arange(IMAGES).astype(str).tolist(),
        "age": generator.integers(20, 90, size=IMAGES).astype(str).tolist(),
        "note": ["fine"] * IMAGES,
    }
    extras = {k: v for k, v in extras.items() if k in way["extras"] and k not in names}
    columns = {
        prefix + names[c] + suffix: list(map(repr, scores[:, c].tolist())) for c in way["columns"]
    }
    other = {way["label"]: [spoken(i) for i in labels.tolist()]}
    if way["ids"]:
        other[way["ids"]] = [f"{i}.png" for i in range(IMAGES)]
    if way["parts"]:
        other[way["part"]] = parts.tolist()
    table = extras | columns | other if way["front"] else other | columns | extras
    separator = way["separator"]
    rows = [list(table), *map(list, zip(*table.values()))]
    if way["decimal"] and separator != ",":
        rows[1:] = [[cell.replace(".", ",") for cell in row] for row in rows[1:]]
    path.write_text("\n".join(separator.join(row) for row in rows), encoding=way["encoding"])
    return np.flatnonzero(parts == "test")


@given(tables())
@thorough
def test_tables_are_read_rightly_or_refused(tmp_path: Path, way: dict[str, Any]) -> None:
    probs, labels = truth(way["seed"], way["classes"], way["absent"])
    path = tmp_path / "file.csv"
    order = write_table(path, way, probs, labels)
    if len(set(labels[order].tolist())) < 2:
        return
    certain = way["labels"] in ("name", "upper") and "y" not in way["names"]
    with contextlib.nullcontext() if certain else contextlib.suppress(InputError):
        compare(from_file(path), probs, labels, order, 1e-9)


@st.composite
def archives(draw: Any) -> dict[str, Any]:
    """A truth, and one of the ways to save it."""
    classes = draw(st.integers(2, 8))
    return {
        "seed": draw(st.integers(0, 999)),
        "classes": classes,
        "absent": draw(st.sets(st.integers(0, classes - 1), max_size=classes - 2)),
        "kind": draw(st.sampled_from(["probs", "logits", "log_probs"])),
        "form": draw(st.sampled_from(["float64", "float32", "float16", "percent", "4 decimals"])),
        "names": draw(st.sampled_from(["none", "0", "1", "5", "words"])),
        "columns": draw(st.permutations(range(classes))),
        "class_type": draw(st.sampled_from(["int64", "float64", "U", "S"])),
        "labels": draw(st.sampled_from(["names", "places", "from 1", "one-hot"])),
        "label_type": draw(st.sampled_from(["int64", "uint8", "float32", "U", "S"])),
        "single": draw(st.booleans()),
    }


@given(archives())
@thorough
def test_archives_are_read_rightly_or_refused(tmp_path: Path, way: dict[str, Any]) -> None:
    probs, labels = truth(way["seed"], way["classes"], way["absent"])
    if len(set(labels.tolist())) < 2:
        return
    if way["form"] == "4 decimals":
        probs = probs.round(4)
    scores = {"probs": probs, "logits": np.log(probs + 1e-9), "log_probs": np.log(probs + 1e-9)}
    given_scores, classes = scores[way["kind"]], np.arange(way["classes"])
    if way["form"] == "percent":
        given_scores = 100 * given_scores if way["kind"] == "probs" else given_scores
    elif way["form"].startswith("float"):
        given_scores = given_scores.astype(way["form"])
    order = np.array(way["columns"])
    keys: dict[str, Any] = {}
    if way["names"] == "none":
        order, own = classes, classes
    elif way["names"] == "words":
        own = np.array(WORDS[: way["classes"]])
    else:
        own = classes + int(way["names"])
    if way["names"] != "none":
        keys["classes"] = own[order]
        if way["names"] != "words":
            keys["classes"] = own[order].astype(way["class_type"])
    if way["labels"] == "names":
        keys["labels"] = own[labels]
    elif way["labels"] == "one-hot":
        keys["labels"] = np.eye(way["classes"])[labels][:, order]
    else:
        keys["labels"] = np.argsort(order)[labels] + (way["labels"] == "from 1")
    if keys["labels"].dtype.kind in "iu":
        keys["labels"] = keys["labels"].astype(way["label_type"])
    keys[way["kind"]] = given_scores[:, order]
    if way["single"] and way["classes"] == 2:
        keys[way["kind"]] = given_scores[:, order[1]]
        if way["kind"] == "logits":
            keys["logits"] = given_scores[:, order[1]] - given_scores[:, order[0]]
    path = tmp_path / "file.npz"
    np.savez(path, **keys)
    certain = way["labels"] == "one-hot" or (way["labels"] == "names" and way["names"] != "none")
    certain &= not (way["single"] and way["classes"] == 2)
    tolerance = {"float16": 2e-2, "4 decimals": 5e-4, "float32": 1e-5}.get(way["form"], 1e-7)
    with contextlib.nullcontext() if certain else contextlib.suppress(InputError):
        file = from_file(path)
        every = np.arange(IMAGES)
        read = np.exp(file.test.log_probs)
        meant = probs / probs.sum(1, keepdims=True)
        np.testing.assert_allclose(
            read[every, file.test.labels], meant[every, labels], atol=tolerance
        )
        np.testing.assert_allclose(read, meant[:, order], atol=tolerance)


NAMINGS: dict[str, Any] = {
    "as they are": lambda i, c: f"data/test/c{c}/{i}.png",
    "backslashes": lambda i, c: f"data\\test\\c{c}\\{i}.png",
    "absolute": lambda i, c: f"/home/me/data/test/c{c}/{i}.png",
    "below": lambda i, c: f"c{c}/{i}.png",
    "file": lambda i, c: f"{i}.png",
    "no ending": lambda i, c: f"test/c{c}/{i}",
    "upper": lambda i, c: f"DATA/TEST/C{c}/{i}.PNG",
    "number": lambda i, c: f"{i:04d}",
    "another folder": lambda i, c: f"data/train/c{c}/{i}.png",
}
"""How images may be called; the last are other images."""


@given(
    st.integers(0, 999),
    st.sampled_from(["id", "ID", "file", "filename", "image", "path"]),
    *(st.sampled_from([*NAMINGS]) for _ in "ab"),
    *(st.permutations(["0", "1", "2"]) for _ in "ab"),
)
@settings(thorough, max_examples=60)
def test_neither_order_of_images_nor_of_classes_nor_spelling_matters(
    tmp_path: Path, seed: int, name: str, one: str, two: str, first: list[str], second: list[str]
) -> None:
    from benchmark.evaluation.agree import in_one_spelling, same_images
    from benchmark.evaluation.sources import from_files

    probs, labels = truth(seed, 3, set())
    order = np.random.default_rng(seed).permutation(IMAGES)
    for file, rows, how, columns in (
        ("a.csv", np.arange(IMAGES), one, first),
        ("b.csv", order, two, second),
    ):
        lines = [",".join([name, "label", *("p_" + "abc"[int(c)] for c in columns)])]
        for i in rows:
            values = [repr(float(probs[i, int(c)])) for c in columns]
            lines += [",".join([NAMINGS[how](i, labels[i]), "abc"[labels[i]], *values])]
        (tmp_path / file).write_text("\n".join(lines))
    methods = in_one_spelling(from_files([tmp_path / "a.csv", tmp_path / "b.csv"]))
    other = "another folder"
    with_folders = [*[*NAMINGS][:3], "upper", "no ending"]
    if (one == other and two in with_folders) or (two == other and one in with_folders):
        with pytest.raises(InputError, match="not about the same images"):
            same_images([*methods.values()])
        return
    (ids, others), _ = same_images([*methods.values()])
    assert others.tolist() == ids[order].tolist()
    a, b = (m.test for m in methods.values())
    np.testing.assert_allclose(b.log_probs, a.log_probs[order], atol=1e-12)
    np.testing.assert_array_equal(b.labels, a.labels[order])
