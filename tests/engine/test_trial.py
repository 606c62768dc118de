"""The contract with timm: one head computes what timm does, or the network is refused at once."""

import dataclasses
import os
import re

import pytest
import torch

from benchmark.api import InputError, Recipe
from benchmark.engine import cost
from benchmark.engine.network import build, seeded
from benchmark.engine.trial import check_network
from benchmark.plan.presets import QUICK
from benchmark.plan.seeding import derive

timm = pytest.importorskip("timm")

ALL = os.environ.get("CALIBRATION_ALL_BACKBONES") == "1"
LARGEST = 1.4e8

FEW = {
    "test_resnet": 64, "test_efficientnet": 64, "test_convnext": 64, "test_vit": 160,
    "test_coatnet": 160, "rexnet_100": 64, "swin_tiny_patch4_window7_224": 56,
    "cait_xxs24_224": 64, "pit_ti_224": 64, "densenet121": 64, "ghostnet_050": 64,
    "mobilenetv3_small_050": 64, "maxvit_tiny_tf_224": 64, "lambda_resnet26t": 128,
    "vit_pe_core_tiny_patch16_384": 64,
}  # fmt: skip
REFUSED = {"volo_d1_224": 64, "resnetv2_18": 64, "deit_tiny_distilled_patch16_224": 64,
           "crossvit_tiny_240": 240, "halonet26t": 224}  # fmt: skip


def smallest_of_each_module():
    """The smallest model of every module of timm, at the size that it was made for."""
    found = {}
    for module in sorted({timm.models.model_entrypoint(n).__module__ for n in timm.list_models()}):
        sizes = []
        for name in timm.list_models(module=module.rpartition(".")[2]):
            with torch.device("meta"):
                model = timm.create_model(name)
            sizes.append((sum(p.numel() for p in model.parameters()), name, model.pretrained_cfg))
        number, name, config = min(sizes, key=lambda size: size[:2])
        if number < LARGEST:
            found[name] = min(config["input_size"][1], 384)
    return found


def settings(backbone):
    return dataclasses.replace(QUICK.settings, backbone=backbone, batch=2)


def refusal(backbone, size):
    try:
        check_network(settings(backbone), (3, size, size), 4, None)
    except InputError as error:
        return str(error)
    return None


def network(backbone, size, recipe=Recipe()):  # noqa: B008
    return build(backbone, weights="none", weights_file=None, classes=4, channels=3, size=size,
                 recipe=recipe, seed=3)  # fmt: skip


def theirs(backbone, size):
    """The same model as timm makes it, from the same numbers."""
    config = timm.get_pretrained_cfg(backbone)
    fixed = {"img_size": size} if config is not None and config.fixed_input_size else {}
    with seeded(derive(3, "head", 0)):
        return timm.create_model(backbone, num_classes=4, **fixed).eval()


def fill(tensor):
    """Nothing that is initially zero may hide a difference."""
    if not tensor.any():
        tensor.fill_(0.1)


@pytest.mark.parametrize(("backbone", "size"), (smallest_of_each_module() if ALL else FEW).items())
def test_one_head_computes_what_timm_does_or_is_refused_before_training(backbone, size):
    refused = refusal(backbone, size)
    if refused is not None:
        assert ALL, refused
        assert refused.startswith(f"backbone {backbone}")
        assert "classifier" in refused
        return
    ours, model = network(backbone, size).eval(), theirs(backbone, size)
    with torch.no_grad():
        for tensor in (*ours.parameters(), *model.parameters()):
            fill(tensor)
        images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        expected, given = model(images), ours(images)
    scale = expected.abs().max().item()
    torch.testing.assert_close(given[:, 0] / scale, expected / scale, rtol=0, atol=1e-3)
    # The recipe says no dropout, so nothing random is left in training.
    before = torch.get_rng_state()
    ours.train()(images)
    assert torch.equal(torch.get_rng_state(), before)
    assert cost.flops(lambda: ours(images)) > 0


@pytest.mark.parametrize(("backbone", "size"), REFUSED.items())
def test_what_cannot_stand_for_timm_is_refused_with_one_message(backbone, size):
    words = "it was made for 256" if backbone == "halonet26t" else "one linear classifier"
    assert re.fullmatch(f"backbone {backbone}.*{words}.*", refusal(backbone, size))


@pytest.mark.parametrize(
    ("backbone", "size", "seen"),
    [
        ("vit_tiny_patch16_224", 70, 64),
        ("test_convnext", 66, 64),
        ("resnet10t", 33, 33),
        ("small", 9, 9),
    ],
)
def test_pixels_that_no_patch_covers_are_named(backbone, size, seen):
    note = check_network(settings(backbone), (3, size, size), 4, None)
    assert (f"sees {seen}x{seen} of {size}x{size} pixels" in note) == (seen != size)
    assert bool(note) == (seen != size)
