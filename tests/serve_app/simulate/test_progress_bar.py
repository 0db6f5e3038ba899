"""The progress bar: drawn on terminals, one line elsewhere."""

from __future__ import annotations

from io import StringIO

import pytest

from serve_app.simulate.progress import WIDTH, Bar, line


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("over", "marks"), [(0, 0), (1, 0), (50, WIDTH // 2), (100, WIDTH)])
def test_it_is_as_full_as_the_run_is_far(over: int, marks: int) -> None:
    assert line("random", over, 100).count("#") == marks
    assert len(line("random", over, 100)) == len(f"random [] {over}/100") + WIDTH


def test_elsewhere_a_run_takes_one_line() -> None:
    out = StringIO()
    with Bar("random", out) as bar:
        bar.show(1, 2)
        bar.show(2, 2)
    assert out.getvalue().startswith("random: 2 requests in ")
    assert out.getvalue().count("\n") == 1


def test_a_terminals_line_is_wiped_when_the_run_is_over_or_broken_off() -> None:
    out = Terminal()
    with pytest.raises(KeyboardInterrupt), Bar("random", out):
        raise KeyboardInterrupt
    assert out.getvalue() == "\r\x1b[K"
