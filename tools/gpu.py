"""Measure the engine on a GPU: against its ceiling, against the paper's loop, and its methods.

    python -m tools.gpu --out results/speed

Each measurement is small, runs in a process of its own, for a bounded time, and leaves one JSON
file; started again, the script makes only what is missing, what failed before last of all. It ends
within ``--minutes``: call it until it says that nothing is left. ``--tiny`` tries everything at a
toy size on whatever device there is: those numbers mean nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import itertools
import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmark.api import Recipe
from benchmark.engine import cost, network
from benchmark.engine.batches import Batches
from benchmark.engine.fit import environment
from benchmark.engine.predict import log_probs
from benchmark.engine.step import Mode, Step
from benchmark.engine.train import train
from benchmark.plan import registry
from benchmark.plan.presets import PAPER, STANDARD, Settings

CLASSES = 7
LIMIT_SECONDS = 420
LEAST_SECONDS = 60
"""With less time than this left, no measurement is started."""
Numbers = dict[str, Any]
Precision = Literal["float32", "bf16"]


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much is measured."""

    size: int = 224
    images: int = 4096
    files: int = 2048
    side: int = 512
    workers: int = 6
    window: float = 2.0
    windows: int = 5
    backbones: tuple[str, ...] = ("resnet50", "convnext_tiny")
    batches: tuple[int, ...] = (128, 8)
    at_once: tuple[int, ...] = (2, 4)
    heads: tuple[int, ...] = tuple(range(2, 11))


TINY = Scale(size=32, images=64, files=24, side=48, workers=1, window=0.05, windows=2,
             backbones=("test_resnet",), batches=(16, 4), at_once=(2,),
             heads=(2, 3))  # fmt: skip
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
WAYS: tuple[Mode, ...] = ("eager", "graph", "compiled") if DEVICE.type == "cuda" else ("eager",)


def build(backbone: str, size: int, recipe: Recipe | None = None) -> network.Network:
    net = network.build(backbone, weights="none", weights_file=None, classes=CLASSES, channels=3,
                        size=size, recipe=recipe or Recipe(), seed=0)  # fmt: skip
    return net.to(DEVICE)


def autocast(precision: str) -> torch.autocast:
    on = precision == "bf16" and DEVICE.type == "cuda"
    return torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=on)


def seconds_of(step: Callable[[], object], scale: Scale) -> float:
    """Seconds of a step: the median of several windows, each synchronised at its ends only."""
    for _ in range(5):
        step()
    cost.synchronise(DEVICE)
    started = time.perf_counter()
    step()
    cost.synchronise(DEVICE)
    count = max(2, round(scale.window / (time.perf_counter() - started)))
    found = []
    for _ in range(scale.windows):
        started = time.perf_counter()
        for _ in range(count):
            step()
        cost.synchronise(DEVICE)
        found.append((time.perf_counter() - started) / count)
    return median(found)


def tidy() -> None:
    """Leave no memory of earlier work to the next."""
    gc.collect()
    if DEVICE.type == "cuda":
        torch.cuda.empty_cache()


# --- is it right? -------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Looking(Recipe):
    """A loss that reads the device, as no graph can."""

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        loss = super().loss(logits, targets, weights)
        return loss * 1.0 if loss.item() >= 0 else loss


