import dataclasses
import importlib
import sys

import pytest

from benchmark.api import Recipe
from benchmark.plan import cells as plan
from benchmark.plan import presets, registry
from benchmark.plan.addresses import recipe_address
from benchmark.plan.cells import Fit, Task
from benchmark.plan.seeding import derive
from tests.bundled import ALL


def task(fold="1/3", seed=0, **settings):
    return Task(
        preset="quick",
        dataset="digits",
        data="fingerprint",
        settings=dataclasses.replace(presets.QUICK.settings, **settings),
        fold=fold,
        seed=seed,
    )


def cells(methods, preset=presets.QUICK, folds=("1/3", "2/3", "3/3")):
    tasks = [task(fold) for fold in folds]
    chosen = registry.select_methods(methods, preset.parameters)
    return plan.make_cells(chosen, registry.calibrators(), tasks)


def fits(methods, **options):
    return {fit.key for fit in plan.distinct_fits(cells(methods, **options))}


def test_the_default_plan_has_23_fits_a_replicate():
    assert len(cells(ALL)) == 21 * 3
    assert len(fits(ALL)) == 23 * 3


def test_a_fit_is_addressed_and_seeded_by_the_name_for_seeds():
    here, there = (dataclasses.replace(task(), dataset=n, seed_name="s") for n in ("one", "two"))
    recipe = registry.select_methods("cross-entropy")[0].recipe
    assert Fit(task=here, recipe=recipe).key == Fit(task=there, recipe=recipe).key
    assert here.derive("order") == there.derive("order") == derive("s", "1/3", 0, "order")
    assert task().derive("order") == derive("digits", "1/3", 0, "order")


def test_temperature_scaling_adds_no_fit():
    assert fits("cross-entropy,temperature-scaling") == fits("cross-entropy")
    assert fits("all,all+temperature") == fits("all")


def test_an_ensemble_shares_its_first_member_with_the_single_model_by_value():
    both = fits("cross-entropy,deep-ensemble")
    assert both == fits("deep-ensemble")
    assert len(both) == 5 * 3


def test_replicates_share_no_member():
    by_replicate = [fits("deep-ensemble", folds=(fold,)) for fold in ("1/3", "2/3", "3/3")]
    assert len(set().union(*by_replicate)) == 15
    seeds = {f.task.derive("member", f.member) for f in plan.distinct_fits(cells("deep-ensemble"))}
    assert len(seeds) == 15


def test_methods_at_one_replicate_have_the_same_seeds():
    seeds = {
        f.task.derive("member", f.member) for c in cells("all", folds=("1/3",)) for f in c.fits
    }
    assert len(seeds) == 5  # of the five members; every other method has member 0's


def test_the_paper_preset_takes_the_released_consensus():
    for cell in cells("mhml-4,mhsl-2,mhml[heads=12]", preset=presets.PAPER):
        assert cell.method.recipe.consensus == "logits"
    (cell,) = cells("mhml[heads=4,consensus=probabilities]", presets.PAPER, ["1/3"])
    assert cell.method.name == "mhml-4[consensus=probabilities]"  # what is typed wins
    assert cell.method.recipe.consensus == "probabilities"
    assert cells("mhml-4")[0].method.recipe.consensus == "probabilities"


@pytest.mark.parametrize(
    "change",
    [
        {"task": task(epochs=7)},
        {"task": task(seed=1)},
        {"task": task(fold="2/3")},
        {"task": dataclasses.replace(task(), data="other")},
        {"member": 1},
        {"passes": 2},
        {"recipe": registry.select_methods("focal")[0].recipe},
        {"recipe": registry.select_methods("cross-entropy[heads=2]")[0].recipe},
    ],
)
def test_whatever_changes_predictions_changes_the_address(change):
    fit = Fit(task=task(), recipe=registry.select_methods("cross-entropy")[0].recipe)
    assert dataclasses.replace(fit, **change).key != fit.key


def test_the_address_does_not_depend_on_the_preset_s_name():
    fit = Fit(task=task(), recipe=registry.select_methods("focal")[0].recipe)
    renamed = dataclasses.replace(fit, task=dataclasses.replace(fit.task, preset="other"))
    assert renamed.key == fit.key


CODE = '''
"""A module."""
from dataclasses import dataclass
from benchmark.api import InputError, Recipe, require

{helper}

@dataclass(frozen=True, kw_only=True)
class Own(Recipe):
    """{doc}"""
    rate: {type} = {default}

    def __post_init__(self):
        super().__post_init__()
        require(self.rate > 0, f"{doc}")
        if self.rate > 100:
            raise InputError("{doc}")

    def loss(self, logits, targets, weights){returns}:
        """{doc}"""
        return {loss}  # {doc}

_PAPER = "{doc}"
METHODS = ({methods}, _PAPER)
'''
PLAIN = {"doc": "One.", "loss": "logits.sum()", "methods": "1", "type": "float", "returns": "",
         "default": "2.0", "helper": ""}  # fmt: skip


