"""Inference from plain arrays: intervals, moderated t, comparisons, ranks.

Nothing here knows a method or a prediction; :mod:`benchmark.statistics` says what is compared.
"""
