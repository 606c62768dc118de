"""Multi-head single-loss (MHSL): MHML's ablation, heads that differ in nothing but their start."""

from benchmark.api import Method, Recipe

METHODS = (
    Method(
        name="mhsl",
        summary="Several heads with the same cross-entropy; the mean head predicts.",
        paper="Galdran et al., Multi-Head Multi-Loss Model Calibration, MICCAI 2023 (2HSL), "
        "https://arxiv.org/abs/2303.01099",
        recipe=Recipe(heads=2),
        variants=("heads", (2, 4)),
    ),
)
