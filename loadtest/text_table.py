"""Tables as text: for a terminal, and for Markdown."""

from collections.abc import Sequence
from itertools import chain

Lines = Sequence[Sequence[str]]


def aligned(header: Sequence[str], lines: Lines) -> str:
    """Columns of equal width, the first one to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    return "\n".join(_padded(line, widths) for line in chain([header], lines))


def _padded(line: Sequence[str], widths: Sequence[int]) -> str:
    name, *cells = line
    padded = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
    return "  ".join([name.ljust(widths[0]), *padded]).rstrip()


def markdown(header: Sequence[str], lines: Lines) -> str:
    ruler = ["---", *("---:" for _ in header[1:])]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in (header, ruler, *lines))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
