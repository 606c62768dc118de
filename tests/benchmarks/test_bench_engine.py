"""Speed of the engine, as ratios of runs that take turns, so that a change of pace meets both."""

import contextlib
import dataclasses
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

import joblib
import numpy as np
import pytest
import torch
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture
from torch.nn.functional import cross_entropy

from benchmark.api import Recipe
from benchmark.data.material import Material, opened
from benchmark.engine import network
from benchmark.engine.batches import Batches
from benchmark.engine.cost import Stopwatch
from benchmark.engine.predict import log_probs
from benchmark.engine.step import Step
from benchmark.engine.train import train
from benchmark.plan import registry
from benchmark.plan.cells import Fit, Task
from benchmark.results import manifest
from benchmark.results.load import load
from benchmark.running.execute import _laid_out, execute
from benchmark.running.prepare import Work, prepare
from benchmark.running.request import Request

CPU = torch.device("cpu")
CORES = len(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def turns(
    benchmark: BenchmarkFixture,
    ours: Callable[[], object],
    reference: Callable[[], object],
    rounds: int,
) -> float:
    """Let both take turns; record and return our time in units of the reference's.

    That is the median of the rounds' ratios, fixed beforehand; the ratio of the best times stands
    beside it in the record.
    """
    theirs: list[float] = []
    benchmark.pedantic(ours, setup=lambda: theirs.append(seconds(reference)), rounds=rounds)
    mine = benchmark.stats.stats.data
    by_round = median(m / t for m, t in zip(mine, theirs, strict=True))
    by_best = min(mine) / min(theirs)
    benchmark.extra_info |= {
        "seconds": round(min(mine), 4),
        "reference_seconds": round(min(theirs), 4),
        "median_of_ratios": round(by_round, 3),
        "ratio_of_best": round(by_best, 3),
    }
    return by_round


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[object], None]:
    """Print past pytest's capture."""

    def aloud(text: object) -> None:
        with capsys.disabled():
            print(f"\n{text}")

    return aloud


def planned(methods: str, datasets: str, preset: str | None, folder: Path, folds: int = 1):
    asked = Request(
        methods=methods, datasets=registry.select_datasets(datasets),
        preset=preset, folds=folds, device="cpu", jobs=1, results=folder, cache=folder / "cache",
        data_root=folder,
    )  # fmt: skip
    return asked, prepare(asked)


@contextlib.contextmanager
def materials(asked: Request, work: Work) -> Iterator[dict[Task, Material]]:
    """The images of each task, from files as workers get them."""
    with _laid_out(asked, work, None) as places:
        yield {task: opened(laid.place) for task, laid in places.items()}


def build(fit: Fit, material: Material) -> network.Network:
    return network.build(
        fit.task.settings.backbone, weights="none", weights_file=None,
        classes=len(material.classes), channels=material.images.shape[1],
        size=material.images.shape[-1], recipe=fit.recipe, seed=1,
    )  # fmt: skip


# --- the small default -------------------------------------------------------------------------


def bare_loop(net, images, labels, *, epochs, batch, rate, momentum):
    """Cross-entropy as one would write it without a benchmark around it."""
    generator = torch.Generator().manual_seed(1)
    steps = len(images) // batch
    optimizer = torch.optim.SGD(net.parameters(), lr=rate, momentum=momentum, fused=True)
    net.train()
    for epoch in range(epochs):
        order = torch.randperm(len(images), generator=generator)
        for k in range(steps):
            where = order[k * batch : (k + 1) * batch]
            done = (epoch * steps + k) / (epochs * steps)
            optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * done))
            loss = cross_entropy(net(images[where])[:, 0], labels[where])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def bare_fit(fit: Fit, material: Material) -> float:
    """Seconds of the bare loop for the steps of a fit."""
    torch.set_num_threads(1)
    settings, index = fit.task.settings, material.parts.train
    net = build(fit, material)
    images = (torch.from_numpy(np.array(material.images[index])).float() / 255 - 0.5) / 0.25
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(np.array(material.labels[index])).long()
    return seconds(
        lambda: bare_loop(net, images, labels, epochs=settings.epochs, batch=settings.batch,
                          rate=settings.learning_rate, momentum=settings.momentum)
    )  # fmt: skip


