"""What must hold whatever the scores: no leak, neutral parameters, honest pooling.

Some mistakes improve a score (test labels that leak), others hardly change it. These checks look
at what a prediction depends on, on tiny trainings, so they hold or break exactly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmark.api import Dataset, FloatArray, Images, InputError, Recipe, SimulatedDataset
from benchmark.guard.matrix import METHODS, Trained, train
from benchmark.guard.verdicts import Row

NEUTRAL = {
    "label-smoothing": "label-smoothing[smoothing=0]",
    "focal": "focal[gamma=0]",
    "mixup": "mixup[alpha=0]",
    "mc-dropout": "mc-dropout[dropout=0]",
    "deep-ensemble": "deep-ensemble[members=1]",
}
"""Methods with the parameter at which they are plain cross-entropy; the others have none."""

ABLATION = {"mhml-4": "mhsl-4"}
"""Methods without a neutral parameter, and what they are without what makes them special."""

TINY = "simulated[train=128,calibration=64,test=96]"
PRESET = "quick[epochs=2,cycles=2,select=auc]"
"""Choosing checkpoints too: it must not look at the test part either."""

ROUNDING = 1e-4
"""Two ways to the same probability may differ by so much in float32, after a short training."""

EFFECT = 1e-3
"""A method that changes no probability by more than this has no effect."""

_Predictions = Mapping[str, FloatArray]


@dataclass(frozen=True, kw_only=True)
class _Permuted(SimulatedDataset):
    """The same data set, its test labels in another order."""

    inner: SimulatedDataset

    def draw(self, number: int) -> Images:
        """The inner draw with permuted test labels."""
        samples = self.inner.draw(number)
        assert samples.split is not None
        test = np.flatnonzero(samples.split == "test")
        labels = samples.labels.copy()
        labels[test] = np.random.default_rng(0).permutation(labels[test])
        return dataclasses.replace(samples, labels=labels)


def row(what: str, holds: bool, broken: str) -> Row:
    """Whether an invariant holds, and what it means if it does not."""
    if holds:
        return Row(kind="invariant", what=what, verdict="holds")
    return Row(kind="invariant", what=what, verdict="broken", note=broken)


# --- on the matrix -------------------------------------------------------------------------


def on_matrix(matrix: Mapping[str, Trained]) -> Iterator[Row]:
    """What must hold of the trained sets, while their folders are there."""
    for name, trained in matrix.items():
        yield _disjoint(name, trained)
        yield _sums(name, trained)
        yield _ensemble(name, trained)


def _disjoint(name: str, trained: Trained) -> Row:
    """No image is in two parts of a fold."""
    shared = 0
    for source in trained.work.sources.values():
        parts = source.cut.parts
        together = np.concatenate([parts.train, parts.calibration, parts.test])
        shared += len(together) - len(np.unique(together))
    text = f"{shared} images are in two parts: what is tested was trained or calibrated on"
    return row(f"train, calibration and test are disjoint on {name}", shared == 0, text)


def _sums(name: str, trained: Trained) -> Row:
    """Every prediction is a distribution."""
    wrong = {
        method: off
        for (method, _), log_probs in trained.predicted.log_probs.items()
        for off in [np.abs(np.exp(log_probs, dtype=np.float64).sum(1) - 1).max()]
        if not off <= ROUNDING
    }
    text = "; ".join(f"those of {method} are off by {off:.2g}" for method, off in wrong.items())
    return row(f"probabilities sum to one on {name}", not wrong, text)


def _ensemble(name: str, trained: Trained) -> Row:
    """The ensemble's stored prediction is the mean of its members' stored probabilities."""
    what = f"deep-ensemble is the mean of its members' probabilities on {name}"
    store, predicted = trained.request.store, trained.predicted
    off = []
    for cell in trained.work.cells:
        if cell.method.members == 1 or not all(store.holds(fit) for fit in cell.fits):
            continue
        records = [store.fit(fit.key).to_plain()[0] for fit in cell.fits]
        mean = np.mean([np.exp(r["test_log_probs"].astype(np.float64)) for r in records], axis=0)
        rows = np.searchsorted(predicted.ids, records[0]["test_ids"])
        pooled = predicted.log_probs[cell.method.name, cell.task.seed][rows]
        off.append(np.abs(np.exp(pooled) - mean).max())
    if not off:
        return Row(kind="invariant", what=what, verdict="not compared", note="there is no ensemble")
    return row(what, bool(np.max(off) <= ROUNDING), f"it is off by {np.max(off):.2g}")


# --- on tiny trainings ---------------------------------------------------------------------


def on_tiny_trainings() -> Iterator[Row]:
    """What is best seen on trainings of a second."""
    yield from _trainings()
    yield from _heads()
    yield _temperature()
    yield from _views()


def _trainings() -> Iterator[Row]:
    from benchmark.plan import registry

    (plain,) = registry.select_datasets(TINY)
    assert isinstance(plain, SimulatedDataset)
    permuted = _Permuted(
        **{f.name: getattr(plain, f.name) for f in dataclasses.fields(Dataset)}, inner=plain
    )
    small = [name if name != "deep-ensemble" else "deep-ensemble[members=2]" for name in METHODS]
    with TemporaryDirectory(prefix="guard-") as folder:
        extra = [*small, *NEUTRAL.values(), *ABLATION.values()]
        try:
            first, stored = _tiny(Path(folder) / "labels", plain, extra)
            second, stored_again = _tiny(Path(folder) / "permuted", permuted, small)
        except InputError as error:
            what = "invariants of tiny trainings"
            yield Row(kind="invariant", what=what, verdict="not compared", note=str(error))
            return
    for name, used in zip(METHODS, small):
        same = np.array_equal(first[used], second[used]) and all(
            np.array_equal(a, b) for a, b in zip(stored[used], stored_again[used], strict=True)
        )
        text = (
            "they depend on the labels they are tested on: test labels leak (or training twice "
            "does not give the same bytes here)"
        )
        yield row(f"permuted test labels leave {name}'s predictions as they are", same, text)
    reference = first["cross-entropy"]
    for name, neutral in NEUTRAL.items():
        off = _distance(first[neutral], reference)
        text = f"its probabilities are off by {off:.2g}"
        yield row(f"{neutral} equals cross-entropy", off <= ROUNDING, text)
        used = small[METHODS.index(name)]
        yield _effect(name, "cross-entropy", _distance(first[used], reference))
    calibrated = _distance(first["temperature-scaling"], reference)
    yield _effect("temperature-scaling", "cross-entropy", calibrated)
    for name, without in ABLATION.items():
        yield _effect(name, without, _distance(first[name], first[without]))


def _effect(name: str, other: str, distance: float) -> Row:
    text = f"their probabilities differ by {distance:.2g} at most: what makes it special is lost"
    return row(f"{name} differs from {other}", distance > EFFECT, text)


def _distance(one: FloatArray, other: FloatArray) -> float:
    return float(np.abs(np.exp(one) - np.exp(other)).max())


def _tiny(
    folder: Path, dataset: Dataset, names: list[str]
) -> tuple[_Predictions, Mapping[str, list[FloatArray]]]:
    """Predictions by the names as typed, and everything stored that they are made from."""
    from benchmark.plan import registry

    methods = {name: registry.select_methods(name)[0] for name in names}
    trained = train(folder, methods=",".join(names), datasets=[dataset], preset=PRESET, folds=1)
    for (name, _), why in trained.predicted.missing.items():
        raise InputError(f"{name} could not be trained: {why}")
    store, stored = trained.request.store, {}
    for cell in trained.work.cells:
        arrays = [store.fit(fit.key).to_plain()[0] for fit in cell.fits]
        parts = [r[f"{part}_log_probs"] for r in arrays for part in ("calibration", "test")]
        if cell.calibration is not None:
            parts.append(store.calibration(cell.calibration).log_probs)
        stored[cell.method.name] = parts
    log_probs = trained.predicted.log_probs
    return (
        {typed: log_probs[method.name, 0] for typed, method in methods.items()},
        {typed: stored[method.name] for typed, method in methods.items()},
    )


# --- neutral parameters that are none of a method's own --------------------------------------


def _heads() -> Iterator[Row]:
    """What makes heads differ is their weights alone, and these are as published."""
    import torch

    from benchmark.plan import registry

    for name, without in ABLATION.items():
        recipe, plain = (registry.select_methods(n)[0].recipe for n in (name, without))
        generator = torch.Generator().manual_seed(0)
        logits = 3 * torch.randn(64, recipe.heads, 4, generator=generator)
        targets = torch.eye(4)[torch.randint(4, (64,), generator=generator)]
        ones = torch.ones(recipe.heads, 4)
        own, reference = (float(r.loss(logits, targets, ones)) for r in (recipe, plain))
        text = f"the losses are {own:.6g} and {reference:.6g}"
        what = f"{name} with unit weights has the loss of {without}"
        yield row(what, abs(own - reference) <= ROUNDING, text)
        alike = logits[:, :1].expand_as(logits)
        own = float(recipe.loss(alike, targets, ones))
        reference = float(Recipe().loss(logits[:, :1], targets, ones[:1]))
        text = f"the losses are {own:.6g} and {reference:.6g}"
        what = f"{name} with unit weights and equal heads has the loss of cross-entropy"
        yield row(what, abs(own - reference) <= ROUNDING, text)
        wrong = [n for n in (2, 4, 10) if not _own_classes(recipe, n)]
        text = f"not so for {' or '.join(map(str, wrong))} classes"
        yield row(f"heads of {name} weigh their own classes M, the others 1/M", not wrong, text)


def _own_classes(recipe: Recipe, classes: int) -> bool:
    """Whether M heads have weights M and 1/M, every class its head, and every head its class."""
    import torch

    weights = recipe.head_weights(classes, torch.Generator().manual_seed(0)).double().numpy()
    own = weights > 1
    as_published = np.allclose(weights, np.where(own, recipe.heads, 1 / recipe.heads))
    sizes, owners = own.sum(1), own.sum(0)
    evenly = np.ptp(sizes) <= 1 and np.ptp(owners) <= 1 and min(sizes.min(), owners.min()) >= 1
    return bool(weights.shape == (recipe.heads, classes) and as_published and evenly)


def _temperature() -> Row:
    """Of predictions that hold exactly, the best temperature is one: they stay as they are."""
    from benchmark.plan import registry

    name = "temperature-scaling"
    calibrator = registry.select_methods(name)[0].calibrator
    assert calibrator is not None
    counts = np.array([[5, 2, 1], [1, 1, 6], [3, 4, 1]])  # of images of each class, among 8
    log_probs = np.log(np.repeat(counts, 8, axis=0) / 8)
    labels = np.concatenate([np.repeat(np.arange(3), row) for row in counts])
    calibrated = registry.calibrators()[calibrator].fit(log_probs, labels)(log_probs)
    off = _distance(calibrated, log_probs)
    what = f"{name} leaves calibrated predictions as they are"
    return row(what, off <= ROUNDING, f"its probabilities are off by {off:.2g}")


# --- pooling of heads and passes -----------------------------------------------------------


def _views() -> Iterator[Row]:
    """Heads and dropout passes are pooled as the mean of their probabilities."""
    import torch

    from benchmark.engine.batches import Batches
    from benchmark.engine.network import build, seeded
    from benchmark.engine.predict import log_probs, views

    for what, recipe, passes in (
        ("mhml-4 is the mean of its heads' probabilities", Recipe(heads=4), 1),
        ("mc-dropout is the mean of its passes' probabilities", Recipe(dropout=0.2), 30),
    ):
        network = build(
            "small",
            weights="none",
            weights_file=None,
            classes=4,
            channels=1,
            size=8,
            recipe=recipe,
            seed=0,
        )
        with torch.no_grad():
            network.weight.mul_(20)  # views that disagree: means of logits would differ
        images = np.random.default_rng(0).integers(0, 256, (32, 1, 8, 8), dtype=np.uint8)
        batches = Batches(images, network.normalisation, torch.device("cpu"))
        index = np.arange(len(images))
        pooled = log_probs(network, batches, index, passes=passes, batch=len(images), seed=0)
        with seeded(0), torch.inference_mode():
            logits = views(network, batches(index), passes).double().numpy()
        odds = np.exp(logits - logits.max(-1, keepdims=True))
        mean = (odds / odds.sum(-1, keepdims=True)).mean(1)
        off = float(np.abs(np.exp(pooled) - mean).max())
        yield row(what, off <= ROUNDING, f"it is off by {off:.2g}")
