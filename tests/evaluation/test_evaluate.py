"""``evaluate``: published numbers of published predictions, comparison of files, what it prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax

from benchmark.cli import main
from benchmark.plan.registry import calibrators

METRICS = "ece,nll,accuracy"


def make(path: Path, seed: int = 0, images: int = 300, classes: int = 3, **keys: Any) -> Path:
    """Over-confident predictions; the same labels for every seed."""
    labels = np.random.default_rng(7).integers(classes, size=images)
    generator = np.random.default_rng(seed)
    logits = 2 * np.eye(classes)[labels] + generator.normal(size=(images, classes))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **({"test_logits": 3 * logits, "test_labels": labels} | keys))
    return path


def answer(capsys: pytest.CaptureFixture[str], out: Path, *words: Any) -> dict[str, Any]:
    """What ``--format json`` prints: JSON and nothing else."""
    assert main(["evaluate", *map(str, words), "--out", str(out), "--format", "json"]) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def values(content: dict[str, Any], metric: str) -> list[float]:
    return [method["metrics"][metric]["value"] for method in content["methods"]]


def refused(capsys: pytest.CaptureFixture[str], out: Path, *words: Any) -> str:
    assert main(["evaluate", *map(str, words), "--out", str(out)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    return printed.err


# --- published numbers -----------------------------------------------------------------------


def test_resnet_on_cifar_10(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = shared_data / "logits" / "cifar10_resnet110_nncal.npz"
    words = (file, "--calibrate", "temperature", "--metrics", METRICS)
    content = answer(capsys, tmp_path, *words)
    assert [m["method"] for m in content["methods"]] == [file.stem, f"{file.stem}+temperature"]
    assert values(content, "accuracy")[0] == pytest.approx(1 - 0.0644, abs=1e-12)
    assert values(content, "ece") == pytest.approx([0.047504, 0.011321], abs=1e-5)
    assert values(content, "nll") == pytest.approx([0.358274, 0.209261], abs=1e-6)
    assert content["against"] == file.stem
    to_best = content["methods"][0]["metrics"]["nll"]["difference_to_best"]
    assert to_best["reference"] == content["methods"][1]["method"]
    assert to_best["difference"] == pytest.approx(0.358274 - 0.209261, abs=2e-6)
    difference = content["methods"][1]["metrics"]["nll"]["difference"]
    assert difference["difference"] == pytest.approx(0.209261 - 0.358274, abs=2e-6)
    assert difference["high"] < 0


@pytest.mark.parametrize(
    ("name", "ece"),
    [("cifar100_resnet20_ferrer", 0.103), ("pneumoniamnist_resnet50_ferrer", 0.077)],
)
def test_logits_of_expected_cost(
    shared_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    ece: float,
) -> None:
    file = shared_data / "logits" / f"{name}.npz"
    content = answer(capsys, tmp_path, file, "--metrics", "ece")
    assert values(content, "ece") == pytest.approx([ece], abs=5e-4)
    floor = content["methods"][0]["metrics"]["ece"]
    assert floor["floor_high"] < floor["low"] < floor["value"] < floor["high"]


# --- one file, several files -----------------------------------------------------------------


def test_one_file_gives_the_whole_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = make(tmp_path / "net.npz", note=np.zeros(1))
    out = tmp_path / "out"
    assert main(["evaluate", str(file), "--out", str(out), "--name", "my <b>images</b>"]) == 0
    printed = capsys.readouterr()
    assert "ECE % ↓" in printed.out
    assert "300 test images." in printed.out
    assert str(out / "report.html") in printed.out
    assert f"{file}: not read: note" in printed.out
    assert "3 classes: 0, 1, 2" in printed.out
    assert "test part: test_logits, test_labels" in printed.out
    assert printed.err == ""
    written = {path.name for path in out.iterdir()}
    assert written == {
        *("scores.csv", "leaderboard.md", "leaderboard.csv", "leaderboard.tex"),
        *("figures", "report.html"),
    }
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "my &lt;b&gt;images" in page
    assert "my <b>images" not in page
    assert "SHA-256" in page


def test_the_same_twice_is_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = make(tmp_path / "net.npz"), tmp_path / "out"
    pages = []
    for _ in range(2):
        content = answer(capsys, out, file, "--metrics", METRICS)
        pages.append((json.dumps(content), (out / "report.html").read_bytes()))
    assert pages[0] == pages[1]


def test_files_are_methods_on_the_same_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = make(tmp_path / "one.npz"), make(tmp_path / "two.npz", seed=1)
    content = answer(capsys, tmp_path / "out", one, two, "--metrics", METRICS, "--alpha", 0.1)
    assert [m["method"] for m in content["methods"]] == ["one", "two"]
    assert content["against"] == "one"
    assert content["alpha"] == 0.1
    networks, block = content["notes"]
    assert "holds for these trained networks" in networks
    assert block.startswith("One block")
    assert set(content["methods"][0]) == {
        "method", "rank", "against_first", "metrics",
        *(f"{what}_{metric}" for what in ("rank", "group", "best")
          for metric in ("accuracy", "ece", "nll")),
    }  # fmt: skip
    own = content["methods"][1]["metrics"]["accuracy"]
    expected = values(content, "accuracy")[1] - values(content, "accuracy")[0]
    assert own["difference"]["difference"] == pytest.approx(expected)
    assert "difference" not in content["methods"][0]["metrics"]["accuracy"]
    other = answer(
        capsys, tmp_path / "out", one, two, "--metrics", METRICS, "--against", "two", "--alpha", 0.1
    )
    mirrored = other["methods"][0]["metrics"]["accuracy"]["difference"]["difference"]
    assert mirrored == pytest.approx(-expected)


def test_cross_entropy_is_the_reference_where_it_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [make(tmp_path / "a.npz", 1), make(tmp_path / "cross-entropy.npz", 2)]
    content = answer(capsys, tmp_path / "out", *files, "--metrics", METRICS)
    assert content["against"] == "cross-entropy"


def test_images_are_matched_by_name_and_tables_with_archives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(make(tmp_path / "net.npz")) as archive:
        logits, labels = archive["test_logits"], archive["test_labels"]
    ids = np.array([f"image {i}" for i in range(len(labels))])
    named = make(tmp_path / "named.npz", ids=ids, groups=np.arange(300) // 3)
    order = np.random.default_rng(3).permutation(len(labels))
    lines = ["id,label,logit_0,logit_1,logit_2"]
    lines += [
        ",".join(map(str, (ids[i], labels[i], *map(float, logits[i])))) for i in order.tolist()
    ]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(lines), encoding="utf-8")
    words = (named, table, "--metrics", METRICS)
    content = answer(capsys, tmp_path / "out", *words)
    for metric in ("accuracy", "nll", "ece"):
        one, other = values(content, metric)
        assert one == pytest.approx(other, rel=1e-12)
        assert content["methods"][1]["metrics"][metric]["difference"]["p"] == 1
    assert any("in 100 groups" in note for note in content["notes"])
    unnamed = tmp_path / "net.npz"
    assert "different orders" in refused(capsys, tmp_path / "out", named, table, unnamed)


def test_files_of_the_same_name_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(Path("a/net.npz"))
    make(Path("b/net.npz"), seed=1)
    content = answer(capsys, Path("out"), "a/net.npz", "b/net.npz", "--metrics", METRICS)
    assert [m["method"] for m in content["methods"]] == ["a/net.npz", "b/net.npz"]
    assert "given 2 times" in refused(capsys, Path("out"), "a/net.npz", "a/net.npz")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": 299}, "have 300 and 299 test images"),
        ({"classes": 4}, "have 3 and 4 classes"),
        ({"ids": np.arange(300) + 1}, "are not about the same images: '300'"),
        ({"test_labels": np.arange(300) % 3}, "give different labels to"),
        ({"groups": np.arange(300)}, "give different groups to"),
        ({"classes_": ["a", "b", "d"]}, "name their classes differently: a, b, c and a, b, d"),
    ],
)
def test_files_that_do_not_belong_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], words: str
) -> None:
    common = {"ids": np.arange(300), "groups": np.arange(300) // 2, "classes": list("abc")}
    with np.load(make(tmp_path / "plain.npz")) as archive:
        plain = dict(archive)
    one = tmp_path / "one.npz"
    np.savez(one, **(plain | common))
    if {"images", "classes"} & set(changes):
        two = make(tmp_path / "two.npz", **changes)
    else:
        two = tmp_path / "two.npz"
        np.savez(two, **(plain | common | {k.removesuffix("_"): v for k, v in changes.items()}))
    message = refused(capsys, tmp_path / "out", one, two)
    assert words in message
    assert str(one) in message
    assert str(two) in message


# --- calibrators -----------------------------------------------------------------------------


def test_calibrators_are_fitted_on_the_calibration_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(make(tmp_path / "net.npz", images=400)) as archive:
        logits, labels = archive["test_logits"], archive["test_labels"]
    file = tmp_path / "net.npz"
    np.savez(
        file,
        logits=logits[:200],
        labels=labels[:200],
        val_logits=logits[200:],
        val_labels=labels[200:],
    )
    words = (file, "--metrics", METRICS, "--calibrate", "isotonic,temp*")
    content = answer(capsys, tmp_path / "out", *words)
    assert [m["method"] for m in content["methods"]] == ["net", "net+isotonic", "net+temperature"]
    temperature = calibrators()["temperature"].fit(log_softmax(logits[200:], 1), labels[200:])
    expected = -temperature(log_softmax(logits[:200], 1))[np.arange(200), labels[:200]].mean()
    assert values(content, "nll")[2] == pytest.approx(expected, rel=1e-9)


def test_a_calibration_part_of_one_class_matters_to_calibrators_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = {"val_logits": np.zeros((9, 3)), "val_labels": np.full(9, 2)}
    file = make(tmp_path / "net.npz", **part)
    answer(capsys, tmp_path / "out", file, "--metrics", METRICS)
    message = refused(capsys, tmp_path / "out", file, "--calibrate", "temperature")
    assert f"{file}: all 9 images of the calibration part are of class 2" in message


def test_calibrators_that_cannot_be_had(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = make(tmp_path / "net.npz")
    message = refused(capsys, tmp_path / "out", file, "--calibrate", "temperature")
    assert message.startswith(f"error: {file}: calibrators need a part to fit on: add val_logits")
    message = refused(capsys, tmp_path / "out", file, "--calibrate", "temprature")
    assert "unknown calibrator 'temprature'; did you mean temperature" in message
    refused(capsys, tmp_path / "out", file, "--calibrate", ",")


# --- what is printed, and what is refused ----------------------------------------------------


def test_infinite_losses_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probs, labels = np.full((200, 2), 0.5), np.arange(200) % 2
    probs[0] = (0, 1)
    file = tmp_path / "sure.npz"
    np.savez(file, probs=probs, labels=labels)
    content = answer(capsys, tmp_path / "out", file, "--metrics", "nll")
    assert content["methods"][0]["metrics"]["nll"]["value"] == "Infinity"
    assert content["methods"][0]["metrics"]["nll"]["low"] is None
    assert main(["evaluate", str(file), "--out", str(tmp_path / "out"), "--metrics", "nll"]) == 0
    assert "∞" in capsys.readouterr().out


def test_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [make(tmp_path / "one.npz"), make(tmp_path / "[red]two.npz", seed=1)]
    out = tmp_path / "out"
    words = ["evaluate", *map(str, files), "--out", str(out), "--metrics", METRICS]
    assert main([*words, "--format", "markdown"]) == 0
    assert capsys.readouterr().out == (out / "leaderboard.md").read_text(encoding="utf-8")
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "95 % interval" in printed
    assert printed.count("difference to") == 2
    assert "  [red]two" in printed
    assert max(map(len, printed.splitlines())) <= 160


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--metrics", "ecee"], "unknown metric ecee"),
        (["--against", "other"], "no method is called other; there are net"),
        (["--alpha", "0"], "alpha=0.0"),
        (["--alpha", "nan"], "alpha=nan"),
        (["--name", " "], "the name of the data set is empty"),
    ],
)
def test_bad_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    assert expected in refused(capsys, tmp_path / "out", make(tmp_path / "net.npz"), *words)


def test_bad_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = make(tmp_path / "net.npz")
    assert f"no report in {file}: " in refused(capsys, file, file)
    (tmp_path / "manifest.json").write_text("{}")
    assert "results of a run" in refused(capsys, tmp_path, file)


def test_bad_files_are_one_line_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = make(tmp_path / "net.npz", test_logits=np.zeros((300, 2)))
    message = refused(capsys, tmp_path / "out", file)
    assert message.startswith(f"error: {file}: test_labels: 2 in row")
    assert not (tmp_path / "out").exists()


def test_a_calibration_part_gives_its_class_shares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.repeat([0, 1, 2], (60, 30, 7))
    noise = np.random.default_rng(1).normal(size=(len(labels), 3))
    part = {"val_logits": 2 * np.eye(3)[labels] + noise, "val_labels": labels}
    file = make(tmp_path / "net.npz", **part)
    content = answer(capsys, tmp_path / "out", file, "--metrics", "nll")
    (shares,) = content["unranked"]
    true = np.load(file)["test_labels"]
    expected = -np.log(np.array([0.61, 0.31, 0.08])[true]).mean()
    assert shares["metrics"]["nll"]["value"] == pytest.approx(expected)
    assert [method["method"] for method in content["methods"]] == ["net"]
    assert not [note for note in content["notes"] if "class shares" in note or "part" in note]
    assert main(["evaluate", str(file), "--metrics", "nll"]) == 0
    printed = capsys.readouterr().out
    assert "class-shares is no method" in printed
    assert "difference" not in printed
    without = answer(capsys, tmp_path / "out", make(tmp_path / "bare.npz"), "--metrics", "nll")
    assert without["unranked"] == []


def test_a_calibration_part_of_other_images_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.arange(200) % 3
    right = 3 * np.eye(3)[np.where(np.arange(200) < 140, labels, (labels + 1) % 3)]
    file = make(tmp_path / "net.npz", val_logits=right, val_labels=labels)
    notes = answer(capsys, tmp_path / "out", file, "--metrics", "nll")["notes"]
    (said,) = [note for note in notes if "calibration part" in note]
    assert "70.0 % of the images of the calibration part" in said
    assert "do not rely on calibrated probabilities here" in said
