"""What is said of bad input."""

from __future__ import annotations


class InputError(Exception):
    """Something that the user gave is wrong: the message says what, where, and what to do.

    The command line prints the message alone and exits with code 2.
    """


def require(condition: bool, message: str) -> None:
    """Raise :class:`InputError` with the message unless the condition holds."""
    if not condition:
        raise InputError(message)