class Toy:
    """A small network that learns noise in the way that suits a GPU."""

    def __init__(self, recipe: Recipe, precision: Precision = "float32") -> None:
        self.recipe, rng = recipe, np.random.default_rng(0)
        self.settings = dataclasses.replace(
            PAPER.settings, batch=8, epochs=2, cycles=1, select="last", learning_rate=0.01,
            precision=precision,
        )  # fmt: skip
        self.net = build("test_resnet", 64, recipe).train()
        self.labels = rng.integers(0, CLASSES, 64)
        images = rng.integers(0, 256, (64, 3, 64, 64), dtype=np.uint8)
        self.batches = Batches(images, self.net.normalisation, DEVICE, precision)

    def fit(self) -> str:
        index, ways = np.arange(64), WAYS[1:2] or WAYS
        return train(
            self.net, self.batches, self.labels, index, index, CLASSES, recipe=self.recipe,
            settings=self.settings, seed=0, stopwatch=cost.Stopwatch(DEVICE), ways=ways,
        ).mode  # fmt: skip

    def losses(self, ways: Sequence[Mode]) -> tuple[str, list[float]]:
        """Losses of the same images under the same weights, again and again."""
        weights = torch.ones(1, CLASSES, device=DEVICE)
        step = Step(self.net, self.recipe, weights, self.settings, self.batches.autocast)
        index = np.arange(8)
        targets = torch.eye(CLASSES, device=DEVICE)[torch.tensor(self.labels[:8], device=DEVICE)]
        step.warm_up(self.batches(index), targets, ways)
        found = []
        for _ in range(4):
            step.total.zero_()
            step(self.batches(index), targets, 0.0)
            found.append(step.total.item())
        return step.mode, found


def masks_differ() -> tuple[bool, str]:
    """Dropout draws anew in each replay of a graph, and nothing else changes the loss."""
    mode, dropped = Toy(Recipe(dropout=0.5)).losses(WAYS[1:2] or WAYS)
    _, plain = Toy(Recipe()).losses(WAYS[1:2] or WAYS)
    gaps = np.abs(np.diff(dropped)).min(), np.abs(np.diff(plain)).max()
    right = bool(gaps[0] > 1e-4 > gaps[1])
    return right, f"{mode}: losses differ by {gaps[0]:.2g} with dropout, {gaps[1]:.2g} without"


def equal_seeds_equal_weights() -> tuple[bool, str]:
    toys = [Toy(Recipe(dropout=0.5)) for _ in range(2)]
    start = torch.cat([p.detach().flatten().clone() for p in toys[0].net.parameters()])
    with cost.precisely(DEVICE, "float32"):
        mode, _ = (toy.fit() for toy in toys)
    one, two = (torch.cat([p.detach().flatten() for p in t.net.parameters()]) for t in toys)
    gap, moved = (one - two).abs().max().item(), (one - start).abs().max().item()
    return gap == 0 < moved, f"{mode}: weights moved by {moved:.2g} and differ by {gap:.2g}"


def bf16_trains() -> tuple[bool, str]:
    toy = Toy(Recipe(), "bf16")
    with cost.precisely(DEVICE, "bf16"):
        mode = toy.fit()
        with toy.batches.autocast():
            features = toy.net.trunk(toy.batches(np.arange(8)))
            logits = toy.net.classify(features, passes=1, stochastic=False)
    kinds = {p.dtype for p in toy.net.parameters()}
    finite = all(p.isfinite().all() for p in toy.net.parameters())
    exact = {logits.dtype, *kinds} == {torch.float32}
    right = finite and exact and features.dtype == torch.bfloat16
    return right, (f"{mode}: features {features.dtype}, logits {logits.dtype}, weights {kinds}, "
                   f"{'' if finite else 'not '}finite")  # fmt: skip


def looking_loss_falls_back() -> tuple[bool, str]:
    """And its network can still drop out."""
    mode, losses = Toy(Looking(dropout=0.5)).losses([*WAYS[1:2], "eager"])
    return mode == "eager" and bool(np.isfinite(losses).all()), f"{mode}: losses {losses}"


CHECKS = (masks_differ, equal_seeds_equal_weights, bf16_trains, looking_loss_falls_back)


def check(work: Callable[[], tuple[bool, str]]) -> Numbers:
    try:
        passed, reason = work()
    except Exception as error:
        passed, reason = False, f"{type(error).__name__}: {error}"
    return {"passed": passed, "reason": reason}


# --- (a) and (c): the engine against its ceiling -----------------------------------------------


