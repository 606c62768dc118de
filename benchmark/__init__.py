"""A fair benchmark of calibration methods for image classifiers."""

__version__ = "0.1.0"
