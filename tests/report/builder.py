"""Synthetic predictions with a known miscalibration, and what they would have cost."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd

from benchmark.api import Origin, Predictions

# method: (temperature of the logits, signal, training cost, inference cost)
METHODS = {
    "cross-entropy": (1.75, 2.6, 1.0, 1.0),
    "label-smoothing": (0.75, 2.62, 1.0, 1.0),
    "focal": (0.85, 2.55, 1.01, 1.0),
    "focal-adaptive": (0.93, 2.57, 1.02, 1.0),
    "mixup": (0.7, 2.66, 1.06, 1.0),
    "mbls": (1.3, 2.62, 1.01, 1.0),
    "dca": (1.45, 2.6, 1.01, 1.0),
    "mc-dropout": (1.35, 2.6, 1.0, 0.87),
    "deep-ensemble": (1.12, 2.85, 5.0, 0.2),
    "temperature-scaling": (1.02, 2.6, 1.003, 1.0),
    **{f"mhml-{m}": (1.3 - 0.06 * m, 2.66 + 0.012 * m, 1 + 0.006 * m, 1 - 0.003 * m)
       for m in range(2, 11)},
    "mhsl-2": (1.55, 2.63, 1.012, 0.994),
    "mhsl-4": (1.5, 2.64, 1.024, 0.988),
}  # fmt: skip
BLOCKS = (("ham10000", 7, 0.0), ("pneumoniamnist", 2, 0.4))


def predictions(
    methods=tuple(METHODS),
    blocks=BLOCKS,
    images=1000,
    folds=5,
    seeds=1,
    backbone="resnet18",
    infinite=(),
) -> list[Predictions]:
    made = []
    for dataset, classes, harder in blocks:
        rng = np.random.default_rng(len(dataset))
        prior = 0.6 ** np.arange(classes)
        labels = rng.choice(classes, images, p=prior / prior.sum())
        shared = rng.normal(size=(images, classes))
        for method in methods:
            temperature, signal, *_ = METHODS.get(method, (1.2, 2.6, 1, 1))
            own = np.random.default_rng([len(method), *method.encode()[-2:]])
            for seed in range(seeds):
                noise = shared + 0.35 * own.normal(size=shared.shape)
                z = (signal - harder) * (np.eye(classes)[labels] * (signal - harder) + noise)
                z = temperature * z * 0.9
                log_probs = z - np.log(np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True))
                log_probs -= z.max(1, keepdims=True)
                if method in infinite:
                    log_probs[0] = np.where(np.arange(classes) == labels[0], -np.inf, 0)
                    log_probs[0] -= np.log(classes - 1)
                for k in range(folds):
                    part = np.arange(images) % folds == k
                    made.append(Predictions(
                        origin=Origin(preset="standard", dataset=dataset, backbone=backbone,
                                      method=method,
                        fold=f"{k + 1}/{folds}", seed=seed),
                        classes=tuple(f"class {c}" for c in range(classes)),
                        ids=np.array([f"image-{i:05d}" for i in np.flatnonzero(part)]),
                        labels=labels[part], log_probs=log_probs[part],
                    ))  # fmt: skip
    return made


def costs(made: list[Predictions], hardware="2 x Xeon 2.8 GHz") -> pd.DataFrame:
    rows = []
    for p in made:
        _, _, training, inference = METHODS.get(p.origin.method, (1, 1, 1, 1))
        jitter = 1 + 0.01 * math.sin(len(p.origin.method) + int(p.origin.fold[0] == "1"))
        for metric, value in {
            "train_seconds": 412.0 * training * jitter,
            "predict_images_per_second": 1830.0 * inference * jitter,
            "parameters": 11_180_103.0,
            "predict_flops_per_image": 1.82e9,
            "host_memory_mib": 913.0,
            "fits": 5.0 if p.origin.method == "deep-ensemble" else 1.0,
        }.items():
            rows.append(dataclasses.asdict(p.origin) | {
                "metric": metric, "value": value, "hardware": hardware, "doubt": "",
            })  # fmt: skip
    return pd.DataFrame(rows)


def definitions(methods=tuple(METHODS)) -> list[dict]:
    return [
        {
            "name": m,
            "summary": f"What {m} does in one sentence.",
            "paper": "Galdran et al. 2023, Multi-Head Multi-Loss Model Calibration, "
            "https://arxiv.org/abs/2303.01099",
            "parameters": {"heads": int(m[5:])} if m.startswith("mh") else {},
        }
        for m in methods
    ]


PROVENANCE = {
    "command": "python -m benchmark run --preset standard --datasets ham10000 pneumoniamnist",
    "environment": "Linux, Python 3.11.7, 2 CPU cores, no GPU",
    "versions": "benchmark 0.1.0, torch 2.15.0, timm 1.0.31, numpy 2.4.6",
}
