"""Options that take several names of a fixed set."""

from __future__ import annotations

import argparse
from collections.abc import Collection


def names(text: str, known: Collection[str]) -> list[str]:
    """`a,b` as a list. Raises ArgumentTypeError for a name that is not `known`."""
    given = text.split(",")
    if unknown := [name for name in given if name not in known]:
        raise argparse.ArgumentTypeError(f"no {unknown[0]!r}; there are {', '.join(known)}")
    return given