@pytest.mark.parametrize("dataset", ["simulated", "digits"])
def test_a_fit_runs_at_the_speed_of_a_bare_loop(
    benchmark: BenchmarkFixture, dataset: str, tmp_path: Path, say: Callable[[object], None]
) -> None:
    """At least 0.92 of its images per second."""
    asked, work = planned("cross-entropy", dataset, "quick[epochs=5]", tmp_path, folds=3)
    fit = work.fits[0]
    with materials(asked, work) as by_task:
        material = by_task[fit.task]

    def ours() -> None:
        net = build(fit, material)
        batches = Batches(material.images, net.normalisation, CPU)
        train(
            net, batches, material.labels, material.parts.train, material.parts.calibration,
            len(material.classes), recipe=fit.recipe, settings=fit.task.settings, seed=1,
            stopwatch=Stopwatch(CPU),
        )  # fmt: skip

    ours(), bare_fit(fit, material)  # warm up
    ratio = turns(benchmark, ours, lambda: bare_fit(fit, material), rounds=15)
    say(f"a fit on {dataset} against a bare loop: {benchmark.extra_info}")
    assert ratio <= 1 / 0.92


@pytest.mark.parametrize(("dataset", "folds"), [("simulated", 1), ("digits", 2)])
def test_the_default_run_wastes_little(
    benchmark: BenchmarkFixture,
    dataset: str,
    folds: int,
    tmp_path: Path,
    say: Callable[[object], None],
) -> None:
    """At most 1.25 times the bare loops of its fits, on the same cores in the same way.

    A part of the default run, from reading the data to the last calibrator; the worker processes
    have started and imported before.
    """
    asked, work = planned("all", dataset, "quick", tmp_path, folds)
    with materials(asked, work) as by_task:
        material = {task: dataclasses.replace(m, images=np.array(m.images))
                    for task, m in by_task.items()}  # fmt: skip
    plain = {fit.task: fit for fit in reversed(work.fits) if type(fit.recipe) is Recipe}

    def reference(fits: Sequence[Fit] = work.fits) -> None:
        with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
            joblib.Parallel(n_jobs=CORES, batch_size=1)(
                joblib.delayed(bare_fit)(plain[fit.task], material[fit.task]) for fit in fits
            )

    def ours(preset: str = "quick", name: str = "measured", methods: str = "all") -> None:
        folder = tmp_path / name
        shutil.rmtree(folder, ignore_errors=True)
        asked, work = planned(methods, dataset, preset, folder, folds)
        outcome = execute(dataclasses.replace(asked, jobs=CORES), work)
        assert not outcome.failed

    ours("quick[epochs=1]", "warm-up")
    reference(work.fits[:CORES])
    ratio = turns(benchmark, ours, reference, rounds=2)
    say(f"the default run on {dataset}: {len(work.fits)} fits, {benchmark.extra_info}")
    assert ratio <= 1.25


def test_help_takes_less_than_a_second(
    benchmark: BenchmarkFixture, say: Callable[[object], None]
) -> None:
    command = [sys.executable, "-m", "benchmark", "run", "--help"]
    benchmark.pedantic(lambda: subprocess.run(command, check=True, capture_output=True), rounds=3)
    fastest = min(benchmark.stats.stats.data)
    say(f"--help: {fastest:.2f} s")
    assert fastest < 1


# --- methods against cross-entropy, with the same backbone -------------------------------------


class Trained:
    """A ResNet-18 with a method's head, for eight images at 112 pixels."""

    def __init__(self, name: str) -> None:
        (self.method,) = registry.select_methods(name)
        recipe = self.method.recipe
        self.net = network.build("resnet18", weights="none", weights_file=None, classes=7,
                                 channels=3, size=112, recipe=recipe, seed=0)  # fmt: skip
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (8, 3, 112, 112), dtype=np.uint8)
        self.batches = Batches(images, self.net.normalisation, CPU)
        weights = recipe.head_weights(7, torch.Generator().manual_seed(0))
        settings = registry.select_preset("standard").settings
        self.step = Step(self.net, recipe, weights, settings, self.batches.autocast)
        self.targets = torch.eye(7)[[0, 1, 2, 3, 4, 5, 6, 0]]
        self.index = np.arange(8)

    def train(self) -> None:
        self.net.train()
        self.step(self.batches(self.index), self.targets, 0.001)

    def predict(self) -> None:
        log_probs(self.net, self.batches, self.index, passes=self.method.passes, batch=8, seed=0)


