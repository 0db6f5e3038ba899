"""What a client makes of the bytes of a reply."""

import json

import pytest

from loadtest.chaos.kinds import chat
from loadtest.chaos.outcome import Outcome, outcome_of
from loadtest.reply import RawReply
from tests.loadtest.fake_server import DONE, KEEP_ALIVE, delta, event, usage

STREAMED, WHOLE = chat("streamed"), chat("whole", stream=False)
BODY = json.dumps({"choices": [{"index": 0, "message": {"content": "hi"}}]}).encode()


def streamed(*parts: bytes, status: int = 200, failure: str | None = None) -> Outcome:
    """The outcome of a stream whose i-th part came at second i."""
    stamped = [(float(at_s), part) for at_s, part in enumerate(parts, 1)]
    reply = RawReply(t0_s=0.0, status=status, parts=stamped, failure=failure)
    return outcome_of(STREAMED, reply, 9.0)


def test_a_stream_is_folded_and_its_gaps_are_measured() -> None:
    parts = (delta(content="h"), KEEP_ALIVE, KEEP_ALIVE, delta(content="i"), usage(2) + DONE)
    outcome = streamed(*parts)
    assert outcome.answer is not None
    assert outcome.answer.choices[0].text == "hi"
    assert outcome.chunk_at_s == (1, 4, 5)
    assert outcome.longest_gap_s == 3
    assert (outcome.kind, outcome.began_s, outcome.ended_s) == ("streamed", 0, 9)


def test_a_whole_answer_has_no_gaps() -> None:
    outcome = outcome_of(WHOLE, RawReply(0.0, 200, [(1.0, BODY[:9]), (2.0, BODY[9:])]), 2.0)
    assert outcome.answer is not None
    assert outcome.answer.choices[0].text == "hi"
    assert outcome.longest_gap_s is None


@pytest.mark.parametrize(
    ("outcome", "error", "cut"),
    [
        (streamed(delta(content="h"), failure="disconnected: x"), "disconnected: x", True),
        (streamed(b'{"error": {"message": "no"}}', status=503), "http 503: no", False),
        (streamed(b'{"error": {"message": "no"}}', status=400), "http 400: no", False),
        (streamed(b"oh", status=500), "http 500: oh", True),
        (streamed(b"oh", status=404), "http 404: oh", False),
        (streamed(event({"error": {"message": "lost"}}), DONE), "error event: lost", False),
        (streamed(delta(content="h")), "the stream ended without [DONE]", False),
        (streamed(b"data: {\n\n", DONE), "not an answer: JSONDecodeError", False),
        (streamed(event({"no": 1}), DONE), "not an answer: KeyError: 'choices'", False),
    ],
)
def test_what_is_no_answer_says_why(outcome: Outcome, error: str, cut: bool) -> None:
    assert outcome.answer is None
    assert (outcome.error or "").startswith(error)
    assert outcome.cut is cut
