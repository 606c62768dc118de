"""Measure the engine on a GPU: against its ceiling, against the paper's loop, and its methods.

    python tests/benchmarks/gpu.py --out results/speed

Each measurement runs in a process of its own, for a bounded time, and leaves one JSON file;
started again, the script makes only what is missing. ``--tiny`` tries everything at a toy size on
whatever device there is: those numbers mean nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmark import cost, network, registry
from benchmark.api import Recipe
from benchmark.batches import Batches
from benchmark.fit import environment
from benchmark.predict import log_probs
from benchmark.presets import PAPER, STANDARD, Settings
from benchmark.step import Mode, Step
from benchmark.train import train

CLASSES = 7
LIMIT_SECONDS = 420
Numbers = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much is measured."""

    size: int = 224
    images: int = 8192
    files: int = 2048
    side: int = 512
    workers: int = 6
    window: float = 2.0
    windows: int = 5
    backbones: tuple[str, ...] = ("resnet50", "convnext_tiny")
    batches: tuple[int, ...] = (128, 8)
    at_once: tuple[int, ...] = (2, 4)


TINY = Scale(size=32, images=64, files=24, side=48, workers=1, window=0.05, windows=2,
             backbones=("test_resnet",), batches=(16, 4), at_once=(2,))  # fmt: skip
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


# --- (a) and (c): the engine against its ceiling -----------------------------------------------


def ceiling(backbone: str, batch: int, way: Mode, scale: Scale, precision: str) -> float:
    """Images per second of the network stepping on one resident random batch."""
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
            loss.backward()
            optimizer.step()

        if way == "eager":
            return batch / seconds_of(step, scale)
        side = torch.cuda.Stream()
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


def engine(backbone: str, settings: Settings, scale: Scale, way: Mode, epochs: int = 3) -> Numbers:
    """A cross-entropy fit as every fit is made, on images that live on the device."""
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
        index, (clock, warming) = np.arange(scale.images), (cost.Stopwatch(DEVICE) for _ in "ab")
        step = train(
            net, batches, labels, index, index, CLASSES, recipe=Recipe(), settings=settings,
            seed=0, stopwatch=clock, warming=warming, ways=[way],
        )  # fmt: skip
    made = scale.images // settings.batch * settings.batch * epochs
    return {
        "images_per_second": made / clock.seconds,
        "warm_up_seconds": warming.seconds,
        "step": step.mode,
        "joules_per_image": None if clock.joules is None else clock.joules / made,
        "images_mib": images.nbytes / 2**20,
        **{f"{where}_memory_mib": peak for where, peak in memory.read().items()},
    }


def against_ceiling(scale: Scale, backbone: str, batch: int) -> Numbers:
    settings = dataclasses.replace(STANDARD.settings, batch=batch, size=scale.size)
    precision = settings.precision
    before = {way: ceiling(backbone, batch, way, scale, precision) for way in WAYS}
    ours = {way: engine(backbone, settings, scale, way) for way in WAYS}
    after = {way: ceiling(backbone, batch, way, scale, precision) for way in WAYS}
    ceilings = {way: max(before[way], after[way]) for way in WAYS}
    best = max(ceilings.values())
    return {
        "ceiling_images_per_second": ceilings,
        "engine": ours,
        "engine_to_best_ceiling": {w: ours[w]["images_per_second"] / best for w in WAYS},
    }


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
                    loss.backward()
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


def paper_engine(scale: Scale, precision: str) -> Numbers:
    """One fit alone."""
    settings = paper_settings(precision, scale)
    return {way: engine(scale.backbones[0], settings, scale, way) for way in WAYS}


def _one_of_several(rank: int, scale: Scale, precision: str, queue: Any, barrier: Any) -> None:
    way = WAYS[min(1, len(WAYS) - 1)]
    settings = paper_settings(precision, scale)
    engine(scale.backbones[0], settings, scale, way, epochs=1)  # everybody is warm
    barrier.wait()
    queue.put(engine(scale.backbones[0], settings, scale, way)["images_per_second"])


def paper_several(scale: Scale, precision: str, at_once: int) -> Numbers:
    """Several fits on one device: what each reaches, and all together."""
    spawn = torch.multiprocessing.get_context("spawn")
    queue, barrier = spawn.Queue(), spawn.Barrier(at_once)
    arguments = (scale, precision, queue, barrier)
    processes = [spawn.Process(target=_one_of_several, args=(rank, *arguments))
                 for rank in range(at_once)]  # fmt: skip
    for process in processes:
        process.start()
    each = [queue.get(timeout=LIMIT_SECONDS) for _ in processes]
    for process in processes:
        process.join()
    return {"fits_at_once": at_once, "each_images_per_second": each, "images_per_second": sum(each)}


# --- (d): what more heads cost -----------------------------------------------------------------


