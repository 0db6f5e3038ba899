"""Kinds of requests, and their lengths."""

import pytest

from loadtest.chaos.kinds import KINDS, PLAIN, landmark, spread, stopping


def test_lengths_grow_from_least_to_most_where_no_grammar_decides() -> None:
    found = spread(KINDS, 300, 2000)
    assert [kind.name for kind in found] == [kind.name for kind in KINDS]
    lengths = [kind.body["max_tokens"] for kind in found if not kind.has_grammar]
    assert (lengths[0], lengths[-1]) == (300, 2000)
    assert lengths == sorted(lengths)
    for kind, before in zip(found, KINDS, strict=True):
        assert not kind.has_grammar or kind == before


def test_a_least_length_is_as_long_as_the_most() -> None:
    (kind,) = [each for each in spread(KINDS, 300, 2000) if "min_tokens" in each.body]
    assert kind.body["min_tokens"] == kind.body["max_tokens"]


def test_requests_say_all_that_is_compared() -> None:
    for kind in KINDS:
        body = kind.request("m")
        assert body["model"] == "m"
        assert body["return_token_ids"]
        assert body["stream"] is kind.stream
        assert ("stream_options" in body) is kind.stream
        assert kind.path.endswith("/chat/completions") is kind.is_chat


def test_a_stop_string_comes_late_and_once() -> None:
    text = "the sea the sea the sea and then a robot went home to the sea"
    piece = landmark(text)
    assert text.count(piece) == 1
    assert stopping(text).body == {**PLAIN.body, "stop": [piece]}


def test_a_text_that_only_repeats_has_no_landmark() -> None:
    with pytest.raises(ValueError, match="no unique piece"):
        landmark("ab" * 200)
