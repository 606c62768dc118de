import dataclasses

import pytest

from benchmark.plan import cells as plan
from benchmark.plan import presets, registry
from benchmark.plan.cells import Fit, Replicate, Task
from benchmark.plan.seeding import derive
from tests.bundled import ALL


def task(fold="1/3", seed=0, **settings):
    return Task(
        preset="quick",
        dataset="digits",
        data="fingerprint",
        settings=dataclasses.replace(presets.QUICK.settings, **settings),
        replicate=Replicate(fold=fold, seed=seed),
    )


def cells(methods, preset=presets.QUICK, folds=("1/3", "2/3", "3/3")):
    tasks = [task(fold) for fold in folds]
    chosen = registry.select_methods(methods, preset.parameters)
    return plan.make(chosen, registry.calibrators(), tasks)


def fits(methods, **options):
    return {fit.key for fit in plan.distinct_fits(cells(methods, **options))}


def test_the_default_plan_has_23_fits_a_replicate():
    assert len(cells(ALL)) == 21 * 3
    assert len(fits(ALL)) == 23 * 3


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
    seeds = {f.task.seed("member", f.member) for f in plan.distinct_fits(cells("deep-ensemble"))}
    assert len(seeds) == 15


def test_methods_at_one_replicate_have_the_same_seeds():
    seeds = {f.task.seed("member", f.member) for c in cells("all", folds=("1/3",)) for f in c.fits}
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


def test_the_code_of_a_recipe_counts_but_not_its_comments(tmp_path, monkeypatch):
    import importlib
    import sys

    monkeypatch.syspath_prepend(tmp_path)
    code = '''
from dataclasses import dataclass
from benchmark.api import Recipe

@dataclass(frozen=True, kw_only=True)
class Own(Recipe):
    """{doc}"""
    def loss(self, logits, targets, weights):
        return {loss}  # {comment}

_PAPER = "{doc}"
METHODS = ({methods}, _PAPER)
'''
    keys = []
    for number, words in enumerate(
        [
            {"doc": "One.", "loss": "logits.sum()", "comment": "a", "methods": "1"},
            {"doc": "Two.", "loss": "logits . sum( )", "comment": "b", "methods": "3"},
            {"doc": "One.", "loss": "logits.mean()", "comment": "a", "methods": "1"},
        ]
    ):
        (tmp_path / f"own_{number}.py").write_text(code.format(**words))
        importlib.invalidate_caches()
        module = importlib.import_module(f"own_{number}")
        keys.append(plan.describe_recipe(module.Own()))
        del sys.modules[f"own_{number}"]
    assert keys[0] == keys[1]
    assert keys[0] != keys[2]


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
