"""The truth that answers are held against: every kind's answer while nothing is disturbed.

It is taken twice, in another company the second time. A kind whose answers differ cannot tell a
failover's mistake from the model's own, so it ends the test before it begins.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.chaos.answers import Answer, difference
from loadtest.chaos.kinds import PLAIN, Kind, stopping
from loadtest.chaos.outcome import Outcome
from loadtest.chaos.traffic import Ask


class SetUpError(Exception):
    """The test cannot begin; the message says why."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Every kind, and its one right answer by the kind's name."""

    kinds: tuple[Kind, ...]
    answers: dict[str, Answer]

    def wrong(self, outcome: Outcome) -> str | None:
        """How an answer differs from the truth; None where it does not, or there is no answer."""
        if outcome.answer is None:
            return None
        return difference(outcome.answer, self.answers[outcome.kind])


async def taken(ask: Ask, kinds: Sequence[Kind], at_once: int) -> Truth:
    """The truth of `kinds`, and of a stop string made from the plain completion, if that is among
    them: first of all at once, then of `at_once` at a time. Raises SetUpError."""
    answers = await _answers(ask, kinds, len(kinds))
    plain = next((kind for kind in kinds if kind.name == PLAIN.name), None)
    if plain is not None:
        text = answers[plain.name].choices[0].text
        stop = stopping(text, plain)
        kinds = [*kinds, stop]
        answers |= await _answers(ask, [stop], at_once)
    again = await _answers(ask, list(reversed(kinds)), at_once)
    for name, answer in again.items():
        if found := difference(answer, answers[name]):
            raise SetUpError(f"{name!r} does not repeat on this model: {found}")
    return Truth(tuple(kinds), answers)


async def _answers(ask: Ask, kinds: Sequence[Kind], at_once: int) -> dict[str, Answer]:
    room = asyncio.Semaphore(at_once)

    async def one(kind: Kind) -> Outcome:
        async with room:
            return await ask(kind)

    outcomes = await asyncio.gather(*(one(kind) for kind in kinds))
    return {outcome.kind: _answer(outcome) for outcome in outcomes}


def _answer(outcome: Outcome) -> Answer:
    if outcome.answer is None:
        raise SetUpError(f"{outcome.kind!r} got no answer: {outcome.error}")
    return outcome.answer
