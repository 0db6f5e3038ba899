"""The truth: taken twice, of every kind, and nothing else counts as one."""

import asyncio

import pytest

from loadtest.chaos import truth
from loadtest.chaos.answers import Answer, Choice
from loadtest.chaos.kinds import KINDS, PLAIN, STOP_STRING, Kind
from loadtest.chaos.outcome import Outcome
from loadtest.chaos.truth import SetUpError, Truth

TEXT = "one two three four five six seven eight nine ten eleven twelve"


def outcome(kind: Kind, text: str = TEXT, error: str | None = None) -> Outcome:
    answer = None if error else Answer({0: Choice(text)})
    return Outcome(kind=kind.name, began_s=0, ended_s=1, answer=answer, error=error)


def taken(*, changing: str | None = None, failing: str | None = None) -> tuple[Truth, list[str]]:
    """The truth from a model that answers alike but for one kind, and the kinds asked in order."""
    asked: list[str] = []

    async def ask(kind: Kind) -> Outcome:
        asked.append(kind.name)
        text = f"{TEXT} {asked.count(kind.name)}" if kind.name == changing else TEXT
        return outcome(kind, text, "http 500" if kind.name == failing else None)

    return asyncio.run(truth.taken(ask, KINDS, at_once=2)), asked


def test_every_kind_is_asked_twice_and_a_stop_string_is_made() -> None:
    known, asked = taken()
    names = [*(kind.name for kind in KINDS), STOP_STRING]
    assert sorted(asked) == sorted(names * 2)
    assert [kind.name for kind in known.kinds] == names
    (stop,) = known.kinds[-1].body["stop"]
    assert TEXT.index(stop) >= len(TEXT) * 2 // 3


def test_a_kind_that_does_not_repeat_ends_it() -> None:
    with pytest.raises(SetUpError, match="'seeded' does not repeat on this model: choice 0: text"):
        taken(changing="seeded")


def test_a_kind_without_an_answer_ends_it() -> None:
    with pytest.raises(SetUpError, match="'regex' got no answer: http 500"):
        taken(failing="regex")


def test_answers_are_held_against_it() -> None:
    known, _ = taken()
    assert known.wrong(outcome(PLAIN)) is None
    assert known.wrong(outcome(PLAIN, "one")) is not None
    assert known.wrong(outcome(PLAIN, error="gone")) is None
