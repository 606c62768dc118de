import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import benchmark
from benchmark.cli import main
from benchmark.results import manifest
from tests import trees
from tests.bundled import ALL, WITH_TEMPERATURE

REPOSITORY = Path(__file__).resolve().parents[1]
SMALL = ["--datasets", "simulated[train=128,calibration=60,test=90]"]
FAST = ["--preset", "quick[epochs=2]"]
METHODS = ["--methods", "cross-entropy,deep-ensemble[members=2],temperature-scaling"]


def places(folder):
    return ["--results", str(folder / "results"), "--data-root", str(folder / "data")]


def start(folder, *words):
    command = [sys.executable, "-m", "benchmark", "run", *words, *places(folder), "--device", "cpu"]
    return subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip


def run(folder, *words):
    """In this process: (exit code)."""
    return main(["run", *words, *places(folder), "--device", "cpu", "--jobs", "1"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    assert run(folder, *SMALL, *FAST, *METHODS) == 0
    return folder


def test_a_run_leaves_the_leaderboard_and_all_that_belongs_to_it(finished):
    results = finished / "results"
    names = {path.name for path in results.iterdir()}
    assert {"scores.csv", "costs.csv", "leaderboard.md", "leaderboard.csv", "leaderboard.tex",
            "report.html", "figures", "store", "manifest.json"} <= names  # fmt: skip
    header = (results / "scores.csv").read_text().splitlines()[0]
    assert header == "preset,dataset,backbone,method,fold,seed,metric,value"
    board = (results / "leaderboard.md").read_text()
    for method in ("cross-entropy", "deep-ensemble[members=2]", "temperature-scaling"):
        assert method in board


def test_a_second_run_trains_nothing_and_says_so(finished, capsys):
    before = (finished / "results" / "scores.csv").read_bytes()
    assert run(finished, *SMALL, *FAST, *METHODS) == 0
    assert "0 fits trained, 10 found in the store, 0 failed" in capsys.readouterr().err
    assert (finished / "results" / "scores.csv").read_bytes() == before


def test_the_terminal_shows_cards_and_whole_files_by_a_flag(finished, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(finished / "results", copy)
    words = ["leaderboard", "--results", str(copy)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "│ First in mean rank " in shown
    assert f"The page with everything: {copy / 'report.html'}" in shown
    assert main([*words, "--format", "markdown"]) == 0
    assert capsys.readouterr().out == (copy / "leaderboard.md").read_text()
    assert main([*words, "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert {row["method"] for row in content["ranks"]} == {
        "cross-entropy", "deep-ensemble[members=2]", "temperature-scaling",
    }  # fmt: skip


def test_a_run_shows_its_own_data_sets_and_names_the_others(finished, tmp_path, capsys):
    shutil.copytree(finished / "results", tmp_path / "results")
    other = ["--datasets", "simulated[train=128,calibration=60,test=100]", "--folds", "1"]
    assert run(tmp_path, *other, *FAST, "--methods", "cross-entropy", "--format", "json") == 0
    captured = capsys.readouterr()
    shown = {row["dataset"] for row in json.loads(captured.out)["ranks"]}
    assert shown == {"simulated[calibration=60,test=100,train=128]"}
    assert "also hold simulated[calibration=60,test=90,train=128]" in captured.err
    files = (tmp_path / "results" / "leaderboard.csv").read_text()
    assert "test=90" in files
    assert "test=100" in files


def test_a_reference_that_is_not_there_is_refused(finished, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(finished / "results", copy)
    before = {path: path.stat().st_mtime_ns for path in copy.iterdir()}
    words = ["leaderboard", "--results", str(copy), "--against"]
    assert main([*words, "cross-entrpy"]) == 2
    said = capsys.readouterr().err
    assert "no method of the name 'cross-entrpy' is complete in any block" in said
    assert "cross-entropy, deep-ensemble[members=2], temperature-scaling" in said
    assert {path: path.stat().st_mtime_ns for path in copy.iterdir()} == before

    entries = manifest.read(copy).entries
    member = next(e for e in entries if e.origin.method.startswith("deep-ensemble")).fits[-1]
    [record] = (p for p in (copy / "store").rglob(f"{member}*") if p.suffix == ".npz")
    record.unlink()
    assert main([*words, "deep-ensemble[members=2]"]) == 2
    assert "is complete in any block; there are cross-entropy," in capsys.readouterr().err


def test_the_leaderboard_is_regenerated_byte_for_byte(finished, tmp_path):
    results = finished / "results"
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(results / "manifest.json", copy)
    shutil.copytree(results / "store", copy / "store")
    assert main(["leaderboard", "--results", str(copy)]) == 0
    made = sorted(p.relative_to(copy) for p in copy.rglob("*") if p.is_file())
    assert made == sorted(p.relative_to(results) for p in results.rglob("*") if p.is_file())
    for path in made:
        assert (copy / path).read_bytes() == (results / path).read_bytes(), path


def test_a_run_killed_at_any_moment_ends_with_the_same_scores(finished, tmp_path):
    generator = random.Random(0)
    folder = tmp_path
    deadline = time.monotonic() + 300
    for kill_after in (generator.uniform(4, 9), generator.uniform(5, 12), None):
        process = start(folder, *SMALL, *FAST, *METHODS)
        try:
            _, errors = process.communicate(timeout=kill_after)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        else:
            assert process.returncode == 0, errors
        assert time.monotonic() < deadline
    expected = (finished / "results" / "scores.csv").read_bytes()
    assert (folder / "results" / "scores.csv").read_bytes() == expected


def test_a_dry_run_prints_the_plan_and_trains_nothing(tmp_path, capsys):
    words = [*SMALL, *FAST, "--methods", f"{ALL},{WITH_TEMPERATURE}", "--dry-run"]
    assert run(tmp_path, *words) == 0
    plan = capsys.readouterr().out
    assert "115 distinct fits" in plan
    assert "0 fits already stored, 115 to train" in plan
    assert "estimated cost: about" in plan
    line = next(line for line in plan.splitlines() if line.split()[:1] == ["temperature-scaling"])
    assert "5 fits: 0 of its own" in line
    line = next(line for line in plan.splitlines() if line.split()[:1] == ["deep-ensemble"])
    assert "25 fits: 20 of its own" in line
    assert not (tmp_path / "results").exists()


def test_a_dry_run_needs_neither_weights_nor_network(tmp_path, capsys, monkeypatch):
    def refuse(*_, **__):
        pytest.fail("the network is asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    words = ["--datasets", "digits", "--methods", "cross-entropy", "--dry-run"]
    network = [*words, "--preset", "quick[size=32,enlarge=true]", "--backbone", "resnet10t"]
    for weights, name in (("imagenet", "imagenet:resnet10t.c3_in1k"), ("no.pt", "no.pt")):
        assert run(tmp_path, *network, "--weights", weights) == 0
        plan = capsys.readouterr().out
        assert "5 to train" in plan
        assert f"not checked: initial weights, whether they can be had and fit ({name})" in plan
    assert run(tmp_path, *words) == 0
    assert "not checked" not in capsys.readouterr().out  # of what needs no weights
    assert run(tmp_path, "--datasets", "kvasir,medmnist/pathmnist", "--dry-run") == 2
    said = capsys.readouterr().err
    assert "data set kvasir: no HyperKvasir in" in said
    assert "pathmnist.npz. Put NAME.npz from https://medmnist.com" in said
    assert not (tmp_path / "data" / "medmnist").exists()


def test_a_failed_fit_is_named_in_the_leaderboard_and_the_exit_code_is_1(tmp_path, capsys):
    words = ["--methods", "cross-entropy,dca[weight=1e38],focal"]
    assert run(tmp_path, *SMALL, *FAST, *words) == 1
    captured = capsys.readouterr()
    assert "diverged" in captured.err
    board = (tmp_path / "results" / "leaderboard.md").read_text()
    assert "dca[weight=1e38] on simulated" in board
    assert "is missing: training diverged" in board


def test_an_old_failure_does_not_fail_a_later_run(tmp_path):
    words = [*SMALL, *FAST, "--folds", "1"]
    assert run(tmp_path, *words, "--methods", "dca[weight=1e38]") == 1
    assert run(tmp_path, *words, "--methods", "cross-entropy") == 0


def test_a_fit_that_diverges_at_its_last_step_has_failed_too(tmp_path, capsys):
    words = [*SMALL, "--preset", "quick[epochs=1,batch=128,learning_rate=1e30]", "--folds", "1"]
    assert run(tmp_path, *words, "--methods", "cross-entropy,temperature-scaling") == 1
    assert "not finite" in capsys.readouterr().err


def test_cells_of_other_settings_leave_the_leaderboard(tmp_path, capsys):
    words = [*SMALL, *FAST, "--folds", "1"]
    assert run(tmp_path, *words, "--methods", "cross-entropy,focal") == 0
    other = ["--datasets", "simulated[train=128,calibration=60,test=90]", "--folds", "1"]
    manifest = tmp_path / "results" / "manifest.json"
    content = json.loads(manifest.read_text())
    for entry in content["entries"]:
        entry["settings"] = "of another run"
    manifest.write_text(json.dumps(content))
    assert run(tmp_path, *other, *FAST, "--methods", "focal") == 0
    assert "1 cells made with other settings" in capsys.readouterr().err
    assert "cross-entropy |" not in (tmp_path / "results" / "leaderboard.md").read_text()


def test_a_results_folder_that_cannot_be_made_is_one_message(tmp_path, capsys):
    (tmp_path / "results").write_text("a file")
    assert run(tmp_path, *SMALL, *FAST, *METHODS) == 2
    assert capsys.readouterr().err.count("Traceback") == 0


def test_chaoyang_and_kvasir_in_their_official_layouts(tmp_path, capsys):
    data = tmp_path / "data"
    trees.chaoyang(data)
    trees.kvasir(data)
    words = ["--datasets", "chaoyang,kvasir", "--weights", "none", "--backbone", "small"]
    assert run(tmp_path, *words, "--preset", "quick[epochs=1,size=16]", "--folds", "2") == 0
    board = (tmp_path / "results" / "leaderboard.md").read_text()
    assert "chaoyang" in board
    assert "kvasir" in board
    assert "mhml-10" in board
    official = [
        "--preset",
        "paper[epochs=10,size=16]",
        "--seeds",
        "1",
        "--methods",
        "cross-entropy",
    ]
    assert run(tmp_path, *words, *official) == 0


def test_missing_data_end_before_training_with_what_to_get_and_where(tmp_path, capsys):
    assert run(tmp_path, "--datasets", "chaoyang,kvasir", "--weights", "none") == 2
    message = capsys.readouterr().err
    assert "bupt-ai-cz.github.io/HSA-NRL" in message
    assert str(tmp_path / "data") in message
    assert main(["data", "check", "kvasir", "--data-root", str(tmp_path / "data")]) == 2
    assert "datasets.simula.no" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_pneumonia_in_a_quick_run(tmp_path, shared_data):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "medmnist").symlink_to(shared_data / "pneumoniamnist")
    words = ["--datasets", "medmnist/pneumoniamnist", "--methods", "cross-entropy,mhml-2"]
    assert (
        run(tmp_path, *words, "--preset", "quick[epochs=1,batch=128]", "--folds", "official") == 0
    )
    assert "pneumoniamnist" in (tmp_path / "results" / "leaderboard.md").read_text()


def test_lesions_are_never_split(tmp_path, shared_data):
    table = shared_data / "ham10000_112" / "labels.csv"
    name = f"csv:{table}[group=lesion_id,name=ham10000]"
    words = ["--datasets", name, "--methods", "cross-entropy", "--folds", "2"]
    assert run(tmp_path, *words, "--preset", "quick[epochs=1,batch=256,size=16]") == 0
    for path in (tmp_path / "results" / "store").glob("*.npz"):
        with np.load(path, allow_pickle=False) as record:
            groups = {part: set(record[f"{part}_groups"]) for part in ("calibration", "test")}
            ids = [*record["calibration_ids"], *record["test_ids"]]
            info = json.loads(record["info"].item())
        assert not groups["calibration"] & groups["test"]
        assert sum(info["train_counts"]) + len(set(ids)) == 10015


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--methods", "focl"], "did you mean focal"),
        (["run", "--methods", "mhml[heads=1]"], "heads=1"),
        (["run", "--methods", "mhml[heads=0]"], "heads=0"),
        (["run", "--datasets", "digit"], "did you mean digits"),
        (["run", "--backbone", "resnet51", "--datasets", "digits"], "did you mean"),
        (["run", "--preset", "fast", "--datasets", "digits"], "unknown preset"),
        (["run", "--folds", "0"], "whole number of 1 or more"),
        (["run", "--jobs", "-1"], "whole number of 1 or more"),
        (["run", "--datasets", "digits", "--preset", "quick[momentum=-1]"], "momentum=-1"),
        (["run", "--datasets", "digits", "--backbone", "resnet18.nosuchtag"], "unknown backbone"),
        (["run", "--datasets", "digits", "--backbone", "vit_tiny_patch16_224"], "8 pixels"),
        (["run", "--datasets", "digits", "--weights", ""], "no such file"),
        (["run", "--colour", "red"], "unrecognized arguments"),
        (["run", "--device", "tpu"], "invalid choice"),
        (["run", "--weights", "absent.pt", "--datasets", "digits"], "no such file"),
        (["run", "--datasets", "csv:absent.csv"], "absent.csv"),
        (["run", "--datasets", "csv:ab\x1bsent.csv"], "ab\ufffdsent.csv"),
        (["run", "--datasets", "folder:"], "say which"),
        (["run", "--config", "absent.toml"], "absent.toml"),
        (["run", "--plugins", "absent"], "there is no folder absent"),
        (["leaderboard"], "holds no results yet"),
        (["run", "--folds", "some"], "folds: 'some' is not a whole number of 1 or more, nor"),
        (["run", "--format", "html"], "invalid choice"),
        (["list", "colours"], "invalid choice"),
        ([], "required"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err


def two_classes(folder):
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            pixels = generator.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def test_bad_images_and_labels_are_named(tmp_path, capsys):
    folder = two_classes(tmp_path / "images")
    words = ["--datasets", f"folder:{folder}", *FAST, "--methods", "cross-entropy"]
    (folder / "dog" / "3.png").write_bytes(b"no image")
    assert run(tmp_path, *words) == 2
    assert os.path.join("dog", "3.png") in capsys.readouterr().err
    for number in range(2, 6):
        (folder / "dog" / f"{number}.png").unlink()
    assert run(tmp_path, *words) == 2
    assert "'dog' has 2" in capsys.readouterr().err


def test_on_duplicates_is_a_flag_a_key_and_a_keyword(tmp_path, capsys):
    folder = two_classes(tmp_path / "cells")
    shutil.copy(folder / "cat" / "0.png", folder / "cat" / "copy.png")
    words = ["--datasets", f"digits,folder:{folder}", *FAST, "--dry-run", "--folds", "2"]
    words += ["--methods", "cross-entropy"]

    assert run(tmp_path, *words, "--on-duplicates", "drop") == 0
    captured = capsys.readouterr()
    assert "folder:cells[on_duplicates=drop] (quick" in captured.out
    assert "1 images are dropped (on_duplicates=drop)" in captured.err
    assert "note: digits has no on_duplicates: its images stay as published" in captured.err
    assert run(tmp_path, *words, "--on-duplicates", "error") == 2
    assert "on_duplicates=error refuses them" in capsys.readouterr().err
    own = ["--datasets", f"folder:{folder}[on_duplicates=ignore]"]  # what is nearer counts
    assert run(tmp_path, *words, *own, "--on-duplicates", "error") == 0
    assert run(tmp_path, *words, "--on-duplicates", "group") == 0
    assert "folder:cells (quick" in capsys.readouterr().out  # the default changes no name

    config = tmp_path / "run.toml"
    config.write_text('on-duplicates = "drop"\n')
    assert run(tmp_path, *words, "--config", str(config)) == 0
    assert "1 images are dropped" in capsys.readouterr().err

    check = ["data", "check", f"folder:{folder}", "--on-duplicates"]
    for how, said in (("drop", "1 images are dropped"), ("group", "share a group")):
        assert main([*check, how]) == 0
        assert said in capsys.readouterr().out
    assert main([*check, "error"]) == 1
    assert main([*check, "some"]) == 2

    options = {"methods": "cross-entropy", "folds": 2, "device": "cpu", "results": tmp_path / "r"}
    for how, message in (("error", "error refuses them"), ("some", "'some' is none of group, dr")):
        with pytest.raises(benchmark.InputError, match=message):
            benchmark.run(datasets=f"folder:{folder}", on_duplicates=how, **options)


def test_a_config_file_has_the_same_keys_and_flags_win(tmp_path, capsys):
    config = tmp_path / "run.toml"
    config.write_text(
        'methods = ["focal", "mixup"]\ndatasets = "digits"\nfolds = 2\ndry-run = true\n'
        f'results = "{tmp_path}/r"\ndata_root = "{tmp_path}/d"\npreset = "quick[epochs=1]"\n'
    )
    assert main(["run", "--config", str(config)]) == 0
    plan = capsys.readouterr().out
    assert "4 distinct fits" in plan
    assert main(["run", "--config", str(config), "--folds", "3"]) == 0
    assert "6 distinct fits" in capsys.readouterr().out
    config.write_text("colour = 1\n")
    assert main(["run", "--config", str(config)]) == 2
    assert "unknown key 'colour'" in capsys.readouterr().err
    config.write_text("folds = 'x'\n")
    assert main(["run", "--config", str(config)]) == 2
    config.write_text("folds = [")
    assert main(["run", "--config", str(config)]) == 2
    assert "not TOML" in capsys.readouterr().err


@pytest.mark.parametrize(
    "what", ["methods", "datasets", "calibrators", "metrics", "costs", "presets"]
)
def test_everything_can_be_listed(what, capsys):
    assert main(["list", what, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len({row["name"] for row in rows}) == len(rows) >= 3
    assert main(["list", what]) == 0
    table = capsys.readouterr().out
    assert all(row["name"] in table for row in rows)


def test_help_and_wrong_flags_load_nothing_heavy():
    code = (
        "import sys; from benchmark.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'pandas', 'scipy', 'sklearn', 'matplotlib', 'timm', 'netcal'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    for words in (["--help"], ["run", "--help"], ["run", "--colour"]):
        light = "'numpy', 'rich', " if "--help" in words else ""
        done = subprocess.run(
            [sys.executable, "-c", code.replace("{", "{" + light), *words], cwd=REPOSITORY,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.splitlines()[-1] == "[]"
