"""Predictions made anywhere else, read and measured like those of our own runs."""