def ceiling(backbone: str, batch: int, way: Mode, scale: Scale, precision: str) -> float:
    """Images per second of the network stepping on one resident random batch."""
    tidy()
    with cost.precisely(DEVICE, precision):
        net = build(backbone, scale.size).train()
        images = torch.randn(batch, 3, scale.size, scale.size, device=DEVICE)
        images = images.to(memory_format=torch.channels_last)
        labels = torch.randint(CLASSES, (batch,), device=DEVICE)
        optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, fused=True)
        forward: Callable[[Tensor], Tensor] = torch.compile(net) if way == "compiled" else net

        def step() -> None:
            with autocast(precision):
                logits = forward(images)[:, 0]
            loss = cross_entropy(logits.float(), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

        if way == "eager":
            return batch / seconds_of(step, scale)
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(5):
                step()
        torch.cuda.current_stream().wait_stream(side)
        optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        return batch / seconds_of(graph.replay, scale)


def engine(
    backbone: str, settings: Settings, scale: Scale, way: Mode, gate: cost.Stopwatch | None = None
) -> Numbers:
    """A cross-entropy fit as every fit is made, on images that live on the device."""
    tidy()
    epochs = 3
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (scale.images, 3, scale.size, scale.size), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, scale.images)
    settings = dataclasses.replace(
        settings, backbone=backbone, epochs=epochs, cycles=1, select="last", learning_rate=1e-4
    )  # the labels are noise, from which nothing shall diverge
    memory = cost.PeakMemory(DEVICE)
    with cost.precisely(DEVICE, settings.precision):
        net = build(backbone, scale.size)
        batches = Batches(images, net.normalisation, DEVICE, settings.precision)
        index, warming = np.arange(scale.images), cost.Stopwatch(DEVICE)
        clock = gate or cost.Stopwatch(DEVICE)
        step = train(
            net, batches, labels, index, index, CLASSES, recipe=Recipe(), settings=settings,
            seed=0, stopwatch=clock, warming=warming, ways=[way],
        )  # fmt: skip
    made = scale.images // settings.batch * settings.batch * epochs
    return {
        "images_per_second": made / clock.seconds,
        "images": made,
        "warm_up_seconds": warming.seconds,
        "step": step.mode,
        "joules_per_image": None if clock.joules is None else clock.joules / made,
        "images_mib": images.nbytes / 2**20,
        **{f"{where}_memory_mib": peak for where, peak in memory.read().items()},
    }


def against_ceiling(scale: Scale, backbone: str, batch: int, way: Mode) -> Numbers:
    """The engine between two looks at what the same way of stepping can reach."""
    settings = dataclasses.replace(STANDARD.settings, batch=batch, size=scale.size)
    before = ceiling(backbone, batch, way, scale, settings.precision)
    ours = engine(backbone, settings, scale, way)
    after = ceiling(backbone, batch, way, scale, settings.precision)
    return {"ceiling_images_per_second": max(before, after), **ours}


# --- (b): the paper's recipe -------------------------------------------------------------------


