"""The event-stream parser: rules as a table, and no dependence on how the bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.sse import SSEParser

ENDINGS = st.sampled_from([b"\n", b"\r", b"\r\n"])
TEXT = st.text("a: \t好", max_size=6).map(str.encode)


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        pytest.param(b"data: a\n\n", [b"a"], id="one event"),
        pytest.param(b"data: a\n\ndata: b\n\n", [b"a", b"b"], id="two events in one read"),
        pytest.param(b"data:a\n\n", [b"a"], id="the space after the colon is optional"),
        pytest.param(b"data:  a\n\n", [b" a"], id="only one space is dropped"),
        pytest.param(b"data: a\ndata: b\n\n", [b"a\nb"], id="data lines of one event are joined"),
        pytest.param(b": ping\n\ndata: a\n\n", [b"a"], id="a comment is not an event"),
        pytest.param(b"data: a\n: ping\n\n", [b"a"], id="a comment within an event"),
        pytest.param(b"event: x\nid: 1\ndata: a\n\n", [b"a"], id="other fields are ignored"),
        pytest.param(b"data: a\r\n\r\n", [b"a"], id="CRLF"),
        pytest.param(b"data: a\r\rdata: b\r\r", [b"a", b"b"], id="CR"),
        pytest.param(b"data\n\n", [b""], id="a field without a colon has an empty value"),
        pytest.param(b"\n\n\n", [], id="blank lines alone are no event"),
        pytest.param(b"data: a\n", [], id="an unfinished event is not reported"),
        pytest.param(b"", [], id="nothing"),
    ],
)
def test_rules(stream: bytes, events: list[bytes]) -> None:
    assert SSEParser().feed(stream) == events


def test_a_crlf_split_between_reads_is_one_line_end() -> None:
    parser = SSEParser()
    assert [parser.feed(part) for part in (b"data: a\r", b"\n\r", b"\ndata: b\n\n")] == [
        [],
        [b"a"],
        [b"b"],
    ]


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A stream with mixed line ends and comments, and its events."""
    events = draw(st.lists(st.lists(TEXT, min_size=1, max_size=3), max_size=4))
    lines: list[bytes] = []
    for data_lines in events:
        lines += [b": comment"] * draw(st.integers(0, 1))
        lines += [b"data: " + line for line in data_lines] + [b""]
    # LF ends lines after a lone CR would read as CRLF, so one kind of line end per stream.
    ending = draw(ENDINGS)
    return b"".join(line + ending for line in lines), [b"\n".join(e) for e in events]


@given(streams(), st.data())
def test_events_do_not_depend_on_where_reads_end(
    stream: tuple[bytes, list[bytes]], data: st.DataObject
) -> None:
    text, events = stream
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    parser, found = SSEParser(), []
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        found += parser.feed(text[start:end])
    assert found == events
