"""Seeds derived from names: the same names give the same numbers on every machine."""

from __future__ import annotations

import hashlib


def derive(*names: object) -> int:
    """A seed in [0, 2**63) from names such as ``("digits", "1/3", 0, "order")``.

    The names never include the method, so that at one replicate all methods see the same splits,
    the same initial backbone and the same order of the data: comparisons are paired.
    """
    text = "\x1f".join(map(str, names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