def heads(scale: Scale, batch: int) -> Numbers:
    """Step and inference of MHML-2...10 in units of cross-entropy's, taking turns."""
    settings = dataclasses.replace(STANDARD.settings, batch=batch)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, 3, scale.size, scale.size), dtype=np.uint8)
    names = ["cross-entropy", *(f"mhml-{m}" for m in range(2, 11))]
    names = names[:3] if scale == TINY else names
    found: dict[str, dict[str, list[float]]] = {n: {"train": [], "predict": []} for n in names}
    quick = dataclasses.replace(scale, window=scale.window / 4, windows=1)
    with cost.precisely(DEVICE, settings.precision):
        for _, name in itertools.product(range(3), names):
            (method,) = registry.select_methods(name)
            net = build(scale.backbones[0], scale.size, method.recipe).train()
            batches = Batches(images, net.normalisation, DEVICE, settings.precision)
            weights = method.recipe.head_weights(CLASSES, torch.Generator().manual_seed(0))
            step = Step(net, method.recipe, weights.to(DEVICE), settings, batches.autocast)
            given, targets = batches(np.arange(batch)), torch.eye(CLASSES, device=DEVICE)
            targets = targets[torch.arange(batch, device=DEVICE) % CLASSES]
            step.warm_up(given, targets, WAYS[-2:-1] or WAYS)
            found[name]["train"].append(seconds_of(partial(step, given, targets, 1e-3), quick))
            predict = partial(log_probs, net, batches, np.arange(batch), passes=1, batch=batch,
                              seed=0)  # fmt: skip
            found[name]["predict"].append(seconds_of(predict, quick))
    return {
        name: {f"{what}_ratio": min(times[what]) / min(found["cross-entropy"][what])
               for what in times}
        for name, times in found.items()
    }  # fmt: skip


# --- all of them -------------------------------------------------------------------------------


def measurements(scale: Scale) -> Iterator[tuple[str, Callable[[], Numbers]]]:
    for backbone, batch in itertools.product(scale.backbones, scale.batches):
        yield (f"ceiling-{backbone}-batch-{batch}",
               lambda b=backbone, n=batch: against_ceiling(scale, b, n))  # fmt: skip
    yield "paper-loop", lambda: paper_loop(scale)
    for precision in ("float32", "bf16"):
        yield f"paper-engine-{precision}", lambda p=precision: paper_engine(scale, p)
        for k in scale.at_once:
            yield (f"paper-engine-{precision}-{k}-at-once",
                   lambda p=precision, k=k: paper_several(scale, p, k))  # fmt: skip
    for batch in scale.batches:
        yield f"heads-batch-{batch}", lambda n=batch: heads(scale, n)


def summary(folder: Path) -> str:
    """What was found, in words."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    machines = {m["environment"]["hardware"] for m in found.values() if "environment" in m}
    lines = ["# Speed of the engine", "", f"Measured on {' and '.join(sorted(machines))}.", ""]
    for name, measured in found.items():
        if "failed" in measured:
            lines.append(f"- {name}: not measured: {measured['failed']}")
        elif name.startswith("ceiling"):
            ways = measured["engine_to_best_ceiling"]
            best = max(measured["ceiling_images_per_second"].values())
            text = ", ".join(f"{way} {share:.3f}" for way, share in ways.items())
            lines.append(f"- {name}: ceiling {best:.0f} images/s; of it the engine: {text}")
        elif name.startswith("paper"):
            base = found.get("paper-loop", {}).get("images_per_second")
            parts = measured if "images_per_second" not in measured else {"": measured}
            for way, numbers in parts.items():
                speed = numbers.get("images_per_second") if isinstance(numbers, dict) else None
                if speed is not None:
                    times = f", {speed / base:.1f} x the paper's loop" if base else ""
                    lines.append(f"- {' '.join((name, way)).strip()}: {speed:.0f} images/s{times}")
        else:
            ratios = {n: r for n, r in measured.items() if n.startswith("mhml")}
            text = ", ".join(f"{n} {r['train_ratio']:.3f} / {r['predict_ratio']:.3f}"
                             for n, r in ratios.items())  # fmt: skip
            lines.append(f"- {name}: training step / inference against cross-entropy: {text}")
    return "\n".join(lines) + "\n"


def measure(name: str, scale: Scale, out: Path) -> None:
    """Make one measurement and write it."""
    work = dict(measurements(scale))[name]
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
    parser.add_argument("--minutes", type=float, default=25, help="start none after so long (25)")
    options = parser.parse_args()
    scale = TINY if options.tiny else Scale()
    if DEVICE.type != "cuda" and not options.tiny:
        print("torch sees no GPU here; --tiny tries the script at a toy size", file=sys.stderr)
        return 2
    if options.only:
        measure(options.only, scale, options.out)
        return 0
    end = time.monotonic() + 60 * options.minutes
    for name, _ in measurements(scale):
        path = options.out / f"{name}.json"
        if path.exists() and "failed" not in json.loads(path.read_text()):
            continue
        if time.monotonic() > end:
            print(f"{name}: left for another time")
            continue
        command = [sys.executable, __file__, "--only", name, "--out", str(options.out)]
        setting = os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
        try:
            done = subprocess.run(
                [*command, *(["--tiny"] if options.tiny else [])],
                env=setting, timeout=LIMIT_SECONDS, capture_output=True, text=True,
            )  # fmt: skip
            failed = done.stderr.strip().splitlines()[-1:] if done.returncode else []
        except subprocess.TimeoutExpired:
            failed = [f"not done after {LIMIT_SECONDS} s"]
        if failed:
            write(path, {"failed": failed[0]})
        print(f"{name}: {failed[0] if failed else 'measured'}", flush=True)
    text = summary(options.out)
    (options.out / "speed.md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
