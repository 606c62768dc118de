"""Writes Chaoyang and HyperKvasir in their official layouts, with small images made here."""

import csv
import json
import uuid
from pathlib import Path

import numpy as np
from PIL import Image

KVASIR = {  # finding: (organ, group, images)
    "barretts": ("Upper GI", "pathological-findings", 8),
    "barretts-short-segment": ("Upper GI", "pathological-findings", 8),
    "bbps-0-1": ("Lower GI", "quality-of-mucosal-views", 12),
    "bbps-2-3": ("Lower GI", "quality-of-mucosal-views", 16),
    "cecum": ("Lower GI", "anatomical-landmarks", 14),
    "dyed-lifted-polyps": ("Lower GI", "therapeutic-interventions", 14),
    "dyed-resection-margins": ("Lower GI", "therapeutic-interventions", 14),
    "esophagitis-a": ("Upper GI", "pathological-findings", 10),
    "esophagitis-b-d": ("Upper GI", "pathological-findings", 9),
    "hemorrhoids": ("Lower GI", "pathological-findings", 6),
    "ileum": ("Lower GI", "anatomical-landmarks", 7),
    "impacted-stool": ("Lower GI", "quality-of-mucosal-views", 8),
    "polyps": ("Lower GI", "pathological-findings", 14),
    "pylorus": ("Upper GI", "anatomical-landmarks", 14),
    "retroflex-rectum": ("Lower GI", "anatomical-landmarks", 10),
    "retroflex-stomach": ("Upper GI", "anatomical-landmarks", 12),
    "ulcerative-colitis-grade-0-1": ("Lower GI", "pathological-findings", 8),
    "ulcerative-colitis-grade-1": ("Lower GI", "pathological-findings", 9),
    "ulcerative-colitis-grade-1-2": ("Lower GI", "pathological-findings", 7),
    "ulcerative-colitis-grade-2": ("Lower GI", "pathological-findings", 10),
    "ulcerative-colitis-grade-2-3": ("Lower GI", "pathological-findings", 8),
    "ulcerative-colitis-grade-3": ("Lower GI", "pathological-findings", 8),
    "z-line": ("Upper GI", "anatomical-landmarks", 13),
}


def chaoyang(root: Path, *, per_class: int = 12, slides: int = 12, size: int = 24) -> Path:
    """Write ``root/chaoyang``: ``per_class`` train and half as many test images of each class.

    Every slide holds several classes, and most test images come from slides that are in train.
    """
    folder = root / "chaoyang"
    generator = np.random.default_rng(0)
    for part, each in (("train", per_class), ("test", per_class // 2)):
        entries = []
        for label in range(4):
            for i in range(each):
                slide = f"{353042 + (label + 4 * i) % slides}_{i % 3 + 1}"
                name = f"{part}/{slide}-IMG{label:03d}x{i:03d}-{label}.JPG"
                votes = {f"label_{annotator}": label for annotator in "ABC"}
                entries.append({"name": name, "label": label} | votes)
                _image(folder / name, label, size, generator)
        (folder / f"{part}.json").write_text(json.dumps(entries))
    return folder


def kvasir(root: Path, *, scale: int = 1, size: int = 24) -> Path:
    """Write ``root/kvasir/labeled-images``: 23 findings, the smallest class of six images."""
    folder = root / "kvasir" / "labeled-images"
    generator = np.random.default_rng(0)
    rows = []
    for label, (finding, (organ, group, count)) in enumerate(KVASIR.items()):
        for _ in range(count if finding == "hemorrhoids" else scale * count):
            name = str(uuid.UUID(bytes=generator.bytes(16), version=4))
            place = folder / f"{organ.lower().replace(' ', '-')}-tract" / group / finding
            _image(place / f"{name}.jpg", label, size, generator)
            rows.append((name, organ, finding, group))
    generator.shuffle(rows)
    with (folder / "image-labels.csv").open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(("Video file", "Organ", "Finding", "Classification"))
        writer.writerows(rows)
    return folder


def _image(path: Path, label: int, size: int, generator: np.random.Generator) -> None:
    """A noisy square whose colour tells its class, so that a network can learn it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = np.random.default_rng(label).uniform(40, 215, 3)
    pixels = generator.normal(colour, 20, (size, size, 3))
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=90)
