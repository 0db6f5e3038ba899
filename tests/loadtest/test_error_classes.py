"""Errors with one cause are one class, whatever numbers and messages they carry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.error_classes import error_class, errors_by_class
from loadtest.metrics import RequestSample
from loadtest.run_records import RequestRecord


def record(error: str | None, *, missed: bool = False) -> RequestRecord:
    sample = RequestSample(t_sched_s=0.0, t0_s=0.0, error=error)
    return RequestRecord(session=0, turn=0, kind="chat", sample=sample, missed=missed)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("http 503: no engine is ready, try again in 2 s", "http 503"),
        ("http 429: slow down: 17 waiting", "http 429"),
        ("timeout after 30 s", "timeout"),
        ("disconnected: [Errno 104] Connection reset by peer", "disconnected"),
        ("connect: [Errno 111] Connect call failed ('127.0.0.1', 8000)", "connect"),
        ("error event: engine 7f3a died", "error event"),
        ("not JSON: b'<html>'", "not JSON"),
        ("not an object: [1, 2]", "not an object"),
        ("bad HTTP: invalid header", "bad HTTP"),
        ("ended without [DONE]", "ended without [DONE]"),
        ("no usage in the stream", "no usage in the stream"),
        ("gave up after 3 of 5 tries: busy", "gave up after N of N tries"),
        ("connected to the wrong host", "connected to the wrong host"),
        ("", "no message"),
    ],
)
def test_the_class_is_what_stands_before_the_detail(error: str, expected: str) -> None:
    assert error_class(error) == expected


@given(
    st.text(st.characters(exclude_characters=":0123456789")), st.lists(st.integers(0), max_size=5)
)
def test_other_numbers_are_no_other_class(text: str, numbers: list[int]) -> None:
    errors = {error_class(f"{text} x{number} s") for number in numbers}
    assert len(errors) <= 1


def test_classes_are_counted_the_most_frequent_first() -> None:
    records = [
        record(None),
        record("http 503: a"),
        record("timeout after 1 s"),
        record("timeout after 2 s"),
        record("missed: 256 requests were in flight", missed=True),
    ]
    assert list(errors_by_class(records).items()) == [
        ("timeout", 2),
        ("http 503", 1),
        ("missed", 1),
    ]
