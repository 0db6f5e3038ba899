"""Tables and small pieces of HTML; every text that comes from a run is escaped here."""

from collections.abc import Iterable, Sequence
from html import escape


def table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """The first column names a line, the others hold numbers. Empty without lines. It scrolls by
    itself where the screen is narrow."""
    rows = [_row(line) for line in lines]
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    content = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="scroll" tabindex="0"><table>{content}</table></div>'


def _row(line: Sequence[str]) -> str:
    name, *cells = map(escape, line)
    return f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def pairs(lines: Iterable[tuple[str, str]]) -> str:
    """Names and numbers, two beside each other where there is room."""
    return _list("pairs", lines)


def facts(lines: Iterable[tuple[str, str]]) -> str:
    """Names and long texts, which wrap."""
    return _list("facts", lines)


def _list(css_class: str, lines: Iterable[tuple[str, str]]) -> str:
    rows = (f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in lines)
    return f'<dl class="{css_class}">{"".join(rows)}</dl>'
