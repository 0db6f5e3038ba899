"""What a reply says: content, tokens from usage, and every way a stream can be wrong."""

import json

import pytest

from loadtest.reply import RawReply, content_of, reading_of, sample_of
from tests.loadtest.fake_server import DONE, KEEP_ALIVE, delta, event, usage


def reply(*parts: bytes, **fields: object) -> RawReply:
    """Part i arrives at second i + 1 of a request sent at 0."""
    stamped = [(float(at_s), part) for at_s, part in enumerate(parts, start=1)]
    return RawReply(**{"t0_s": 0.0, "status": 200, "parts": stamped, **fields})  # type: ignore[arg-type]


def test_content_is_timed_and_tokens_come_from_usage() -> None:
    parts = [delta(role="assistant", content=""), delta(content="a b c"), KEEP_ALIVE]
    sample = sample_of(reply(*parts, delta(content="d"), usage(4), DONE))
    assert (sample.t0_s, sample.t1_s, sample.tn_s) == (0, 2, 4)  # not the role-only chunk at 1
    assert sample.itl_us == (2_000_000,)  # two content chunks, though four tokens
    assert (sample.output_tokens, sample.prompt_tokens, sample.error) == (4, 7, None)
    assert sample.t_sched_s == sample.t0_s


def test_the_intended_start_is_kept() -> None:
    assert sample_of(reply(DONE), t_sched_s=-0.5).t_sched_s == -0.5


def test_cached_tokens_are_read_where_reported() -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 3}}
    assert sample_of(reply(usage(1, **details), DONE)).cached_tokens == 3
    assert sample_of(reply(usage(1, prompt_tokens_details=None), DONE)).cached_tokens is None


def test_the_same_text_has_the_same_checksum_however_it_is_chunked() -> None:
    whole = sample_of(reply(delta(content="今天很好"), usage(2), DONE))
    split = sample_of(reply(delta(content="今天"), delta(content="很好"), usage(2), DONE))
    other = sample_of(reply(delta(content="今天不好"), usage(2), DONE))
    assert whole.text_crc32 == split.text_crc32 != other.text_crc32


@pytest.mark.parametrize(
    ("choices", "content"),
    [
        ([{"delta": {"role": "assistant", "content": ""}}], ""),
        ([{"delta": {"content": None}, "finish_reason": "length"}], ""),
        ([{"delta": {"content": "a"}}], "a"),
        ([{"delta": {"reasoning": "why"}}], "why"),
        ([{"delta": {"tool_calls": [{"index": 0}]}}], json.dumps([{"index": 0}])),
        ([{"text": "completion"}], "completion"),
        ([{"text": ""}], ""),
        ([{"text": "a"}, {"text": "b"}], "ab"),
        ([], ""),
    ],
)
def test_what_counts_as_content(choices: list[object], content: str) -> None:
    assert content_of({"choices": choices}) == content


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        pytest.param(reply(usage(1), failure="timeout after 1 s"), "timeout after 1 s", id="cut"),
        pytest.param(
            reply(b'{"error": {"message": "no engine"}}', status=503),
            "http 503: no engine",
            id="503",
        ),
        pytest.param(reply(b"<html>", status=502), "http 502: <html>", id="a proxy's page"),
        pytest.param(reply(b'"gone"', status=500), "http 500: gone", id="JSON that is no object"),
        pytest.param(
            reply(delta(content="a"), event({"error": {"message": "lost"}}), usage(1), DONE),
            "error event: lost",
            id="an error within the stream",
        ),
        pytest.param(reply(usage(1)), "ended without [DONE]", id="no end"),
        pytest.param(reply(delta(content="a"), DONE), "no usage in the stream", id="no usage"),
        pytest.param(reply(b"data: {oops\n\n", DONE), "not JSON: b'{oops'", id="broken JSON"),
        pytest.param(reply(b"data: 5\n\n", DONE), "not an object: 5", id="a number"),
    ],
)
def test_a_bad_reply_says_why(raw: RawReply, error: str) -> None:
    assert sample_of(raw).error == error


def test_a_cut_reply_keeps_the_instants_of_what_arrived() -> None:
    sample = sample_of(reply(delta(content="a"), failure="disconnected"))
    assert (sample.t1_s, sample.output_tokens) == (1.0, None)


def test_the_text_is_the_first_choices_and_no_reasoning() -> None:
    choices = [{"index": 0, "text": "a"}, {"index": 1, "text": "x"}]
    events = [delta(reasoning="hm"), KEEP_ALIVE, event({"choices": choices}), delta(content="b")]
    whole = reply(*events, b"data: not JSON\n\n", usage(2), DONE)
    assert reading_of(whole, wants_text=True).text == "ab"
    assert reading_of(whole).text is None, "nobody wants it"
    refused = RawReply(0.0, 503, [(1.0, delta(content="no"))])
    assert reading_of(refused, wants_text=True).text == ""
