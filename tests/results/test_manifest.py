from benchmark.plan import cells as plan
from benchmark.plan import registry
from benchmark.plan.presets import PAPER, QUICK
from benchmark.results.manifest import Manifest


def cells(preset):
    methods = registry.select_methods("mhml-2", preset.parameters)
    task = plan.Task(preset=preset.name, dataset="d", data="1", settings=preset.settings,
                     fold="1/5", seed=0)  # fmt: skip
    return plan.make_cells(methods, {}, [task])


def test_parameters_that_a_preset_changes_are_told_apart():
    manifest = Manifest()
    for preset in (QUICK, PAPER):
        manifest = manifest.extend(cells(preset), [], [preset], {}, "command")
    (about,) = manifest.definitions()
    assert about["parameters"]["heads"] == 2
    assert about["parameters"]["consensus"] == "probabilities (quick), logits (paper)"
    again = manifest.extend(cells(QUICK), [], [QUICK], {}, "command")
    assert again.definitions() == manifest.definitions()