class Files(Dataset[tuple[Tensor, int]]):
    """Decoded, resized and augmented by PIL each time."""

    def __init__(self, files: Sequence[Path], size: int) -> None:
        self.files = files
        self.transform = transforms.Compose([
            transforms.Resize((size, size)), transforms.TrivialAugmentWide(),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.files[index]) as image:
            return self.transform(image.convert("RGB")), index % CLASSES


def write_files(folder: Path, scale: Scale) -> list[Path]:
    """JPEG files with the detail of photographs."""
    generator, files = torch.Generator().manual_seed(0), []
    for k in range(scale.files):
        picture = torch.full((1, 3, scale.side, scale.side), 128.0)
        for cells in (4, 16, 64):
            coarse = torch.randn(1, 3, cells, cells, generator=generator) * 120 / cells**0.5
            picture += interpolate(coarse, (scale.side, scale.side), mode="bilinear")
        pixels = picture[0].clamp(0, 255).byte().permute(1, 2, 0).numpy()
        files.append(folder / f"{k}.jpg")
        Image.fromarray(pixels).save(files[-1], quality=90)
    return files


def paper_loop(scale: Scale) -> Numbers:
    """The loop of the paper's released code: float32, eager, deterministic, a look at each loss."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    net = build(scale.backbones[0], scale.size).to(memory_format=torch.contiguous_format).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    with tempfile.TemporaryDirectory() as folder:
        loader = DataLoader(
            Files(write_files(Path(folder), scale), scale.size), batch_size=8, shuffle=True,
            drop_last=True, num_workers=scale.workers, persistent_workers=True,
        )  # fmt: skip
        seen, clock, total = 0, cost.Stopwatch(DEVICE), 0.0
        for epoch in range(4):  # the first one warms up
            with clock if epoch else cost.Stopwatch(DEVICE):
                for images, labels in loader:
                    loss = cross_entropy(net(images.to(DEVICE))[:, 0], labels.to(DEVICE))
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    total += loss.item()
                    seen += len(images) if epoch else 0
            if clock.seconds > 30 * scale.window:
                break
        del loader
    return {"images_per_second": seen / clock.seconds}


def paper_settings(precision: str, scale: Scale) -> Settings:
    changes: dict[str, Any] = {"precision": precision, "size": scale.size}
    return dataclasses.replace(PAPER.settings, **changes)


def paper_engine(scale: Scale, precision: str, way: Mode) -> Numbers:
    """One fit alone."""
    return engine(scale.backbones[0], paper_settings(precision, scale), scale, way)


class Gate(cost.Stopwatch):
    """A stopwatch that several processes start together, once all of them are warm."""

    def __init__(self, device: torch.device, barrier: Any) -> None:
        super().__init__(device)
        self.barrier, self.first, self.last = barrier, 0.0, 0.0

    def __enter__(self) -> None:
        if not self.first:
            cost.synchronise(self.device)
            self.barrier.wait()
            self.first = time.monotonic()  # one clock for all processes
        super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.last = time.monotonic()


def _one_of_several(scale: Scale, precision: str, results: Any, barrier: Any) -> None:
    way, gate = WAYS[min(1, len(WAYS) - 1)], Gate(DEVICE, barrier)
    found = engine(scale.backbones[0], paper_settings(precision, scale), scale, way, gate)
    results.put(found | {"first": gate.first, "last": gate.last})


def together(work: Callable[..., None], arguments: Sequence[Any], count: int, seconds: float
             ) -> list[Numbers]:  # fmt: skip
    """What so many processes put into their queue; none waits for one that failed."""
    spawn = torch.multiprocessing.get_context("spawn")
    results, barrier = spawn.Queue(), spawn.Barrier(count, timeout=seconds)
    processes = [spawn.Process(target=work, args=(*arguments, results, barrier), daemon=True)
                 for _ in range(count)]  # fmt: skip
    for process in processes:
        process.start()
    found: list[Numbers] = []
    end = time.monotonic() + seconds
    try:
        while len(found) < count:
            with contextlib.suppress(queue.Empty):
                found.append(results.get(timeout=1))
                continue
            codes = [p.exitcode for p in processes if p.exitcode]
            if codes:
                raise RuntimeError(f"one of {count} fits ended with exit code {codes[0]}")
            if time.monotonic() > end:
                raise TimeoutError(f"{count} fits at once took more than {seconds:.0f} s")
    finally:
        for process in processes:
            if len(found) < count:
                process.kill()
            process.join()
    return found


def paper_several(scale: Scale, precision: str, at_once: int, seconds: float) -> Numbers:
    """Several fits on one device: what they make together, from the first start to the last end."""
    each = together(_one_of_several, (scale, precision), at_once, seconds)
    took = max(one["last"] for one in each) - min(one["first"] for one in each)
    return {
        "fits_at_once": at_once,
        "each_images_per_second": [one["images_per_second"] for one in each],
        "images_per_second": sum(one["images"] for one in each) / took,
    }


# --- (d): what more heads cost -----------------------------------------------------------------


def heads(scale: Scale, batch: int, method: str) -> Numbers:
    """Step and inference of a method in units of cross-entropy's, taking turns."""
    settings = dataclasses.replace(STANDARD.settings, batch=batch)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, 3, scale.size, scale.size), dtype=np.uint8)
    names = ["cross-entropy", method]
    found: dict[str, dict[str, list[float]]] = {n: {"train": [], "predict": []} for n in names}
    quick = dataclasses.replace(scale, window=scale.window / 4, windows=1)
    with cost.precisely(DEVICE, settings.precision):
        for _, name in itertools.product(range(3), names):
            tidy()
            (made,) = registry.select_methods(name)
            net = build(scale.backbones[0], scale.size, made.recipe).train()
            batches = Batches(images, net.normalisation, DEVICE, settings.precision)
            weights = made.recipe.head_weights(CLASSES, torch.Generator().manual_seed(0))
            step = Step(net, made.recipe, weights.to(DEVICE), settings, batches.autocast)
            given, targets = batches(np.arange(batch)), torch.eye(CLASSES, device=DEVICE)
            targets = targets[torch.arange(batch, device=DEVICE) % CLASSES]
            step.warm_up(given, targets, WAYS[1:2] or WAYS)
            found[name]["train"].append(seconds_of(partial(step, given, targets, 1e-3), quick))
            predict = partial(log_probs, net, batches, np.arange(batch), passes=1, batch=batch,
                              seed=0)  # fmt: skip
            found[name]["predict"].append(seconds_of(predict, quick))
    return {
        f"{what}_ratio": median(
            m / t for m, t in zip(found[method][what], found["cross-entropy"][what])
        )
        for what in ("train", "predict")
    }


