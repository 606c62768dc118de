"""Plain cross-entropy: one network, one head. The reference that every other method changes."""

from benchmark.api import Method

METHODS = (
    Method(
        name="cross-entropy",
        summary="One network, trained with cross-entropy on one-hot labels.",
        paper="Guo et al., On Calibration of Modern Neural Networks, ICML 2017, "
        "https://arxiv.org/abs/1706.04599",
    ),
)
