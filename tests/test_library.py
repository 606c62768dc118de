"""What ``import benchmark`` gives."""

import copy
import importlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import benchmark
from benchmark.api import BlockKey

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = "simulated[train=128,calibration=60,test=90]"
OTHER = "simulated[train=128,calibration=60,test=120]"
KEY = list(BlockKey._fields)


def run(folder, methods="cross-entropy,temperature-scaling", datasets=DATA, **more):
    places = {"results": folder / "results", "data_root": folder / "data", "jobs": 1}
    options = {"preset": "quick[epochs=1]", "folds": 2, "device": "cpu", **places, **more}
    return benchmark.run(methods, datasets, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    run(folder, datasets=OTHER, methods="cross-entropy", progress=False)
    return folder, run(folder)


def loaded_by(code):
    names = "{'numpy', 'torch', 'pandas', 'rich'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print(sorted({names}))"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()[-1]


def test_importing_loads_nothing_heavy():
    assert loaded_by("import benchmark; dir(benchmark)") == "[]"
    assert "torch" not in loaded_by("import benchmark; benchmark.run; benchmark.evaluate")
    assert set(benchmark.__all__) <= set(dir(benchmark))
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        _ = benchmark.runn
    with pytest.raises(ImportError, match="runn"):
        exec("from benchmark import runn")


def test_a_run_gives_its_data_sets_and_what_it_did(finished):
    folder, results = finished
    assert (results.trained, results.stored, results.failed) == (2, 0, {})
    for frame in (results.ranks, results.intervals, results.pairs, results.scores, results.costs):
        assert set(frame["dataset"]) == {"simulated[calibration=60,test=90,train=128]"}
        assert frame.index.tolist() == list(range(len(frame)))
    assert set(results.ranks["method"]) == {"cross-entropy", "temperature-scaling"}
    assert "2 rows of 1 leaderboards" in repr(results)
    assert results.folder == folder / "results"
    assert not results.missing


def test_a_run_again_trains_nothing_and_gives_the_same(finished):
    folder, first = finished
    again = run(folder, methods=["cross-entropy", "temperature-scaling"], datasets=[DATA])
    assert (again.trained, again.stored) == (0, 2)
    for name in ("ranks", "intervals", "pairs", "detectable", "scores", "costs"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(first, name))


def test_progress_is_said_on_standard_error_or_not_at_all(finished, capfd):
    folder, _ = finished
    run(folder, progress=False)
    assert capfd.readouterr() == ("", "")
    run(folder)
    out, err = capfd.readouterr()
    assert out == ""
    assert "0 fits trained, 2 found in the store, 0 failed" in err
    assert "the tables there also hold simulated[calibration=60,test=120,train=128]" in err


def test_the_frames_are_what_the_files_say(finished):
    folder, results = finished
    for name in ("scores", "costs"):
        written = pd.read_csv(folder / "results" / f"{name}.csv")
        written = written[written["dataset"] == results.ranks["dataset"][0]]
        ours = getattr(results, name)
        assert ours["value"].to_numpy() == pytest.approx(written["value"].to_numpy(), nan_ok=True)
    own = results.scores.groupby(["metric", "method"])["value"].mean()
    values = results.intervals.set_index(["metric", "method"])["networks_value"]
    for key in own.index:
        assert values[key] == pytest.approx(own[key], nan_ok=True)
    mean = results.mean_costs().set_index(["metric", "method"])["value"]
    each = results.costs.groupby(["metric", "method"])["value"].mean()
    assert mean.sort_index().tolist() == pytest.approx(each.sort_index().tolist(), nan_ok=True)
    assert results.notes


def test_the_command_of_a_run_is_kept(finished):
    folder, _ = finished
    page = (folder / "results" / "report.html").read_text()
    assert "benchmark.run(methods=" in page


def test_loading_gives_all_or_what_is_chosen(finished, tmp_path):
    folder, _ = finished
    everything = benchmark.load_results(folder / "results")
    assert everything.ranks.groupby(KEY).ngroups == 2
    assert (everything.trained, everything.stored) == (0, 0)
    chosen = benchmark.load_results(
        folder / "results", datasets="*test=90*", metrics=["brier"],
        against="temperature-scaling", alpha=0.5,
    )  # fmt: skip
    assert chosen.ranks.groupby(KEY).ngroups == 1
    assert set(chosen.intervals["metric"]) == {"accuracy", "ece", "nll", "brier"}
    assert set(chosen.pairs.query("metric == 'brier'")["reference"]) >= {"temperature-scaling"}
    keys = [*KEY, "method", "metric"]
    both = everything.intervals.merge(chosen.intervals, on=keys).query("metric == 'accuracy'")
    assert (both["high_x"] - both["low_x"] > both["high_y"] - both["low_y"]).all()
    benchmark.load_results(folder / "results")


def test_figures_are_found_by_name_and_by_its_beginning(finished):
    folder, _ = finished
    results = benchmark.load_results(folder / "results")
    names = list(results.figures)
    assert names
    assert all(results.figures[name].name == f"{name}.svg" for name in names)
    assert "<svg" in results.figure(names[0])._repr_svg_()
    with pytest.raises(benchmark.InputError, match="several figures begin with 'intervals'"):
        results.figure("intervals")
    with pytest.raises(benchmark.InputError, match=r"'nothing': .*intervals--"):
        results.figure("nothing")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": 0}, "folds: 0 is not a whole number of 1 or more, nor official"),
        ({"folds": "all"}, "folds: 'all' is not"),
        ({"seeds": 1.5}, "seeds: 1.5 is not a whole number of 1 or more"),
        ({"jobs": True}, "jobs: True is not"),
        ({"device": "tpu"}, "device: 'tpu' is none of auto, cpu and cuda"),
        ({"methods": ["focl"]}, "did you mean focal"),
        ({"datasets": ["digit"]}, "did you mean digits"),
        ({"methods": []}, "no method is selected"),
        ({"preset": "fast"}, "unknown preset"),
        ({"weights": Path("absent.pt")}, "absent.pt: there is no such file"),
        ({"plugins": "absent"}, "there is no folder absent"),
    ],
)
def test_mistakes_are_refused_before_anything_is_made(tmp_path, changes, message):
    with pytest.raises(benchmark.InputError, match=re.escape(message)) as caught:
        run(tmp_path, **changes)
    assert "--" not in str(caught.value)
    assert not (tmp_path / "results").exists()


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(benchmark.InputError, match="holds no results yet"):
        benchmark.load_results(tmp_path)


