"""Every method's loss, weights and batch transform against values worked out by hand."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.api import InputError, Method, Recipe
from benchmark.methods import (
    cross_entropy,
    dca,
    deep_ensemble,
    focal,
    focal_adaptive,
    label_smoothing,
    mbls,
    mc_dropout,
    mhml,
    mhsl,
    mixup,
)

log = math.log
thorough = settings(max_examples=50, deadline=None, derandomize=True)

# Probabilities of two images and three classes, chosen so that every value can be worked by hand.
PROBS = [[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]
LABELS = [0, 1]


def logits_of(*heads: list[list[float]]) -> torch.Tensor:
    """Logits ``(batch, heads, classes)`` whose softmax is the given probabilities."""
    return torch.tensor(heads, dtype=torch.float64).log().transpose(0, 1)


def one_hot(labels: list[int], classes: int) -> torch.Tensor:
    return F.one_hot(torch.tensor(labels), classes).double()


def loss_of(recipe: Recipe, logits: torch.Tensor, labels: list[int]) -> float:
    heads, classes = logits.shape[1:]
    weights = torch.ones(heads, classes, dtype=torch.float64)
    return recipe.loss(logits, one_hot(labels, classes), weights).item()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- losses ----------------------------------------------------------------------------------


def test_cross_entropy_is_the_mean_of_minus_log_p():
    assert cross_entropy.METHODS[0].recipe == Recipe()
    assert loss_of(Recipe(), logits_of(PROBS), LABELS) == pytest.approx(-(log(0.5) + log(0.2)) / 2)


@pytest.mark.parametrize("classes", [2, 7])
def test_cross_entropy_is_torchs_with_and_without_class_weights(classes):
    logits = torch.randn(16, 1, classes, generator=generator())
    labels = torch.randint(classes, (16,), generator=generator())
    targets = F.one_hot(labels, classes).float()
    ones = torch.ones(1, classes)
    weights = torch.rand(1, classes, generator=generator()) + 0.1
    plain = F.cross_entropy(logits[:, 0], labels)
    weighted = F.cross_entropy(logits[:, 0], labels, weight=weights[0])
    torch.testing.assert_close(Recipe().loss(logits, targets, ones), plain)
    torch.testing.assert_close(Recipe().loss(logits, targets, weights), weighted)


def test_several_heads_add_the_consensus_of_their_mean_probabilities():
    one, two = [[0.8, 0.2]], [[0.4, 0.6]]
    expected = (-log(0.8) - log(0.4) - log(0.6)) / 3
    assert loss_of(Recipe(heads=2), logits_of(one, two), [0]) == pytest.approx(expected)


def test_consensus_of_logits_is_the_released_code():
    one, two = [[0.8, 0.2]], [[0.4, 0.6]]
    # The mean of the logits is proportional to the roots of 0.32 and 0.12.
    consensus = math.sqrt(0.32) / (math.sqrt(0.32) + math.sqrt(0.12))
    expected = (-log(0.8) - log(0.4) - log(consensus)) / 3
    recipe = Recipe(heads=2, consensus="logits")
    assert loss_of(recipe, logits_of(one, two), [0]) == pytest.approx(expected)


def test_label_smoothing_by_hand():
    # With 0.3 smoothed over three classes, the true one keeps 0.8 and the others have 0.1.
    first = -(0.8 * log(0.5) + 0.2 * log(0.25))
    second = -(0.8 * log(0.2) + 0.1 * log(0.1) + 0.1 * log(0.7))
    value = loss_of(label_smoothing.LabelSmoothing(smoothing=0.3), logits_of(PROBS), LABELS)
    assert value == pytest.approx((first + second) / 2)


@pytest.mark.parametrize("heads", [1, 3])
def test_label_smoothing_is_torchs_on_every_head_and_on_the_consensus(heads):
    logits = torch.randn(8, heads, 5, generator=generator())
    labels = torch.randint(5, (8,), generator=generator())
    recipe = label_smoothing.LabelSmoothing(heads=heads, smoothing=0.1)
    value = recipe.loss(logits, F.one_hot(labels, 5).float(), torch.ones(heads, 5))
    parts = [F.cross_entropy(logits[:, m], labels, label_smoothing=0.1) for m in range(heads)]
    if heads > 1:
        consensus = logits.softmax(-1).mean(1).log()
        parts.append(F.cross_entropy(consensus, labels, label_smoothing=0.1))
    torch.testing.assert_close(value, torch.stack(parts).mean())


def test_focal_by_hand():
    expected = -(0.5**3 * log(0.5) + 0.8**3 * log(0.2)) / 2
    assert loss_of(focal.Focal(), logits_of(PROBS), LABELS) == pytest.approx(expected)


def test_focal_averages_over_heads():
    one, two = loss_of(focal.Focal(), logits_of(PROBS), LABELS), -(0.6**3) * log(0.4)
    heads = logits_of(PROBS, [[0.4, 0.3, 0.3], [0.3, 0.4, 0.3]])
    assert loss_of(focal.Focal(heads=2), heads, LABELS) == pytest.approx((one + two) / 2)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 3.0])
def test_focal_has_a_finite_gradient_where_the_network_is_certain(gamma):
    logits = torch.tensor([[[200.0, 0.0]], [[0.0, 200.0]]], requires_grad=True)
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    focal.Focal(gamma=gamma).loss(logits, targets, torch.ones(1, 2)).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_adaptive_focal_by_hand():
    # The true class of the second image has 0.1 < 0.2: exponent 5; of the first 0.5: exponent 3.
    expected = -(0.5**3 * log(0.5) + 0.9**5 * log(0.1)) / 2
    value = loss_of(focal_adaptive.AdaptiveFocal(), logits_of(PROBS), [0, 0])
    assert value == pytest.approx(expected)


def test_mbls_by_hand():
    logits = torch.tensor([[[9.0, 1.0, 0.0]], [[2.0, 1.0, 0.0]]], dtype=torch.float64)
    # Distances to the largest logit: 0, 8, 9 and 0, 1, 2; above the margin of 6: 2 and 3.
    plain = loss_of(Recipe(), logits, LABELS)
    value = loss_of(mbls.MarginSmoothing(), logits, LABELS)
    assert value - plain == pytest.approx(0.1 * (2 + 3) / 6)


def test_dca_by_hand():
    # Confidences 0.5 and 0.7; the first image is right, the second wrong.
    plain = loss_of(Recipe(), logits_of(PROBS), LABELS)
    value = loss_of(dca.ConfidenceAccuracy(), logits_of(PROBS), LABELS)
    assert value - plain == pytest.approx(5 * abs(0.6 - 0.5))


def test_dca_judges_the_mean_of_the_heads():
    heads = logits_of([[0.9, 0.1]], [[0.3, 0.7]])  # the mean says class 0 with 0.6
    plain = loss_of(Recipe(heads=2), heads, [0])
    value = loss_of(dca.ConfidenceAccuracy(heads=2), heads, [0])
    assert value - plain == pytest.approx(5 * abs(0.6 - 1))


# --- mixup -----------------------------------------------------------------------------------


def batch(n: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Image i is constant i; its target is class i."""
    images = torch.arange(float(n)).view(n, 1, 1, 1).expand(n, 3, 2, 2).contiguous()
    return images, torch.eye(n)


