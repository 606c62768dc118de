"""Deep ensemble: average the predictions of networks trained from different seeds."""

from benchmark.api import Method

METHODS = (
    Method(
        name="deep-ensemble",
        summary="The mean prediction of five cross-entropy networks with their own seeds.",
        paper="Lakshminarayanan et al., Simple and Scalable Predictive Uncertainty Estimation "
        "using Deep Ensembles, NeurIPS 2017, https://arxiv.org/abs/1612.01474",
        members=5,
    ),
)
