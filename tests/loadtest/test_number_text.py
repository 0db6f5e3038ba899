"""Numbers as people read them."""

import pytest

from loadtest.number_text import ms, per_s, percent, share
from loadtest.settings import differences, flat
from loadtest.summary_schema import Share
from loadtest.text_table import aligned, markdown


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(None, "-"), (0.00012, "0.12 ms"), (0.0421, "42.1 ms"), (1.2346, "1,235 ms")],
)
def test_latencies_have_three_digits(seconds: float | None, expected: str) -> None:
    assert ms(seconds) == expected


@pytest.mark.parametrize(
    ("frac", "expected"),
    [
        (None, "-"),
        (0.0, "0.00 %"),
        (1.0, "100.00 %"),
        (0.999999, "> 99.99 %"),
        (0.000001, "< 0.01 %"),
        (0.98765, "98.77 %"),
    ],
)
def test_nearly_all_is_not_all(frac: float | None, expected: str) -> None:
    assert percent(frac) == expected


def test_rates_and_shares() -> None:
    assert per_s(3.14159, "req") == "3.14 req/s"
    assert per_s(None, "req") == "-"
    found = Share(count=1, n=2, frac=0.5, low=0.1, high=0.9)
    assert share(found) == "50.00 % (10.00 % to 90.00 %, n = 2)"
    assert share(Share(count=0, n=0, frac=None, low=None, high=None)) == share(None) == "-"


def test_tables_as_text() -> None:
    lines = [["a", "1"], ["bcd", "22|3"]]
    assert aligned(["name", "n"], lines) == "name     n\na        1\nbcd   22|3"
    assert markdown(["name", "n"], lines).splitlines()[1:] == [
        "| --- | ---: |",
        "| a | 1 |",
        "| bcd | 22\\|3 |",
    ]


def test_settings_are_flat_and_their_differences_named() -> None:
    a = {"arrivals": {"kind": "poisson", "rate_per_s": 4}, "tenants": [1, 2], "users": None}
    b = {"arrivals": {"kind": "poisson", "rate_per_s": 5}, "tenants": [1, 2], "seed": 1}
    assert list(flat(a)) == [
        ("arrivals.kind", "poisson"),
        ("arrivals.rate_per_s", "4"),
        ("tenants", "1, 2"),
        ("users", "None"),
    ]
    assert differences(a, b) == [
        "arrivals.rate_per_s: 4 in A, 5 in B",
        "seed: not set in A, 1 in B",
    ]
