"""Two answers compared: what is found, and in which words."""

from typing import Any

import pytest

from loadtest.chaos.answers import LOGPROB_TOLERANCE, difference, folded

PART: dict[str, Any] = {
    "choices": [
        {
            "index": 0,
            "text": "a b",
            "token_ids": [5, 6],
            "finish_reason": "length",
            "logprobs": {"tokens": ["a", " b"], "token_logprobs": [None, -1.0]},
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}


def changed(**fields: Any) -> dict[str, Any]:
    return {**PART, "choices": [{**PART["choices"][0], **fields}]}


def logprob(value: float | None, first: float | None = None) -> dict[str, Any]:
    return {"tokens": ["a", " b"], "token_logprobs": [first, value]}


@pytest.mark.parametrize(
    ("part", "found"),
    [
        (PART, None),
        (changed(logprobs=logprob(-1.0 + LOGPROB_TOLERANCE / 2)), None),
        (
            changed(logprobs=logprob(-1.0 + LOGPROB_TOLERANCE * 2)),
            "choice 0: logprob 1 is -0.998, not -1.0",
        ),
        (changed(logprobs=logprob(-1.0, -2.0)), "choice 0: logprob 0 is -2.0, not None"),
        (changed(token_ids=[5, 7]), "choice 0: token 1 of 2 is 7, not 6"),
        (changed(token_ids=[5]), "choice 0: 1 tokens, not 2"),
        (changed(text="a c"), "choice 0: text character 2 of 3 is 'c', not 'b'"),
        (changed(finish_reason="stop"), "choice 0: finish_reason character 0"),
        (changed(stop_reason=7), "choice 0: stop_reason is 7, not None"),
        (changed(index=1), "choices [1], not [0]"),
        ({**PART, "usage": {"completion_tokens": 2}}, "usage {'completion_tokens': 2}"),
        (
            {**PART, "usage": {**PART["usage"], "prompt_tokens_details": {"cached_tokens": 3}}},
            None,
        ),
    ],
)
def test_what_differs_is_said(part: dict[str, Any], found: str | None) -> None:
    said = difference(folded([part]), folded([PART]))
    assert said == found if found is None else (said or "").startswith(found)


def test_a_stream_is_the_same_as_the_whole() -> None:
    begun = {"tokens": ["a"], "token_logprobs": [None]}
    first = changed(text="a", token_ids=[5], finish_reason=None, logprobs=begun)
    ended = {"tokens": [" b"], "token_logprobs": [-1.0]}
    second = changed(text=" b", token_ids=[6], logprobs=ended)
    first["usage"] = None
    assert difference(folded([first, second]), folded([PART])) is None