def test_a_run_of_which_every_fit_failed_says_so_and_has_no_rows(tmp_path, capfd):
    results = run(tmp_path, "dca[weight=1e38]", folds=1)
    assert [reason.split(":")[0] for reason in results.failed.values()] == ["training diverged"]
    assert len(results.ranks) == len(results.scores) == len(results.costs) == 0
    assert "nothing could be ranked: every fit failed" in capfd.readouterr().err
    assert results.to_json()
    assert results._repr_html_() == ""


def test_a_plugin_folder_brings_methods(tmp_path, monkeypatch):
    from benchmark.api import plugins

    (tmp_path / "mine" / "methods").mkdir(parents=True)
    (tmp_path / "mine" / "methods" / "mine.py").write_text(
        "from benchmark.api import Method, Recipe\n"
        "METHODS = (Method(name='mine', summary='Mine.', paper='', recipe=Recipe(dropout=0.3)),)\n"
    )
    monkeypatch.setenv("BENCHMARK_PLUGINS", "")
    try:
        results = run(tmp_path, "mine", folds=1, plugins=tmp_path / "mine", progress=False)
    finally:
        monkeypatch.undo()
        for name in plugins.FOLDERS:
            importlib.reload(importlib.import_module(f"benchmark.{name}"))
        plugins.clear()
    assert set(results.ranks["method"]) == {"mine"}


def test_the_examples_of_the_documentation_run(tmp_path, monkeypatch, capsys):
    text = (REPOSITORY / "docs" / "library.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 5
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks:
        exec(compile(block, "docs/library.md", "exec"), names)
    said = capsys.readouterr().out
    assert "4 fits trained, 0 failed" in said
    assert "unknown method 'focl'; did you mean focal" in said


def test_the_notebook_runs_and_shows_its_progress(tmp_path, monkeypatch):
    for needed in ("ipykernel", "nbclient", "nbformat"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed: notebooks cannot be run")
    import nbclient
    import nbformat

    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    notebook = nbformat.read(REPOSITORY / "docs" / "example.ipynb", as_version=4)
    kept = copy.deepcopy(notebook)
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    training, shown, *_, figure, _ = (c for c in notebook.cells if c.cell_type == "code")
    said = "".join(o["data"]["text/plain"] for o in training.outputs if "data" in o)
    assert "4/4" in re.sub(r"\x1b\[[\d;]*m", "", said)
    assert "4 fits trained" in said
    assert "<h4>simulated" in shown.outputs[-1]["data"]["text/html"]
    assert "<svg" in "".join(figure.outputs[-1]["data"]["image/svg+xml"])
    assert not any(c.get("outputs") for c in kept.cells), "commit the notebook without its outputs"


def test_types_are_shipped():
    assert (REPOSITORY / "benchmark" / "py.typed").is_file()