def test_mixup_mixes_images_and_targets_alike_with_one_share_per_batch():
    images, targets = batch()
    mixed, mixed_targets = mixup.Mixup(alpha=5).mix(images, targets, generator(3))
    torch.testing.assert_close(mixed[:, 0, 0, 0], mixed_targets @ torch.arange(6.0))
    torch.testing.assert_close(mixed_targets.sum(1), torch.ones(6))
    shares = mixed_targets.diagonal()
    shares = shares[shares < 1]  # an image may be its own partner
    assert len(shares) > 1
    torch.testing.assert_close(shares, shares[:1].expand(len(shares)))
    # Partners are a permutation: each image gives away as much as it takes.
    torch.testing.assert_close(mixed_targets.sum(0), torch.ones(6))


def test_mixup_draws_from_the_generator_alone():
    images, targets = batch()
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = mixup.Mixup().mix(images, targets, generator(5))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    again = mixup.Mixup().mix(images, targets, generator(5))
    other = mixup.Mixup().mix(images, targets, generator(6))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_mixup_shares_follow_the_beta_distribution():
    scipy_stats = pytest.importorskip("scipy.stats")
    images, targets = torch.zeros(2, 1, 1, 1), torch.eye(2)
    draws, source = [], generator(1)
    while len(draws) < 1000:
        mixed = mixup.Mixup(alpha=0.4).mix(images, targets, source)[1]
        if mixed[0, 1] > 0:  # not its own partner
            draws.append(mixed[0, 0].item())
    assert scipy_stats.kstest(draws, scipy_stats.beta(0.4, 0.4).cdf).pvalue > 0.01


