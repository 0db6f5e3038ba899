"""Values on command lines."""

from argparse import ArgumentTypeError


def count(text: str) -> int:
    """Of what there is at least one."""
    value = int(text)
    if value < 1:
        raise ArgumentTypeError(f"{text} must be at least 1")
    return value
