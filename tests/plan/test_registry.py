import importlib
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.api import InputError, plugins
from benchmark.plan import registry
from tests import bundled


@pytest.fixture
def own_plugins(tmp_path, monkeypatch):
    """Mounts a folder of plug-ins, and unmounts it afterwards."""
    (tmp_path / "methods").mkdir()
    (tmp_path / "datasets").mkdir()

    def write(path, text):
        (tmp_path / path).write_text(textwrap.dedent(text))

    monkeypatch.setenv("BENCHMARK_PLUGINS", "")
    yield tmp_path, write
    monkeypatch.undo()
    _remount()


def _remount():
    for name in plugins.FOLDERS:
        importlib.reload(importlib.import_module(f"benchmark.{name}"))
    plugins.clear()


def names(text):
    return [method.name for method in registry.select_methods(text)]


def test_all_holds_the_21_methods():
    assert len(set(bundled.METHODS)) == 21
    assert set(bundled.METHODS) <= set(names("all"))


def test_a_family_takes_parameters_and_its_variants_their_plain_names():
    assert names("mhml[heads=6]") == ["mhml-6"]
    assert names("mhml[heads=12]") == ["mhml-12"]
    assert names("mhsl") == ["mhsl-2", "mhsl-4"]
    assert names("mhml-*") == [f"mhml-{heads}" for heads in range(2, 11)]
    (method,) = registry.select_methods("mhml[heads=6]")
    assert method.recipe.heads == 6


def test_methods_equal_by_value_are_listed_once_under_the_registered_name():
    assert names("label-smoothing[smoothing=0.05],label-smoothing") == ["label-smoothing"]
    assert names("cross-entropy+temperature") == ["temperature-scaling"]
    assert names("temperature-scaling+temperature") == ["temperature-scaling"]
    assert names("temperature-scaling+vector") == ["cross-entropy+vector"]
    assert names("deep-ensemble[members=1]") == ["cross-entropy"]
    assert len(names(bundled.WITH_TEMPERATURE)) == 20


def test_parameters_show_in_the_name_and_reach_the_recipe():
    (method,) = registry.select_methods("mc-dropout[passes=7]")
    assert method.name == "mc-dropout[passes=7]"
    assert method.passes == 7
    (method,) = registry.select_methods("focal[gamma=1.5]+isotonic")
    assert method.name == "focal[gamma=1.5]+isotonic"
    assert method.recipe.gamma == 1.5
    assert method.calibrator == "isotonic"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("focl", "did you mean focal"),
        ("mhml[heads=1]", "heads=1"),
        ("mhml[heads=0]", "heads=0"),
        ("mhml[heads=two]", "not a whole number"),
        ("mhml[head=2]", "no parameter 'head'; it has: heads"),
        ("focal+temprature", "did you mean temperature"),
        ("focal+temperature+vector", "one calibrator at most"),
        ("focal[gamma=nan]", "not a number"),
        ("focal[gamma=1", "without its closing one"),
        ("focal]", "without its opening one"),
        ("focal[gamma]", r"\[name=value\]"),
        ("deep-ensemble[members=0]", "members=0"),
        ("xyz-*", "no method matches"),
        ("", "no method is selected"),
    ],
)
def test_a_wrong_method_is_refused_with_the_remedy(text, message):
    with pytest.raises(InputError, match=message):
        registry.select_methods(text)


def test_datasets_take_arguments_and_parameters():
    (dataset,) = registry.select_datasets("simulated[train=100,test=50]")
    assert (dataset.train, dataset.test) == (100, 50)
    assert dataset.name == "simulated[test=50,train=100]"
    with pytest.raises(InputError, match="did you mean digits"):
        registry.select_datasets("digit")


def test_presets_take_other_numbers():
    preset = registry.select_preset("quick[epochs=2,learning_rate=0.1]")
    assert preset.settings.epochs == 2
    assert preset.settings.learning_rate == 0.1
    assert preset.name == "quick[epochs=2,learning_rate=0.1]"
    assert preset.folds == 5
    with pytest.raises(InputError, match="no parameter 'epoch'"):
        registry.select_preset("quick[epoch=2]")
    with pytest.raises(InputError, match="epochs=0"):
        registry.select_preset("quick[epochs=0]")
    with pytest.raises(InputError, match="backbone is given apart"):
        registry.select_preset("quick[backbone=resnet18]")