# --- several heads ----------------------------------------------------------------------------


@thorough
@given(heads=st.integers(2, 12), classes=st.integers(2, 25), seed=st.integers(0, 2**31))
def test_every_head_emphasises_nearly_equal_groups(heads, classes, seed):
    weights = mhml.MultiHeadMultiLoss(heads=heads).head_weights(classes, generator(seed))
    emphasised = weights == heads
    assert weights.shape == (heads, classes)
    assert torch.equal(~emphasised, weights == torch.tensor(1 / heads))
    per_head, per_class = emphasised.sum(1), emphasised.sum(0)
    assert per_head.min() >= 1
    assert per_head.max() - per_head.min() <= 1
    assert per_class.max() - per_class.min() <= 1
    assert per_class.sum() == max(heads, classes)


def test_ten_heads_on_four_classes_take_the_classes_in_turn():
    weights = mhml.MultiHeadMultiLoss(heads=10).head_weights(4, generator())
    own = (weights == 10).int().argmax(1).tolist()
    assert sorted(own[:4]) == sorted(own[4:8]) == [0, 1, 2, 3]
    assert own[8] != own[9]


def test_groups_are_drawn_from_the_generator_alone():
    recipe = mhml.MultiHeadMultiLoss(heads=4)
    drawn = [recipe.head_weights(23, generator(seed)) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_mhml_loss_by_hand():
    recipe = mhml.MultiHeadMultiLoss(heads=2)
    logits = logits_of([[0.8, 0.2], [0.5, 0.5]], [[0.4, 0.6], [0.9, 0.1]])
    weights = torch.tensor([[2, 0.5], [0.5, 2]], dtype=torch.float64)
    # Image 0 is of class 0, image 1 of class 1: head 0 weighs them 2 and 0.5, head 1 0.5 and 2.
    head_0 = -(2 * log(0.8) + 0.5 * log(0.5)) / 2.5
    head_1 = -(0.5 * log(0.4) + 2 * log(0.1)) / 2.5
    consensus = -(log(0.6) + log(0.3)) / 2
    value = recipe.loss(logits, one_hot([0, 1], 2), weights).item()
    assert value == pytest.approx((head_0 + head_1 + consensus) / 3)
    assert value != pytest.approx(loss_of(recipe, logits, [0, 1]))  # dropping the weights shows


def test_mhml_with_unit_weights_is_mhsl_and_with_equal_heads_too_cross_entropy():
    recipe = mhml.MultiHeadMultiLoss(heads=4)
    single = dataclasses.replace(mhsl.METHODS[0].recipe, heads=4)
    logits = 3 * torch.randn(64, 4, 5, generator=generator())
    targets = torch.eye(5)[torch.randint(5, (64,), generator=generator(1))]
    ones = torch.ones(4, 5)
    torch.testing.assert_close(
        recipe.loss(logits, targets, ones), single.loss(logits, targets, ones)
    )
    alike = logits[:, :1].expand_as(logits)
    plain = Recipe().loss(logits[:, :1], targets, ones[:1])
    torch.testing.assert_close(recipe.loss(alike, targets, ones), plain)


def test_mhml_gradients_differ_between_equal_heads_and_mhsl_ones_do_not():
    logits = torch.randn(8, 1, 4, generator=generator()).expand(8, 2, 4).clone().requires_grad_()
    targets = torch.eye(4).repeat(2, 1)
    for recipe, same in [(mhml.MultiHeadMultiLoss(), False), (mhsl.METHODS[0].recipe, True)]:
        logits.grad = None
        recipe.loss(logits, targets, recipe.head_weights(4, generator())).backward()
        assert logits.grad is not None
        assert torch.allclose(logits.grad[:, 0], logits.grad[:, 1]) is same


@pytest.mark.parametrize("heads", [0, 1])
def test_mhml_refuses_a_single_head(heads):
    with pytest.raises(InputError, match=f"heads={heads}"):
        mhml.MultiHeadMultiLoss(heads=heads)


# --- neutral values, bad values, and what is registered -----------------------------------------

NEUTRAL = [
    label_smoothing.LabelSmoothing(smoothing=0),
    focal.Focal(gamma=0),
    focal_adaptive.AdaptiveFocal(gamma_hard=0, gamma_easy=0),
    mixup.Mixup(alpha=0),
    mbls.MarginSmoothing(weight=0),
    dca.ConfidenceAccuracy(weight=0),
]


@pytest.mark.parametrize("recipe", NEUTRAL, ids=lambda recipe: type(recipe).__name__)
def test_neutral_values_are_plain_cross_entropy(recipe):
    images, targets = torch.randn(8, 3, 4, 4, generator=generator()), torch.eye(4).repeat(2, 1)
    logits = 10 * torch.randn(8, 1, 4, generator=generator())
    source = generator()
    before = source.get_state()
    mixed_images, mixed_targets = recipe.mix(images, targets, source)
    weights = recipe.head_weights(4, source)
    assert torch.equal(source.get_state(), before)  # later draws of the fit stay the same
    assert torch.equal(mixed_images, images)
    gradients = []
    for one in (recipe, Recipe()):
        leaf = logits.clone().requires_grad_()
        one.loss(leaf, mixed_targets, weights).backward()
        assert leaf.grad is not None
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)