@pytest.mark.parametrize(
    ("method", "work", "limit"),
    [("mhml-4", "train", 1.05), ("mhml-4", "predict", 1.03), ("mc-dropout", "predict", 1.15)],
)
def test_a_method_adds_little(
    benchmark: BenchmarkFixture, method: str, work: str, limit: float, say: Callable[[object], None]
) -> None:
    ours, reference = (getattr(Trained(name), work) for name in (method, "cross-entropy"))
    for _ in range(2):
        ours(), reference()  # warm up
    ratio = turns(benchmark, ours, reference, rounds=30)
    say(f"{method}, {work}, against cross-entropy: {benchmark.extra_info}")
    assert ratio <= limit


def test_a_deep_ensemble_costs_five_networks(
    benchmark: BenchmarkFixture, tmp_path: Path, say: Callable[[object], None]
) -> None:
    """By the clock, and by what the leaderboard charges."""
    runs = iter(range(100))

    def made(methods: str):
        asked, work = planned(methods, "simulated", "quick[epochs=10]", tmp_path / str(next(runs)))
        outcome = execute(asked, work)
        return asked, work, outcome

    ratio = turns(
        benchmark, lambda: made("deep-ensemble"), lambda: made("cross-entropy"), rounds=3
    )  # fmt: skip
    asked, work, outcome = made("cross-entropy,deep-ensemble")
    assert outcome.trained == 5  # the first member is shared, and charged all the same
    (cell,) = (cell for cell in work.cells if cell.method.members == 5)
    costs = load(asked.results, manifest.read(asked.results)).costs
    ensemble = costs[costs["method"] == cell.method.name].set_index("metric")["value"]
    each = [asked.store.fit(fit.key).costs["train_seconds"] for fit in cell.fits]
    say(f"deep-ensemble against cross-entropy: {benchmark.extra_info}, members {each}")
    assert ensemble["train_seconds"] == pytest.approx(sum(each))
    assert 4 <= ratio <= 5.25


# --- memory ------------------------------------------------------------------------------------


@contextlib.contextmanager
def peak_memory(process: subprocess.Popen[bytes]) -> Iterator[dict[str, float]]:
    """Peaks of the GiB that a process and its children hold; shared pages are counted once.

    ``own`` is what cannot be given up; ``mapped`` adds pages of files, which the system drops
    when memory is short: libraries, and the image cache.
    """
    peaks, over = {"own": 0.0, "mapped": 0.0}, threading.Event()

    def held(pid: int) -> dict[str, float]:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {line.split(":")[0]: int(line.split()[1]) / 2**20 for line in lines}
        return {"own": sizes["Pss"] - sizes["Pss_File"], "mapped": sizes["Pss"]}

    def watch() -> None:
        while not over.wait(0.1):
            now = dict.fromkeys(peaks, 0.0)
            for pid in (int(path.name) for path in Path("/proc").glob("[0-9]*")):
                with contextlib.suppress(OSError, ValueError, KeyError):
                    if os.getpgid(pid) == process.pid:
                        now = {name: now[name] + size for name, size in held(pid).items()}
            peaks.update({name: max(peaks[name], now[name]) for name in peaks})

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield peaks
    over.set()
    watcher.join()


def test_ten_thousand_images_stay_under_four_gib(
    benchmark: BenchmarkFixture, tmp_path: Path, say: Callable[[object], None]
) -> None:
    """A whole run from JPEG files at 224 pixels, with a worker per core."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 400), ("test", 9600)):
        for name in "ab":
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            first = folder / "0.jpg"
            Image.fromarray(pixels).resize((300, 260)).save(first)
            for k in range(1, n // 2):
                os.link(first, folder / f"{k}.jpg")
    command = [
        sys.executable, "-m", "benchmark", "run", "--datasets", f"folder:{tmp_path / 'images'}",
        "--preset", "standard[epochs=1,precision=float32]", "--backbone", "test_resnet",
        "--weights", "none", "--methods", "cross-entropy,mhml-2", "--folds", "official",
        "--device", "cpu", "--results", str(tmp_path / "results"),
        "--cache", str(tmp_path / "cache"),
    ]  # fmt: skip

    def once() -> None:
        with (
            subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL) as process,
            peak_memory(process) as peaks,
        ):
            assert process.wait() == 0
        benchmark.extra_info |= {f"{name}_gib": round(size, 2) for name, size in peaks.items()}

    benchmark.pedantic(once, rounds=1)
    cached = sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.npy")) / 2**30
    benchmark.extra_info["cache_gib"] = round(cached, 2)
    say(f"10,000 images at 224 pixels: {benchmark.extra_info}")
    assert cached > 1.3
    assert benchmark.extra_info["own_gib"] < 4
