"""Synthetic predictions with a known miscalibration, and tables of the shape of the statistics'."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmark.predictions import Predictions

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
KEYS = ["preset", "dataset", "backbone", "folds"]


@dataclass(frozen=True)
class Tables:
    values: pd.DataFrame
    ranks: pd.DataFrame
    pairs: pd.DataFrame
    overall: pd.DataFrame
    mean_ranks: pd.DataFrame
    notes: tuple[str, ...]


def predictions(
    methods=tuple(METHODS), blocks=BLOCKS, images=1000, folds=5, seeds=1, backbone="resnet18"
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
                for k in range(folds):
                    part = np.arange(images) % folds == k
                    made.append(Predictions(
                        preset="standard", dataset=dataset, backbone=backbone, method=method,
                        fold=f"{k + 1}/{folds}", seed=seed,
                        classes=tuple(f"class {c}" for c in range(classes)),
                        ids=np.array([f"image-{i:05d}" for i in np.flatnonzero(part)]),
                        labels=labels[part], log_probs=log_probs[part],
                    ))  # fmt: skip
    return made


def ece(confidence, correct, bins=15):
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return np.abs(np.bincount(index, correct - confidence, bins)).sum() / len(confidence)


def tables(made: list[Predictions], against="cross-entropy", infinite=()) -> Tables:
    rng = np.random.default_rng(0)
    values, ranks, pairs = [], [], []
    blocks: dict[tuple, dict[str, list[Predictions]]] = {}
    for p in made:
        folds = f"{p.fold.rpartition('/')[2]} folds" if "/" in p.fold else p.fold
        key = (p.preset, p.dataset, p.backbone, folds)
        blocks.setdefault(key, {}).setdefault(p.method, []).append(p)
    for key, methods in blocks.items():
        head = dict(zip(KEYS, key, strict=True))
        scores = {}
        for method, parts in methods.items():
            log_probs = np.concatenate([p.log_probs for p in parts])
            labels = np.concatenate([p.labels for p in parts])
            n = len(labels)
            probs = np.exp(log_probs)
            correct = (probs.argmax(1) == labels).astype(float)
            confidence = probs.max(1)
            nll = -log_probs[np.arange(n), labels]
            brier = ((probs - np.eye(probs.shape[1])[labels]) ** 2).sum(1)
            floor = [ece(confidence, (rng.random(n) < confidence).astype(float))
                     for _ in range(60)]  # fmt: skip
            point = {
                "accuracy": (correct.mean(), correct.std() / n**0.5),
                "ece": (ece(confidence, correct), 0.011),
                "nll": (math.inf if method in infinite else nll.mean(), nll.std() / n**0.5),
                "brier": (brier.mean(), brier.std() / n**0.5),
                "classwise_ece": (ece(confidence, correct) / 3, 0.004),
                "aurc": (0.3 * (1 - correct.mean()), 0.003),
            }
            scores[method] = {m: v for m, (v, _) in point.items()}
            for metric, (value, se) in point.items():
                calibration = "ece" in metric
                inside = calibration and value <= np.quantile(floor, 0.975)
                values.append({
                    **head, "method": method, "metric": metric, "value": value,
                    "low": 0.0 if inside else max(value - 1.96 * se, 0),
                    "high": value + 1.96 * se, "mean_of_folds": value * 1.05,
                    "training_low": value - 3 * se, "training_high": value + 3 * se,
                    "replicates": len(parts), "images": n,
                    "floor_mean": np.mean(floor) if calibration else math.nan,
                    "floor_high": np.quantile(floor, 0.975) if calibration else math.nan,
                    "p_calibrated": np.mean(np.array(floor) >= value) if calibration else math.nan,
                    "inside_floor": bool(inside), "few_errors": (1 - correct).sum() < 30,
                })  # fmt: skip
        frame = pd.DataFrame(scores).T
        r = pd.DataFrame({
            "rank_accuracy": frame["accuracy"].rank(ascending=False),
            "rank_ece": frame["ece"].rank(),
            "rank_nll": frame["nll"].rank(),
        })  # fmt: skip
        mean = r.mean(axis=1)
        order = mean.rank(method="first").astype(int)
        third = max(len(order) // 3, 1)
        for method in frame.index:
            place = (order[method] - 1) / third
            ranks.append({
                **head, "method": method, "rank": mean[method],
                "low": max(mean[method] - 2, 1), "high": min(mean[method] + 2, len(frame)),
                **r.loc[method].to_dict(), "chance_best": 0.4**order[method],
                "group": "abcdef"[int(place) :][: 2 if place % 1 > 0.6 else 1],
            })  # fmt: skip
            for metric in ("accuracy", "ece", "nll") if method != against else ():
                d = frame.loc[method, metric] - frame.loc[against, metric]
                pairs.append({
                    **head, "metric": metric, "method": method, "reference": against,
                    "difference": d, "low": d - 0.012, "high": d + 0.012, "effect_size": d / 0.03,
                    "p": min(1.0, math.exp(-abs(d) / 0.006)),
                    "p_holm": min(1.0, 5 * math.exp(-abs(d) / 0.006)),
                })  # fmt: skip
    ranks = pd.DataFrame(ranks)
    mean_ranks = [
        {"metric": m, "method": method, "mean_rank": part[f"rank_{m}"].mean()}
        for method, part in ranks.groupby("method")
        for m in ("accuracy", "ece", "nll")
    ]
    overall = [
        {"metric": m, "blocks": len(blocks), "friedman": 31.4, "p": 0.05,
         "critical_difference": 23.0, "powered": False,
         "note": f"{len(blocks)} blocks are too few to tell any two methods apart"}
        for m in ("accuracy", "ece", "nll")
    ]  # fmt: skip
    notes = (
        "Intervals are for the number beside them, given these trained models: 95 %, bootstrap "
        "over test images (accuracy: Wilson; ECE: inversion of the noise-floor test).",
        "Each value is that of the pooled out-of-fold predictions: every image counts once.",
    )
    return Tables(
        pd.DataFrame(values),
        ranks,
        pd.DataFrame(pairs),
        pd.DataFrame(overall),
        pd.DataFrame(mean_ranks),
        notes,
    )


def costs(made: list[Predictions], hardware="2 x Xeon 2.8 GHz") -> pd.DataFrame:
    rows = []
    for p in made:
        _, _, training, inference = METHODS.get(p.method, (1, 1, 1, 1))
        jitter = 1 + 0.01 * math.sin(len(p.method) + int(p.fold[0] == "1"))
        for metric, value in {
            "train_seconds": 412.0 * training * jitter,
            "predict_images_per_second": 1830.0 * inference * jitter,
            "parameters": 11_180_103.0,
            "flops_per_image": 1.82e9,
            "peak_memory_mb": 913.0,
            "fits": 5.0 if p.method == "deep-ensemble" else 1.0,
        }.items():
            rows.append({
                "preset": p.preset, "dataset": p.dataset, "backbone": p.backbone,
                "method": p.method, "fold": p.fold, "seed": p.seed, "metric": metric,
                "value": value, "hardware": hardware,
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