# --- all of them -------------------------------------------------------------------------------


def measurements(
    scale: Scale, seconds: float = LIMIT_SECONDS
) -> Iterator[tuple[str, Callable[[], Numbers]]]:
    """Every measurement by name, what matters most first; each may take so many seconds."""
    for work in CHECKS:
        yield f"check-{work.__name__.replace('_', '-')}", partial(check, work)
    for backbone, batch, way in itertools.product(scale.backbones, scale.batches, WAYS):
        yield (f"ceiling-{backbone}-batch-{batch}-{way}",
               partial(against_ceiling, scale, backbone, batch, way))  # fmt: skip
    precisions = ("float32", "bf16")
    yield "paper-loop", partial(paper_loop, scale)
    for precision, way in itertools.product(precisions, WAYS):
        yield f"paper-engine-{precision}-{way}", partial(paper_engine, scale, precision, way)
    for precision, k in itertools.product(precisions, scale.at_once):
        yield (f"paper-engine-{precision}-{k}-at-once",
               partial(paper_several, scale, precision, k, 0.9 * seconds))  # fmt: skip
    for batch, m in itertools.product(scale.batches, scale.heads):
        yield f"heads-batch-{batch}-mhml-{m}", partial(heads, scale, batch, f"mhml-{m}")


def summary(folder: Path) -> str:
    """What was found, in words."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    machines = {m["environment"]["hardware"] for m in found.values() if "environment" in m}
    lines = ["# Speed of the engine", "", f"Measured on {' and '.join(sorted(machines))}.", ""]
    base = found.get("paper-loop", {}).get("images_per_second")
    for name, measured in found.items():
        if "failed" in measured:
            text = f"not measured: {measured['failed']}"
        elif name.startswith("check"):
            text = f"{'passed' if measured['passed'] else 'FAILED'}: {measured['reason']}"
        elif name.startswith("ceiling"):
            same = [other.get("ceiling_images_per_second", 0) for key, other in found.items()
                    if key.rpartition("-")[0] == name.rpartition("-")[0]]  # fmt: skip
            share = measured["images_per_second"] / max(same)
            text = (f"ceiling {measured['ceiling_images_per_second']:.0f} images/s, engine "
                    f"{measured['images_per_second']:.0f}: {share:.3f} of the best of the "
                    f"{len(same)} ceilings measured")  # fmt: skip
        elif name.startswith("paper"):
            speed = measured["images_per_second"]
            text = f"{speed:.0f} images/s"
            if base:
                text += f", {speed / base:.1f} x the paper's loop"
        else:
            text = (f"training step {measured['train_ratio']:.3f}, inference "
                    f"{measured['predict_ratio']:.3f} of cross-entropy's")  # fmt: skip
        lines.append(f"- {name}: {text}")
    return "\n".join(lines) + "\n"


def measure(name: str, scale: Scale, out: Path, seconds: float) -> None:
    """Make one measurement and write it."""
    work = dict(measurements(scale, seconds))[name]
    started = time.perf_counter()
    numbers = work()
    numbers |= {"environment": environment(DEVICE), "seconds": time.perf_counter() - started}
    write(out / f"{name}.json", numbers)


def write(path: Path, numbers: Numbers) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(numbers, indent=1) + "\n")
    part.replace(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/speed"), metavar="DIR")
    parser.add_argument("--tiny", action="store_true", help="a toy size, on any device")
    parser.add_argument("--only", metavar="NAME", help="just this measurement, in this process")
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, help=argparse.SUPPRESS)
    parser.add_argument("--minutes", type=float, default=9, help="end within so long (9)")
    options = parser.parse_args()
    scale = TINY if options.tiny else Scale()
    if DEVICE.type != "cuda" and not options.tiny:
        print("torch sees no GPU here; --tiny tries the script at a toy size", file=sys.stderr)
        return 2
    if options.only:
        measure(options.only, scale, options.out, options.limit)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and end the child first
    end = time.monotonic() + 60 * options.minutes
    paths = {name: options.out / f"{name}.json" for name, _ in measurements(scale)}
    missing = [name for name, path in paths.items() if not path.exists()]
    failed = [name for name, path in paths.items()
              if path.exists() and "failed" in json.loads(path.read_text())]  # fmt: skip
    for name in missing + failed:
        seconds = min(LIMIT_SECONDS, end - time.monotonic())
        if seconds < LEAST_SECONDS:
            print(f"{name}: left for another time")
            continue
        command = [sys.executable, "-m", "tools.gpu", "--only", name, "--out", str(options.out),
                   "--limit", str(seconds), *(["--tiny"] if options.tiny else [])]  # fmt: skip
        try:
            reason = attempt(command, seconds)
        except subprocess.TimeoutExpired:
            if seconds < LIMIT_SECONDS:  # it has not failed: there was no time
                print(f"{name}: left for another time")
                continue
            reason = f"not done after {seconds:.0f} s"
        if reason:
            write(paths[name], {"failed": reason})
        print(f"{name}: {reason or 'measured'}", flush=True)
    text = summary(options.out)
    (options.out / "speed.md").write_text(text)
    print(text)
    return 0


def attempt(command: list[str], seconds: float) -> str | None:
    """Run a command and end it with all that it started; returns why it failed, if it did."""
    setting = os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    with subprocess.Popen(
        command, env=setting, start_new_session=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            _, errors = process.communicate(timeout=seconds)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if not process.returncode:
        return None
    lines = errors.strip().splitlines() or [f"exit code {process.returncode}"]
    # CUDA's messages go on for some lines after the one that says what happened.
    return next((line for line in reversed(lines) if re.match(r"[\w.]+Error\b", line)), lines[-1])


if __name__ == "__main__":
    sys.exit(main())