def address(tmp_path, **words):
    """Of a recipe in a plug-in file that is written with these words."""
    name = f"own_{len(list(tmp_path.iterdir()))}"
    (tmp_path / f"{name}.py").write_text(CODE.format(**PLAIN | words))
    importlib.invalidate_caches()
    found = recipe_address(importlib.import_module(name).Own())
    del sys.modules[name]
    return found


@pytest.mark.parametrize(
    ("words", "same"),
    [
        ({"doc": "Two."}, True),  # docstrings, comments, error messages
        ({"loss": "logits . sum( )"}, True),
        ({"methods": "3"}, True),
        ({"type": "int", "returns": " -> object"}, True),
        ({"loss": "logits.mean()"}, False),
        ({"default": "3.0"}, False),
        ({"helper": "def helper(): return 3"}, False),
    ],
)
def test_what_a_plug_in_does_counts_but_not_what_it_says(tmp_path, monkeypatch, words, same):
    monkeypatch.syspath_prepend(tmp_path)
    assert (address(tmp_path) == address(tmp_path, **words)) == same


def test_a_new_setting_at_its_default_changes_no_address():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Later(presets.Settings):
        warm_up: int = 0

    now = Fit(task=task(), recipe=registry.select_methods("mhml-4")[0].recipe)
    for warm_up, same in ((0, True), (3, False)):
        settings = Later(**dataclasses.asdict(now.task.settings), warm_up=warm_up)
        later = dataclasses.replace(now, task=dataclasses.replace(now.task, settings=settings))
        assert (later.key == now.key) == same
        assert later.agrees(now.stated()) == same


def test_a_new_parameter_of_all_recipes_at_its_default_changes_no_address(monkeypatch):
    plain = registry.select_methods("cross-entropy")[0].recipe
    fields = [("sharpness", float, dataclasses.field(default=1.0, kw_only=True))]
    later = dataclasses.make_dataclass("Recipe", fields, bases=(Recipe,), frozen=True, kw_only=True)
    later.__module__ = Recipe.__module__
    assert recipe_address(later()) == recipe_address(plain)
    assert recipe_address(later(sharpness=2.0)) != recipe_address(plain)


def test_the_engine_s_own_code_is_not_in_an_address():
    """FORMAT stands for it, and the guard holds FORMAT to the code."""
    assert recipe_address(Recipe()) == {"parameters": {}, "code": []}


def test_seeds_are_the_same_everywhere():
    assert derive("digits", "1/3", 0) == derive("digits", "1/3", 0)
    assert derive("a", "b") != derive("ab")
    # A known answer: it may never change, or stored fits would no longer be reproducible.
    assert derive("digits", "1/3", 0, "member", 0) == KNOWN


KNOWN = 5835894917750826872


def test_the_numbers_of_the_paper_s_recipe_and_of_the_standard():
    paper = presets.PAPER
    assert (paper.folds, paper.seeds, dict(paper.parameters)) == (
        "official",
        5,
        {"consensus": "logits"},
    )
    numbers = dataclasses.asdict(paper.settings)
    assert numbers == {
        "backbone": "resnet50", "weights": "imagenet", "size": 224, "enlarge": True, "epochs": 50,
        "cycles": 10, "batch": 8, "learning_rate": 0.01, "momentum": 0.0, "weight_decay": 0.0,
        "augment": "trivial", "precision": "float32", "select": "auc",
    }  # fmt: skip
    assert "same images" in paper.note
    standard = presets.STANDARD.settings
    assert (presets.STANDARD.folds, standard.backbone, standard.size) == (5, "resnet50", 224)
    assert (standard.epochs, standard.batch, standard.momentum) == (30, 64, 0.9)
    assert (standard.augment, standard.precision, standard.select) == ("trivial", "bf16", "last")
    assert presets.STANDARD.note == ""


def test_a_calibrator_s_parameters_count():
    (cell,) = cells("focal+histogram", folds=("1/3",))
    other = dataclasses.replace(cell, calibrator=dataclasses.replace(cell.calibrator, bins=2))
    assert other.calibration != cell.calibration
    renamed = dataclasses.replace(cell, calibrator=dataclasses.replace(cell.calibrator, paper="x"))
    assert renamed.calibration == cell.calibration