def test_a_method_is_one_file(own_plugins):
    folder, write = own_plugins
    write(
        "methods/squared.py",
        """
        from dataclasses import dataclass
        from benchmark.api import Method, Recipe

        @dataclass(frozen=True, kw_only=True)
        class Squared(Recipe):
            power: float = 2.0

            def loss(self, logits, targets, weights):
                gap = logits.softmax(-1).mean(1) - targets
                return gap.abs().pow(self.power).sum(-1).mean()

        METHODS = (Method(name="squared", summary="Brier loss", paper="Brier 1950",
                          recipe=Squared()),)
        """,
    )
    plugins.mount(str(folder))
    assert names("squared[power=3]") == ["squared[power=3]"]
    assert "squared" in names("all")


def test_duplicate_broken_and_wrong_plugins_are_named(own_plugins):
    folder, write = own_plugins
    write(
        "methods/again.py",
        """
        from benchmark.api import Method
        METHODS = (Method(name="focal", summary="", paper=""),)
        """,
    )
    plugins.mount(str(folder))
    with pytest.raises(InputError, match="two plug-ins define the method 'focal'"):
        registry.methods()
    write("methods/again.py", "import nothing_of_that_name")
    _remount_with(folder)
    with pytest.raises(InputError, match=r"methods/again\.py cannot be imported"):
        registry.methods()
    write("methods/again.py", "METHODS = ('focal',)")
    _remount_with(folder)
    with pytest.raises(InputError, match="not a Method"):
        registry.methods()


def _remount_with(folder):
    sys.modules.pop("benchmark.methods.again", None)
    importlib.invalidate_caches()
    plugins.mount(str(folder))


def test_a_preset_s_parameters_hold_unless_others_are_typed():
    changes = {"consensus": "logits"}
    chosen = registry.select_methods("mhml-4,mhml[heads=4,consensus=probabilities],focal", changes)
    assert [(m.name, m.recipe.consensus) for m in chosen] == [
        ("mhml-4", "logits"),
        ("mhml-4[consensus=probabilities]", "probabilities"),
        ("focal", "logits"),
    ]


def test_two_data_sets_of_one_name_are_refused():
    with pytest.raises(InputError, match="two data sets would be called 'own'"):
        registry.select_datasets("csv:a.csv[name=own],csv:b.csv[name=own]")


# --- commas in paths -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A data root in which everything lies that the names below may mean."""
    root = tmp_path_factory.mktemp("root")
    for name in ("a", "b", "a,b", "a,digits", "b,a,b", "c, d", "x,y/z"):
        (root / name).mkdir(parents=True)
    return root


def arguments(text, root):
    return [dataset.argument or dataset.name for dataset in registry.select_datasets(text, root)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("folder:c, d", ["c, d"]),
        ("folder:x,y/z[similar=keep],digits", ["x,y/z", "digits"]),
        ("digits,folder:x,y/z,folder:a", ["digits", "x,y/z", "a"]),
        ("folder:a,folder:b", ["a", "b"]),
        ("digits,folder:a", ["digits", "a"]),  # the same two, in the other order, are not certain
        ("folder:a,b", ["a,b"]),  # there is no data set b
        ("folder:b,digits", ["b", "digits"]),
        ("folder:new", ["new"]),
        ("folder:new,digits", ["new", "digits"]),
        ("csv:p,q", None),
        ("folder:new,y/z", None),
        ("folder:a,digits", None),
        ("folder:a,digits,simulated", None),
    ],
)
def test_a_comma_belongs_to_a_path_that_exists_or_is_refused(text, expected, many):
    if expected is not None:
        assert arguments(text, many) == expected
        return
    with pytest.raises(InputError) as refused:
        registry.select_datasets(text, many)
    first, second = (text.split(",")[0], ",".join(text.split(",")[:2]))
    assert first in str(refused.value)
    assert second in str(refused.value)


@given(
    st.lists(
        st.sampled_from(
            ["digits", "simulated", "folder:a", "folder:b", "folder:a,b", "folder:a,digits",
             "folder:b,a,b", "folder:c, d", "folder:x,y/z", "csv:a", "folder:new"]
        ), min_size=1, max_size=5, unique=True,
    )
)  # fmt: skip
def test_a_list_of_paths_with_commas_is_read_rightly_or_refused(many, words):
    try:
        found = arguments(",".join(words), many)
    except InputError:
        return
    assert found == [word.partition(":")[2] or word for word in words]
