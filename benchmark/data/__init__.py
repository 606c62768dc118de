"""What was handed in: downloaded, checked, decoded once into a cache."""

from collections.abc import Callable

Advance = Callable[[int, int], None]
"""Called with how many images (or bytes) are done, and of how many (0 if unknown)."""
