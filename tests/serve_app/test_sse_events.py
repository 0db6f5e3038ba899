"""Telling events apart however their bytes come, and reading the ids that clients send back."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serve_app.errors import BadEventIdError
from serve_app.sse_events import EventId, EventSplitter

TOKEN = "Zm9vYmFyYmF6cXV4MTIzNA"
LINES = st.sampled_from([b"\n", b"\r\n", b"\r"])
BODIES = st.lists(LINES | st.sampled_from([b"data: x", b"id", b": ping", b"\xff"])).map(b"".join)


def split(*chunks: bytes) -> list[bytes]:
    splitter = EventSplitter()
    return [event for chunk in chunks for event in splitter.feed(chunk)] + splitter.end()


def cut(body: bytes, cuts: list[int]) -> list[bytes]:
    """The body in pieces; cuts outside it make empty ones."""
    places = [0, *sorted(cuts), len(body)]
    return [body[start:end] for start, end in pairwise(places)]


@pytest.mark.parametrize(
    ("body", "events"),
    [
        pytest.param(b"data: a\n\ndata: b\n\n", [b"data: a\n\n", b"data: b\n\n"], id="LF"),
        pytest.param(b"data: a\r\n\r\nx", [b"data: a\r\n\r\n", b"x"], id="CRLF"),
        pytest.param(b"data: a\r\rx", [b"data: a\r\r", b"x"], id="CR"),
        pytest.param(b"data: a\r\n\nx", [b"data: a\r\n\n", b"x"], id="mixed"),
        pytest.param(b"event: e\ndata: a\n\n", [b"event: e\ndata: a\n\n"], id="of two lines"),
        pytest.param(b": ping\n\n\nx", [b": ping\n\n", b"\n", b"x"], id="no data"),
        pytest.param(b"data: a\n", [b"data: a\n"], id="cut off"),
        pytest.param(b"", [], id="empty"),
    ],
)
def test_an_event_ends_with_its_blank_line(body, events):
    assert split(body) == events


@given(BODIES, st.lists(st.integers(0, 40)))
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", [8, 9, 10, 11])
def test_how_a_body_is_cut_does_not_matter(body, cuts):
    whole, pieces = split(body), split(*cut(body, cuts))
    assert b"".join(pieces) == body
    assert pieces == whole


def test_an_event_is_out_as_soon_as_it_is_whole():
    splitter = EventSplitter()
    assert splitter.feed(b"data: a\n") == []
    assert splitter.feed(b"\n") == [b"data: a\n\n"]
    assert splitter.feed(b"data: b\r\n\r\n") == [b"data: b\r\n\r\n"]


@pytest.mark.parametrize(
    ("text", "event_id"),
    [
        (f"gate-1.{TOKEN}.17", EventId("gate-1", TOKEN, 17)),
        (f"gate-1.{TOKEN}.0", EventId("gate-1", TOKEN, 0)),
        (f"gate-1.{TOKEN}", EventId("gate-1", TOKEN, -1)),
    ],
)
def test_an_id_is_read(text, event_id):
    assert EventId.parse(text) == event_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "17",
        TOKEN,
        f"gate.{TOKEN[:-1]}.17",
        f"gate.{TOKEN}.-1",
        f"gate.{TOKEN}.",
        f"gate.{TOKEN}.1.2",
        f"gate.{TOKEN}.{'9' * 16}",
        f"gate.{TOKEN}.1\n",
        f"gate.{TOKEN}.\u0661",
        "x" * 10_000,
    ],
)
def test_no_other_text_is_an_id(text):
    with pytest.raises(BadEventIdError, match="Last-Event-ID") as caught:
        EventId.parse(text)
    assert len(str(caught.value)) < 300
