"""Monte Carlo dropout: keep dropout on when predicting, and average many passes."""

from benchmark.api import Method, Recipe

METHODS = (
    Method(
        name="mc-dropout",
        summary="Dropout in training and in prediction: the mean of 30 stochastic passes.",
        paper="Gal & Ghahramani, Dropout as a Bayesian Approximation, ICML 2016, "
        "https://arxiv.org/abs/1506.02142",
        recipe=Recipe(dropout=0.2),
        passes=30,
    ),
)