PARAMETERS = [
    (label_smoothing.LabelSmoothing, {"smoothing": 1.0}),
    (label_smoothing.LabelSmoothing, {"smoothing": -0.1}),
    (focal.Focal, {"gamma": -1.0}),
    (focal.Focal, {"gamma": math.inf}),
    (mbls.MarginSmoothing, {"weight": math.nan}),
    (mixup.Mixup, {"alpha": -0.2}),
    (mbls.MarginSmoothing, {"margin": -1.0}),
    (mbls.MarginSmoothing, {"weight": -1.0}),
    (dca.ConfidenceAccuracy, {"weight": -1.0}),
    (focal_adaptive.AdaptiveFocal, {"gamma_hard": -1.0}),
    (focal_adaptive.AdaptiveFocal, {"gamma_easy": -1.0}),
    (Recipe, {"dropout": 1.0}),
    (Recipe, {"heads": 0}),
]


@pytest.mark.parametrize(("recipe", "bad"), PARAMETERS)
def test_bad_parameters_are_refused_by_name(recipe, bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        recipe(**bad)


@pytest.mark.parametrize(
    "recipe",
    [Recipe(), *(type(one)() for one in NEUTRAL)],
    ids=lambda recipe: type(recipe).__name__,
)
@pytest.mark.parametrize("heads", [1, 3])
def test_every_loss_is_finite_with_finite_gradients_and_ignores_the_order_of_images(recipe, heads):
    recipe = dataclasses.replace(recipe, heads=heads)
    logits = (20 * torch.randn(12, heads, 4, generator=generator())).requires_grad_()
    targets, weights = torch.eye(4).repeat(3, 1), torch.ones(heads, 4)
    loss = recipe.loss(logits, targets, weights)
    loss.backward()
    assert loss.isfinite()
    assert loss.ndim == 0
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    order = torch.randperm(12, generator=generator())
    torch.testing.assert_close(recipe.loss(logits[order], targets[order], weights), loss)


def test_the_methods_are_those_of_the_table():
    recipes = {
        "cross-entropy": (Recipe(), 1, 1),
        "label-smoothing": (label_smoothing.LabelSmoothing(smoothing=0.05), 1, 1),
        "focal": (focal.Focal(gamma=3), 1, 1),
        "focal-adaptive": (
            focal_adaptive.AdaptiveFocal(gamma_hard=5, gamma_easy=3, threshold=0.2),
            1,
            1,
        ),
        "mixup": (mixup.Mixup(alpha=0.2), 1, 1),
        "mbls": (mbls.MarginSmoothing(margin=6, weight=0.1), 1, 1),
        "dca": (dca.ConfidenceAccuracy(weight=5), 1, 1),
        "mc-dropout": (Recipe(dropout=0.2), 1, 30),
        "deep-ensemble": (Recipe(), 5, 1),
    }
    modules = [cross_entropy, label_smoothing, focal, focal_adaptive, mixup, mbls, dca]
    modules += [mc_dropout, deep_ensemble]
    methods: list[Method] = list(itertools.chain(*(module.METHODS for module in modules)))
    assert {m.name: (m.recipe, m.members, m.passes) for m in methods} == recipes
    assert mhml.METHODS[0].variants == ("heads", tuple(range(2, 11)))
    assert mhsl.METHODS[0].variants == ("heads", (2, 4))
    assert mhsl.METHODS[0].recipe == Recipe(heads=2)
